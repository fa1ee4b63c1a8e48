//! Brings foreign clients onto this machine, once for all tests, and runs them with a deadline.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What is missing where a client cannot be had.
pub(crate) type Installed = Result<PathBuf, String>;

const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// Folder of the sources of these tests.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

/// Folder that what is installed lies in.
pub(crate) fn cache() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("inside the target folder");
    target.join("compat")
}

/// What a process wrote.
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a process to its end; an error is what it said, or that it took too long.
pub(crate) fn run(
    command: &mut Command,
    input: Option<&Path>,
    limit: Duration,
) -> Result<Output, String> {
    let shown = format!("{command:?}");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let ended = (|| -> io::Result<_> {
        let input = match input {
            Some(path) => Stdio::from(File::open(path)?),
            None => Stdio::null(),
        };
        command
            .stdin(input)
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        let mut child = command.spawn()?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    })();
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&read(&err)).into_owned();
    match ended {
        Ok(Some(status)) if status.success() => Ok(Output {
            stdout: read(&out),
            stderr,
        }),
        Ok(Some(status)) => {
            let stdout = String::from_utf8_lossy(&read(&out)).into_owned();
            Err(format!(
                "{shown}: {status}\n{}\n{}",
                tail(&stdout),
                tail(&stderr)
            ))
        }
        Ok(None) => Err(format!(
            "{shown}: not over within {limit:?}\n{}",
            tail(&stderr)
        )),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(3000);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Runs the steps of an installation, unless what they would install is there already: `recipe` is
/// what it is made from.
fn install(
    name: &str,
    recipe: &[&str],
    steps: impl FnOnce(&Path) -> Vec<Command>,
) -> Result<PathBuf, String> {
    let folder = cache().join(name);
    let stamp = folder.join(".complete");
    let mut wanted = String::new();
    for part in recipe {
        let text = fs::read_to_string(sources().join(part));
        wanted.push_str(&text.map_err(|error| format!("{part}: {error}"))?);
    }
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for mut step in steps(&folder) {
        run(&mut step, None, INSTALL_LIMIT)?;
    }
    fs::write(stamp, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn once(cell: &'static OnceLock<Installed>, make: impl FnOnce() -> Installed) -> Installed {
    cell.get_or_init(make).clone()
}

/// A Python with its packages: gives the interpreter.
pub(crate) fn python() -> Installed {
    static PYTHON: OnceLock<Installed> = OnceLock::new();
    once(&PYTHON, || {
        let folder = install("python", &["python/requirements.txt"], |folder| {
            let mut environment = Command::new("python3");
            environment.args(["-m", "venv"]).arg(folder);
            // Without its dependencies: the package of the flights asks for pandas.
            let mut packages = Command::new(folder.join("bin/pip"));
            packages.args(["install", "--quiet", "--no-deps", "--requirement"]);
            packages.arg(sources().join("python/requirements.txt"));
            vec![environment, packages]
        })?;
        Ok(folder.join("bin/python"))
    })
}

/// KafkaJS: gives the folder of its packages.
pub(crate) fn kafkajs() -> Installed {
    static KAFKAJS: OnceLock<Installed> = OnceLock::new();
    once(&KAFKAJS, || {
        install("kafkajs", &["kafkajs/package.json"], |folder| {
            let mut copy = Command::new("cp");
            copy.arg(sources().join("kafkajs/package.json")).arg(folder);
            let mut packages = Command::new("npm");
            packages
                .args(["install", "--loglevel", "error", "--no-audit", "--no-fund"])
                .current_dir(folder);
            vec![copy, packages]
        })
    })
}

/// rust-rdkafka, built with the librdkafka that it brings: gives the program.
pub(crate) fn rdkafka() -> Installed {
    static RDKAFKA: OnceLock<Installed> = OnceLock::new();
    once(&RDKAFKA, || {
        let recipe = [
            "rdkafka/Cargo.toml",
            "rdkafka/Cargo.lock",
            "rdkafka/src/main.rs",
        ];
        let folder = install("rdkafka", &recipe, |folder| {
            let mut build = Command::new(env!("CARGO"));
            build
                .args(["build", "--quiet", "--locked", "--target-dir"])
                .arg(folder);
            build
                .arg("--manifest-path")
                .arg(sources().join("rdkafka/Cargo.toml"));
            vec![build]
        })?;
        Ok(folder.join("debug/flights"))
    })
}

/// franz-go: gives the program.
pub(crate) fn franz_go() -> Installed {
    static FRANZ_GO: OnceLock<Installed> = OnceLock::new();
    once(&FRANZ_GO, || {
        let recipe = ["franz-go/go.mod", "franz-go/go.sum", "franz-go/main.go"];
        let folder = install("franz-go", &recipe, |folder| {
            let mut build = Command::new("go");
            build
                .arg("build")
                .arg("-o")
                .arg(folder.join("flights"))
                .arg(".");
            build.current_dir(sources().join("franz-go"));
            vec![build]
        })?;
        Ok(folder.join("flights"))
    })
}

/// The admin clients of Go: gives the program.
pub(crate) fn go_admins() -> Installed {
    static ADMINS: OnceLock<Installed> = OnceLock::new();
    once(&ADMINS, || {
        let folder = "../differential/admins/go";
        let files = ["go.mod", "go.sum", "main.go", "franz.go", "sarama.go"];
        let recipe = files.map(|file| format!("{folder}/{file}"));
        let recipe = recipe.each_ref().map(String::as_str);
        let installed = install("go-admins", &recipe, |target| {
            let mut build = Command::new("go");
            build.arg("build").arg("-o").arg(target.join("admins"));
            build.arg(".").current_dir(sources().join(folder));
            vec![build]
        })?;
        Ok(installed.join("admins"))
    })
}

/// Members of groups in Go: gives the program.
pub(crate) fn go_members() -> Installed {
    static MEMBERS: OnceLock<Installed> = OnceLock::new();
    once(&MEMBERS, || {
        let folder = "members/go";
        let files = ["go.mod", "go.sum", "main.go", "franz.go", "sarama.go"];
        let recipe = files.map(|file| format!("{folder}/{file}"));
        let recipe = recipe.each_ref().map(String::as_str);
        let installed = install("go-members", &recipe, |target| {
            let mut build = Command::new("go");
            build.arg("build").arg("-o").arg(target.join("members"));
            build.arg(".").current_dir(sources().join(folder));
            vec![build]
        })?;
        Ok(installed.join("members"))
    })
}

/// A member of a group with Apache Kafka's client: gives the class path.
pub(crate) fn java_member() -> Installed {
    static MEMBER: OnceLock<Installed> = OnceLock::new();
    once(&MEMBER, || {
        let jars = java()?;
        let source = "members/java/Member.java";
        let classes = install("java-member", &[source, "java/pom.xml"], |folder| {
            let mut compile = Command::new("javac");
            compile.arg("-d").arg(folder).arg("-cp").arg(&jars);
            compile.arg(sources().join(source));
            vec![compile]
        })?;
        Ok(PathBuf::from(format!(
            "{}:{}",
            classes.display(),
            jars.display()
        )))
    })
}

/// Apache Kafka's jars: gives the class path.
pub(crate) fn java() -> Installed {
    static JAVA: OnceLock<Installed> = OnceLock::new();
    once(&JAVA, || {
        let folder = install("java", &["java/pom.xml"], |folder| {
            let mut jars = Command::new("mvn");
            jars.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
            jars.arg("--file").arg(sources().join("java/pom.xml"));
            jars.arg(format!("-DoutputDirectory={}", folder.display()));
            vec![jars]
        })?;
        Ok(folder.join("*"))
    })
}

/// kcat, which the system's packages bring.
pub(crate) fn kcat() -> Installed {
    static KCAT: OnceLock<Installed> = OnceLock::new();
    once(&KCAT, || {
        run(
            Command::new("kcat").arg("-V"),
            None,
            Duration::from_secs(10),
        )?;
        Ok(PathBuf::from("kcat"))
    })
}
