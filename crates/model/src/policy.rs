//! What a caller asks for: acknowledgement, isolation, durability.

/// When a Produce request is answered (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never; an error closes the connection.
    None,
    /// When the leader's log holds the records under the topic's durability class.
    Leader,
    /// When every in-sync replica holds them.
    All,
}

/// The wire's number is none of -1, 0, 1 (Kafka answers `INVALID_REQUIRED_ACKS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAcks(pub i16);

impl TryFrom<i16> for Acks {
    type Error = UnknownAcks;

    fn try_from(number: i16) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Leader),
            -1 => Ok(Self::All),
            other => Err(UnknownAcks(other)),
        }
    }
}

/// What a consumer may see (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Only what lies below the last stable offset, with the aborted transactions named.
    ReadCommitted,
}

/// What an acknowledgement survives (`klamm.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Durability {
    /// Power loss: the bytes were flushed to the device first.
    #[default]
    Flushed,
    /// The death of the process: the kernel holds the bytes. This is what Apache Kafka does.
    Written,
}

impl Durability {
    /// The word used in configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Flushed => "flushed",
            Self::Written => "written",
        }
    }
}

impl std::str::FromStr for Durability {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "flushed" => Ok(Self::Flushed),
            "written" => Ok(Self::Written),
            _ => Err(()),
        }
    }
}
