//! Words that a ring may not say, each with its replacement. Judged on code, never on comments or
//! strings; the rows are the law.

use super::source::{Source, Token, tokenise};
use super::tree::Tree;
use super::walls::{Ring, Workspace};
use super::{Finding, Report};

/// Whose code a ban binds.
enum Scope {
    /// `src/` of the rooms whose code is pure, tests excepted.
    Pure,
    /// All shipped code: everything but tests.
    Shipped,
    /// Every Rust file, tests too.
    Everywhere,
}

/// One forbidden thing.
struct Ban {
    scope: Scope,
    /// Code to look for. A path (`std::fs`) is found as it stands and through imports.
    code: &'static str,
    /// Files and folders (with a slash at the end) that may.
    except: &'static [&'static str],
    instead: &'static str,
}

/// The drivers of the client, and the simulator's command line: edges of pure rooms.
const EDGES: &[&str] = &[
    "crates/client/src/asynchronous.rs",
    "crates/client/src/asynchronous/",
    "crates/client/src/blocking.rs",
    "crates/client/src/blocking/",
    "crates/sim/src/bin/",
];

/// The client's driver for programs that have a runtime (ADR 0033).
const ASYNC_EDGES: &[&str] = &[
    "crates/client/src/asynchronous.rs",
    "crates/client/src/asynchronous/",
];

/// Files of pure rooms that give std's maps a fixed hasher.
const FIXED_HASHERS: &[&str] = &[];

const NO_ASYNC: &str = "return effects and take completions as events; async lives in the front, \
                        the shard's drivers and os";
const NO_CLOCK: &str = "take `now` as an argument";
const NO_MAP: &str = "use BTreeMap; or give the map a fixed hasher in one file of the room and \
                      list that file under FIXED_HASHERS in xtask/src/tidy/bans.rs";
const NO_UNWRAP: &str = "return an error; for an invariant of ours use `expect(\"why it holds\")`";

const BANS: &[Ban] = &[
    Ban {
        scope: Scope::Pure,
        code: "async",
        except: ASYNC_EDGES,
        instead: NO_ASYNC,
    },
    Ban {
        scope: Scope::Pure,
        code: ".await",
        except: ASYNC_EDGES,
        instead: NO_ASYNC,
    },
    Ban {
        scope: Scope::Pure,
        code: "Instant::now",
        except: EDGES,
        instead: NO_CLOCK,
    },
    Ban {
        scope: Scope::Pure,
        code: "SystemTime",
        except: EDGES,
        instead: NO_CLOCK,
    },
    Ban {
        scope: Scope::Pure,
        code: "std::thread",
        except: EDGES,
        instead: "a room is called, it never runs by itself; threads belong to os",
    },
    Ban {
        scope: Scope::Pure,
        code: "std::fs",
        except: EDGES,
        instead: "take and return bytes; files belong to os and the shard's drivers",
    },
    Ban {
        scope: Scope::Pure,
        code: "std::net",
        except: EDGES,
        instead: "take and return bytes; sockets belong to os, addresses are text in model",
    },
    Ban {
        scope: Scope::Pure,
        code: "std::collections::HashMap",
        except: FIXED_HASHERS,
        instead: NO_MAP,
    },
    Ban {
        scope: Scope::Pure,
        code: "std::collections::HashSet",
        except: FIXED_HASHERS,
        instead: NO_MAP,
    },
    Ban {
        scope: Scope::Pure,
        code: "RandomState",
        except: &[],
        instead: NO_MAP,
    },
    Ban {
        scope: Scope::Pure,
        code: "rand::",
        except: &[],
        instead: "take randomness as an argument",
    },
    Ban {
        scope: Scope::Everywhere,
        code: "glommio::",
        except: &["crates/os/"],
        instead: "go through klamm-os, the only room that names the runtime",
    },
    Ban {
        scope: Scope::Shipped,
        code: ".unwrap()",
        except: &[],
        instead: NO_UNWRAP,
    },
    Ban {
        scope: Scope::Shipped,
        code: "todo!",
        except: &[],
        instead: "build it or leave it out",
    },
    Ban {
        scope: Scope::Shipped,
        code: "unimplemented!",
        except: &[],
        instead: "build it or leave it out",
    },
    Ban {
        scope: Scope::Shipped,
        code: "dbg!",
        except: &[],
        instead: "use a `tracing` macro",
    },
    Ban {
        scope: Scope::Everywhere,
        code: "#[ignore",
        except: &[],
        instead: "make the test pass; where the machine cannot, skip aloud (CONTRIBUTING.md)",
    },
];

/// No code says a forbidden word.
pub(crate) fn bans(tree: &Tree, workspace: &Workspace) -> Report {
    let pure: Vec<String> = workspace
        .rooms()
        .filter(|(_, room)| room.code() == Ring::Pure)
        .map(|(_, room)| room.source_folder())
        .collect();
    let mut findings = Vec::new();
    for ban in BANS {
        let pattern: Vec<String> = tokenise(ban.code)
            .into_iter()
            .map(|token| token.text)
            .collect();
        for (path, source) in &tree.sources {
            let bound = match ban.scope {
                Scope::Pure => pure.iter().any(|folder| path.starts_with(folder.as_str())),
                Scope::Shipped | Scope::Everywhere => true,
            };
            let excepted = ban
                .except
                .iter()
                .any(|place| path == place || (place.ends_with('/') && path.starts_with(place)));
            if !bound || excepted {
                continue;
            }
            let tests_too = matches!(ban.scope, Scope::Everywhere);
            for line in lines_with(source, &pattern, tests_too) {
                let found = format!("`{}`", ban.code);
                findings.push(Finding::new(path, line, found, ban.instead));
            }
        }
    }
    findings.into()
}

/// The lines where the pattern stands, each once.
fn lines_with(source: &Source, pattern: &[String], tests_too: bool) -> Vec<usize> {
    let judged = |in_test: bool| tests_too || !in_test;
    let same = |window: &[Token]| {
        window
            .iter()
            .zip(pattern)
            .all(|(token, word)| token.text == *word)
    };
    let mut lines: Vec<usize> = source
        .tokens
        .windows(pattern.len())
        .filter(|window| judged(window[0].in_test) && same(window))
        .map(|window| window[0].line)
        .collect();
    let path: Vec<&String> = pattern.iter().filter(|word| *word != "::").collect();
    if pattern.iter().any(|word| word == "::") {
        let imported = source
            .imports
            .iter()
            .filter(|import| judged(import.in_test));
        lines.extend(
            imported
                .filter(|import| {
                    import
                        .path
                        .iter()
                        .zip(&path)
                        .filter(|(a, b)| a == *b)
                        .count()
                        == path.len()
                })
                .map(|import| import.line),
        );
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// The mark of unfinished work; written in two parts so that this file does not carry it.
const OPEN_END: &str = concat!("FIX", "ME");

/// No Rust file carries the mark of unfinished work, in comments either.
pub(crate) fn open_ends(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    for path in tree.sources.keys() {
        for (index, line) in tree.text(path).unwrap_or_default().lines().enumerate() {
            if line.contains(OPEN_END) {
                let instead = "mend it, or open an issue and say what the code does today";
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("`{OPEN_END}`"),
                    instead,
                ));
            }
        }
    }
    findings.into()
}
