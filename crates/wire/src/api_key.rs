//! API keys and their facts: name, number, versions of the tables, first flexible version. Which
//! versions a broker serves is the broker's choice and lives with it.

use std::fmt;

use crate::frame::SIZE_PREFIX;
use crate::message::VersionRange;

pub(crate) struct Facts {
    versions: VersionRange,
    first_flexible: Option<i16>,
    first_unstable: Option<i16>,
    throttle_leads_from: Option<i16>,
}

include!(concat!(env!("OUT_DIR"), "/api_key.rs"));

impl ApiKey {
    /// The key of a number, dead and internal keys included.
    pub fn from_number(number: i16) -> Option<Self> {
        // Kafka assigns keys without gaps, so the number is the position.
        let key = *Self::ALL.get(usize::try_from(number).ok()?)?;
        assert_eq!(key.number(), number, "keys are assigned without gaps");
        Some(key)
    }

    /// The number on the wire.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Versions that the tables hold; `None` for keys without messages here (dead or internal).
    pub fn versions(self) -> Option<VersionRange> {
        facts(self).map(|facts| facts.versions)
    }

    /// First version with request header v2, response header v1, compact lengths and tags.
    pub fn first_flexible(self) -> Option<i16> {
        facts(self).and_then(|facts| facts.first_flexible)
    }

    /// First version that Kafka 4.3 marks unstable and does not advertise.
    pub fn first_unstable(self) -> Option<i16> {
        facts(self).and_then(|facts| facts.first_unstable)
    }

    /// Where in the whole frame of a response its `throttle_time_ms` stands, if that is the first
    /// field of the body in this version.
    pub fn throttle_place(self, version: i16) -> Option<usize> {
        let from = facts(self)?.throttle_leads_from?;
        let header = if self.response_header_version(version) == 0 {
            4
        } else {
            5
        };
        (version >= from).then_some(SIZE_PREFIX + header)
    }

    /// Version of the request header. Holds for versions above the tables too.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.first_flexible().is_some_and(|first| version >= first) {
            2
        } else {
            1
        }
    }

    /// Version of the response header. ApiVersions keeps 0, so that a client can read the answer
    /// to a version that the broker does not know (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        if self == Self::ApiVersions {
            0
        } else {
            self.request_header_version(version) - 1
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
