//! Topic names, valid by construction (`org.apache.kafka.common.internals.Topic`).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// The topic that keeps groups and the offsets that they committed.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A legal topic name: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name. Kafka answers `INVALID_TOPIC_EXCEPTION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicNameError {
    /// The name is empty.
    Empty,
    /// The name is `.` or `..`.
    Dots,
    /// The name is longer than 249 bytes.
    TooLong {
        /// Bytes found.
        length: usize,
    },
    /// A character outside `[a-zA-Z0-9._-]`.
    Character {
        /// The first such character.
        found: char,
    },
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("topic name is empty"),
            Self::Dots => formatter.write_str("topic name is '.' or '..'"),
            Self::TooLong { length } => write!(
                formatter,
                "topic name has {length} bytes, at most {TOPIC_NAME_BYTES_MAX} are allowed"
            ),
            Self::Character { found } => write!(
                formatter,
                "topic name contains {found:?}, only ASCII letters, digits, '.', '_' and '-' are allowed"
            ),
        }
    }
}

impl std::error::Error for TopicNameError {}

impl TopicName {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn new(text: &str) -> Result<Self, TopicNameError> {
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if text == "." || text == ".." {
            return Err(TopicNameError::Dots);
        }
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong { length: text.len() });
        }
        let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().find(|c| !legal(c)) {
            Some(found) => Err(TopicNameError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for names that Kafka keeps for itself (`__consumer_offsets`, `__transaction_state`,
    /// `__share_group_state`, `__cluster_metadata`).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(
            self.as_str(),
            OFFSETS_TOPIC | "__transaction_state" | "__share_group_state" | "__cluster_metadata"
        )
    }

    /// True if both names would give the same metric name, because Kafka writes `.` as `_` there.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.bytes().zip(other.0.bytes()).all(|(a, b)| {
                let flat = |byte| if byte == b'.' { b'_' } else { byte };
                flat(a) == flat(b)
            })
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "flights", "a.b_c-D9", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\nb", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_differ_in_dot_and_underscore_collide() {
        let name = |text| TopicName::new(text).expect("legal");
        assert!(name("a.b").collides_with(&name("a_b")));
        assert!(!name("a.b").collides_with(&name("a-b")));
    }
}
