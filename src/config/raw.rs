//! Values as they were written: a Java properties file with `--set key=value` laid over it. Each
//! value remembers where it stands, so that messages can name the place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// A line of a properties file; the first line is 1.
    Line {
        /// The file, as it was named.
        file: Arc<Path>,
        /// The line on which the entry begins.
        line: usize,
    },
    /// `--set` on the command line.
    Set,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(formatter, "{}:{line}", file.display()),
            Self::Set => formatter.write_str("--set"),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// The value, without surrounding white space.
    pub text: String,
    /// Where it was written.
    pub source: ValueSource,
}

/// All values that were written, known keys or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawConfig {
    values: BTreeMap<String, RawValue>,
}

/// Why the written configuration could not be read at all.
#[derive(Debug)]
pub enum RawError {
    /// The file could not be read.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The file is not UTF-8.
    Encoding {
        /// The file, as it was named.
        file: PathBuf,
        /// First line that is not UTF-8.
        line: usize,
    },
    /// A `\u` that is not followed by four hexadecimal digits, or half of a surrogate pair.
    Escape {
        /// The line of the entry.
        source: ValueSource,
    },
    /// A `--set` without `=`.
    Set {
        /// What was given.
        text: String,
    },
}

impl fmt::Display for RawError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, error } => {
                write!(formatter, "cannot read {}: {error}", file.display())
            }
            Self::Encoding { file, line } => {
                write!(formatter, "{}:{line} is not UTF-8", file.display())
            }
            Self::Escape { source } => write!(
                formatter,
                "{source}: \\u must be followed by four hexadecimal digits of a character"
            ),
            Self::Set { text } => {
                write!(formatter, "expected --set key=value, found --set {text}")
            }
        }
    }
}

impl std::error::Error for RawError {}

impl RawConfig {
    /// Reads a properties file.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, or holds a broken escape.
    pub fn read_file(file: &Path) -> Result<Self, RawError> {
        let bytes = std::fs::read(file).map_err(|error| RawError::File {
            file: file.to_owned(),
            error,
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let readable = bytes.get(..error.valid_up_to()).unwrap_or_default();
            RawError::Encoding {
                file: file.to_owned(),
                line: 1 + readable.iter().filter(|&&byte| byte == b'\n').count(),
            }
        })?;
        Self::parse(text, file)
    }

    /// Reads the text of a properties file as `java.util.Properties.load` does: comments with `#`
    /// and `!`, a backslash at the end continues the line, `=`, `:` or white space separates, and
    /// of two entries with one key the later counts.
    ///
    /// # Errors
    /// A broken `\u` escape.
    pub fn parse(text: &str, file: &Path) -> Result<Self, RawError> {
        let file: Arc<Path> = file.into();
        let mut values = BTreeMap::new();
        let text = text.replace("\r\n", "\n");
        let mut lines = text.split_terminator(['\n', '\r']).enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.trim_start_matches(SPACE);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let mut entry = line.to_owned();
            while ends_with_open_backslash(&entry) {
                entry.pop();
                let Some((_, next)) = lines.next() else { break };
                entry.push_str(next.trim_start_matches(SPACE));
            }
            let source = ValueSource::Line {
                file: Arc::clone(&file),
                line: number + 1,
            };
            let (key, value) = split_entry(&entry);
            let (Some(key), Some(value)) = (unescape(key), unescape(value)) else {
                return Err(RawError::Escape { source });
            };
            // Kafka trims values when it parses them by type.
            let text = value.trim().to_owned();
            values.insert(key, RawValue { text, source });
        }
        Ok(Self { values })
    }

    /// Lays one `--set key=value` over what is there.
    ///
    /// # Errors
    /// The text has no `=` or no key.
    pub fn set(&mut self, text: &str) -> Result<(), RawError> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let value = RawValue {
                    text: value.trim().to_owned(),
                    source: ValueSource::Set,
                };
                self.values.insert(key.trim().to_owned(), value);
                Ok(())
            }
            _ => Err(RawError::Set {
                text: text.to_owned(),
            }),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.values.get(key)
    }

    /// All values by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }
}

/// White space as the properties format knows it.
const SPACE: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes at the end: the last one continues the line.
fn ends_with_open_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Divides an entry at the first separator that is not escaped.
fn split_entry(entry: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = entry
        .char_indices()
        .find(|&(_, letter)| {
            let ends = !escaped && (letter == '=' || letter == ':' || SPACE.contains(&letter));
            escaped = !escaped && letter == '\\';
            ends
        })
        .map_or(entry.len(), |(place, _)| place);
    let (key, rest) = entry.split_at(end);
    let rest = rest.trim_start_matches(SPACE);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(SPACE))
}

/// Resolves the escapes; `None` if a `\u` names no character.
fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::new();
    let mut letters = text.chars();
    let mut buffer = [0; 2];
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '\\' => match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let mut unit = 0;
                    for _ in 0..4 {
                        unit = unit << 4 | letters.next()?.to_digit(16)? as u16;
                    }
                    units.push(unit);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let raw = RawConfig::parse(text, Path::new("f")).expect("legal");
        let found: Vec<_> = raw
            .iter()
            .map(|(key, value)| match value.source {
                ValueSource::Line { line, .. } => (key, value.text.as_str(), line),
                ValueSource::Set => panic!("nothing was set"),
            })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn properties_are_read_as_java_reads_them() {
        check("a=1\nb = 2 \n", &[("a", "1", 1), ("b", "2", 2)]);
        check("# x\n  ! y\n\na: 1\nb 2", &[("a", "1", 4), ("b", "2", 5)]);
        check("a=1,\\\n   2\nb=3", &[("a", "1,2", 1), ("b", "3", 3)]);
        check(
            "a=1\r\nb=2,\\\r\n 3\r\nc=4\r\n",
            &[("a", "1", 1), ("b", "2,3", 2), ("c", "4", 4)],
        );
        check("a=c:\\\\x\nb=2", &[("a", "c:\\x", 1), ("b", "2", 2)]);
        check("a\\=b\\ c=d", &[("a=b c", "d", 1)]);
        check("a=x=y:z", &[("a", "x=y:z", 1)]);
        check("a", &[("a", "", 1)]);
        check("a=\\u00e4\\ud83d\\ude00", &[("a", "ä😀", 1)]);
        check("a=1\na=2", &[("a", "2", 2)]);
        check("a=1\\", &[("a", "1", 1)]);
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        for broken in ["a=1\nb=\\u12", "a=1\nb=\\uzzzz", "a=1\nb=\\ud83d"] {
            let error = RawConfig::parse(broken, Path::new("f")).expect_err("broken");
            assert!(error.to_string().starts_with("f:2: "), "{error}");
        }
    }

    #[test]
    fn a_set_value_beats_the_file_and_remembers_its_place() {
        let mut raw = RawConfig::parse("a=1\nb=2", Path::new("f")).expect("legal");
        raw.set("a=x=y").expect("legal");
        let value = raw.get("a").expect("set");
        assert_eq!(
            (value.text.as_str(), value.source.to_string()),
            ("x=y", "--set".to_owned())
        );
        assert!(raw.set("a").is_err() && raw.set("=1").is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error =
            RawConfig::read_file(Path::new("/nowhere/server.properties")).expect_err("missing");
        assert!(
            error.to_string().contains("/nowhere/server.properties"),
            "{error}"
        );
    }
}
