//! The parts of the program whose trace has a level of its own, as Kafka's loggers have (resource
//! type BROKER_LOGGER), and what their levels mean as a filter. Pure.

use std::collections::BTreeMap;

/// The logger whose level holds for all that have none of their own.
pub const ROOT: &str = "root";

/// Every logger: the packages that write to the trace.
const NAMES: [&str; 5] = ["klamm", "klamm_engine", "klamm_os", "klamm_shard", ROOT];

/// The words of the levels, as Kafka lists them.
pub const LEVEL_WORDS: &str = "DEBUG, ERROR, FATAL, INFO, TRACE, WARN";

/// What a logger keeps: lines of this level and those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggerLevel {
    /// Everything.
    Trace,
    /// One line for each request.
    Debug,
    /// Events of the process's life.
    Info,
    /// What is degraded and handled.
    Warn,
    /// What a human should look at.
    Error,
    /// Nothing: klamm has no level above errors.
    Fatal,
}

/// Kafka's word of each level, and the filter's.
const LEVELS: [(LoggerLevel, &str, &str); 6] = [
    (LoggerLevel::Trace, "TRACE", "trace"),
    (LoggerLevel::Debug, "DEBUG", "debug"),
    (LoggerLevel::Info, "INFO", "info"),
    (LoggerLevel::Warn, "WARN", "warn"),
    (LoggerLevel::Error, "ERROR", "error"),
    (LoggerLevel::Fatal, "FATAL", "off"),
];

impl LoggerLevel {
    /// Kafka's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        LEVELS[self as usize].1
    }

    /// The level of Kafka's word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let mut levels = LEVELS.into_iter();
        levels.find(|(_, known, _)| *known == word).map(|row| row.0)
    }

    fn from_filter(word: &str) -> Option<Self> {
        let mut levels = LEVELS.into_iter();
        let found = levels.find(|(_, _, known)| known.eq_ignore_ascii_case(word));
        found.map(|row| row.0)
    }
}

/// The logger of this name, if there is one.
#[must_use]
pub fn logger(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| *known == name)
}

/// The levels of all loggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loggers {
    root: LoggerLevel,
    own: BTreeMap<&'static str, LoggerLevel>,
    /// What the filter says besides, of smaller parts.
    others: Vec<String>,
}

impl Loggers {
    /// The levels that a filter gives.
    #[must_use]
    pub fn of_filter(filter: &str) -> Self {
        let mut loggers = Self {
            // What a filter keeps that says nothing.
            root: LoggerLevel::Error,
            own: BTreeMap::new(),
            others: Vec::new(),
        };
        let directives = filter.split(',').map(str::trim);
        for directive in directives.filter(|directive| !directive.is_empty()) {
            let named = directive
                .split_once('=')
                .and_then(|(name, level)| Some((logger(name)?, LoggerLevel::from_filter(level)?)));
            match (LoggerLevel::from_filter(directive), named) {
                (Some(level), _) => loggers.root = level,
                (None, Some((name, level))) => loggers.set(name, Some(level)),
                (None, None) => loggers.others.push(directive.to_owned()),
            }
        }
        loggers
    }

    /// Gives a logger a level, or leaves it to the root's.
    pub fn set(&mut self, logger: &'static str, level: Option<LoggerLevel>) {
        match (logger, level) {
            (ROOT, Some(level)) => self.root = level,
            (ROOT, None) => {}
            (logger, Some(level)) => {
                self.own.insert(logger, level);
            }
            (logger, None) => {
                self.own.remove(logger);
            }
        }
    }

    /// Every logger with the level that holds for it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, LoggerLevel)> {
        let level = |name| self.own.get(name).copied().unwrap_or(self.root);
        NAMES.into_iter().map(move |name| (name, level(name)))
    }

    /// The levels as a filter. Each logger is named: a name alone would hold for those that begin
    /// like it, too.
    #[must_use]
    pub fn filter(&self) -> String {
        let directives = self.iter().map(|(name, level)| {
            let word = LEVELS[level as usize].2;
            match name {
                ROOT => word.to_owned(),
                name => format!("{name}={word}"),
            }
        });
        let others = self.others.iter().cloned();
        directives.chain(others).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_without_a_level_has_the_roots() {
        let mut loggers = Loggers::of_filter("info,klamm_shard=debug,klamm::net=trace");
        let filter =
            "klamm=info,klamm_engine=info,klamm_os=info,klamm_shard=debug,info,klamm::net=trace";
        assert_eq!(loggers.filter(), filter);
        loggers.set(ROOT, Some(LoggerLevel::Warn));
        loggers.set("klamm_shard", None);
        loggers.set("klamm_os", Some(LoggerLevel::Fatal));
        let filter =
            "klamm=warn,klamm_engine=warn,klamm_os=off,klamm_shard=warn,warn,klamm::net=trace";
        assert_eq!(loggers.filter(), filter);
    }

    #[test]
    fn every_word_names_its_level_and_words_are_kafkas() {
        for word in LEVEL_WORDS.split(", ") {
            let level = LoggerLevel::from_word(word).expect("a level");
            assert_eq!(level.word(), word);
        }
        assert_eq!(LoggerLevel::from_word("warn"), None);
        assert_eq!(LoggerLevel::from_word("OFF"), None);
    }
}
