//! Typed reading of raw values against the table of keys. Collects every problem and warning, so
//! that one start names them all. Lives only while a configuration is checked.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::keys::{Served, broker_key, broker_keys};
use super::nearest::nearest_name;
use super::notices::{Problem, Warning};
use super::raw::{RawConfig, RawValue};

pub(super) struct Reader<'a> {
    raw: &'a RawConfig,
    /// Keys whose values break their row's rule; they read as if not written.
    broken: BTreeSet<&'a str>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    /// Checks every value against its row.
    pub(super) fn new(raw: &'a RawConfig) -> Self {
        let mut reader = Self {
            raw,
            broken: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, value) in raw.iter() {
            let Some(key) = broker_key(name) else {
                reader.consider_unknown(name, value);
                continue;
            };
            if let Err(error) = key.check(&value.text) {
                reader.broken.insert(name);
                reader.problems.push(Problem {
                    key: name.to_owned(),
                    source: Some(value.source.clone()),
                    what: error.to_string(),
                    change: format!(
                        "give it a value of the type {}{}",
                        super::keys::kind_words(key.kind),
                        key.default
                            .map(|default| format!("; the default is {default}"))
                            .unwrap_or_default()
                    ),
                });
            }
        }
        for served in [Served::NotYet, Served::Architecture] {
            let keys: Vec<_> = broker_keys()
                .filter(|key| key.served == served)
                .filter(|key| raw.get(key.name).is_some())
                .filter(|key| raw.get(key.name).map(|value| value.text.as_str()) != key.default)
                .map(|key| key.name)
                .collect();
            if !keys.is_empty() {
                reader
                    .warnings
                    .push(Warning::WithoutEffect { keys, served });
            }
        }
        reader
    }

    fn consider_unknown(&mut self, name: &str, value: &RawValue) {
        // `listener.name.<listener>.<key>` overrides a key for one listener.
        let inner = name
            .strip_prefix("listener.name.")
            .and_then(|rest| rest.split_once('.'))
            .map(|(_, key)| key);
        if inner.is_some_and(|key| broker_key(key).is_some() || key.contains(".sasl.")) {
            return;
        }
        self.warnings.push(Warning::UnknownKey {
            key: name.to_owned(),
            source: value.source.clone(),
            nearest: nearest_name(name, broker_keys().map(|key| key.name)),
        });
    }

    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Warning>) {
        (self.problems, self.warnings)
    }

    pub(super) fn refuse(&mut self, key: &str, what: String, change: String) {
        self.problems.push(Problem {
            key: key.to_owned(),
            source: self.raw.get(key).map(|value| value.source.clone()),
            what,
            change,
        });
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    pub(super) fn has_problem_with(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// A legal value was written.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.written(key).is_some()
    }

    /// The written value, if it is legal.
    pub(super) fn written(&self, key: &str) -> Option<&'a str> {
        let value = self.raw.get(key)?;
        (!self.broken.contains(key)).then_some(value.text.as_str())
    }

    /// The written value or the default; `None` if both are absent or empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let row = broker_key(key).expect("every key read here is in the table");
        self.written(key)
            .or(row.default)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// The parts between commas, trimmed, empty ones left out.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        let parts = text.split(',').map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.text(key)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// A number, if one is written or the key has a default.
    pub(super) fn number_if_any<N: FromStr>(&mut self, key: &str) -> Option<N> {
        let text = self.text(key)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            self.refuse(
                key,
                format!("{text} is out of range"),
                "give it a value in range".to_owned(),
            );
        }
        number
    }

    /// A number of a key that has a default.
    pub(super) fn number<N: FromStr + Default>(&mut self, key: &str) -> N {
        // The default value stands in only beside a problem, which stops the start.
        self.number_if_any(key).unwrap_or_default()
    }
}
