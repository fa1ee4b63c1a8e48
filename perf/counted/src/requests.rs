//! Requests that clients sent to a broker, byte by byte, and the same requests with other content.

use bytes::{Bytes, BytesMut};
use klamm_wire::{
    ApiKey, Message, MessageView, Records, RequestHeader, api_versions, encode_request, fetch,
    frame::SIZE_PREFIX, metadata, produce,
};

/// A frame with its size in front, as a client sent it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Who sent what.
    pub name: &'static str,
    frame: &'static [u8],
}

macro_rules! recorded {
    ($(($constant:ident, $name:literal),)*) => {
        $(
            #[doc = concat!("`requests/", $name, ".request`.")]
            pub const $constant: Recorded = Recorded {
                name: $name,
                frame: include_bytes!(concat!("../requests/", $name, ".request")),
            };
        )*
        /// All of them.
        pub const RECORDED: &[Recorded] = &[$($constant),*];
    };
}

recorded! {
    (LIBRDKAFKA_API_VERSIONS, "librdkafka-api-versions"),
    (LIBRDKAFKA_METADATA, "librdkafka-metadata"),
    (LIBRDKAFKA_PRODUCE_ONE, "librdkafka-produce-one"),
    (LIBRDKAFKA_PRODUCE_16_KIB, "librdkafka-produce-16-kib"),
    (LIBRDKAFKA_PRODUCE_KEYED, "librdkafka-produce-keyed"),
    (LIBRDKAFKA_FETCH, "librdkafka-fetch"),
    (JAVA_API_VERSIONS, "java-api-versions"),
    (JAVA_METADATA, "java-metadata"),
    (JAVA_PRODUCE_ONE, "java-produce-one"),
    (JAVA_PRODUCE_16_KIB, "java-produce-16-kib"),
    (JAVA_FETCH, "java-fetch"),
}

impl Recorded {
    /// The bytes, size in front.
    #[must_use]
    pub const fn bytes(&self) -> &'static [u8] {
        self.frame
    }

    /// Header and body.
    ///
    /// # Panics
    /// If the file holds anything but one request.
    #[must_use]
    pub fn parts(&self) -> (RequestHeader<'static>, &'static [u8]) {
        let (size, frame) = self.frame.split_at(SIZE_PREFIX);
        assert_eq!(
            size,
            (frame.len() as u32).to_be_bytes(),
            "{}: one frame",
            self.name
        );
        RequestHeader::parse(frame).expect("a client's header")
    }

    fn view<V: MessageView<'static>>(&self) -> V {
        let (header, body) = self.parts();
        V::parse(body, header.version).expect("a client's body")
    }

    /// The same request in our own words.
    ///
    /// # Panics
    /// If the body cannot be read.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        match self.parts().0.key {
            ApiKey::Produce => self.with(&self.view::<produce::RequestView<'_>>().to_message()),
            ApiKey::Fetch => self.with(&self.view::<fetch::RequestView<'_>>().to_message()),
            ApiKey::Metadata => self.with(&self.view::<metadata::RequestView<'_>>().to_message()),
            ApiKey::ApiVersions => {
                self.with(&self.view::<api_versions::RequestView<'_>>().to_message())
            }
            other => panic!("no request of {other:?} was recorded"),
        }
    }

    /// Another body behind the same header.
    fn with(&self, message: &dyn Message) -> Vec<u8> {
        let (header, _) = self.parts();
        let mut frame = BytesMut::new();
        let (version, correlation) = (header.version, header.correlation_id);
        encode_request(message, version, correlation, header.client_id, &mut frame)
            .expect("the client's version can say it");
        frame.to_vec()
    }

    /// A produce of other records.
    ///
    /// # Panics
    /// If it is no produce.
    #[must_use]
    pub fn with_records(&self, batch: Vec<u8>) -> Vec<u8> {
        let mut message = self.view::<produce::RequestView<'_>>().to_message();
        let records = Records::from(Bytes::from(batch));
        message.topic_data[0].partition_data[0].records = Some(records);
        self.with(&message)
    }

    /// The records of a produce.
    ///
    /// # Panics
    /// If it is no produce.
    #[must_use]
    pub fn records(&self) -> &'static [u8] {
        let view: produce::RequestView<'static> = self.view();
        let topic = view.topic_data().iter().next().expect("a topic");
        let data = topic.partition_data().iter().next();
        data.and_then(|data| data.records()).expect("records")
    }

    /// A fetch from another offset, in another place of its session.
    ///
    /// # Panics
    /// If it is no fetch of one partition.
    #[must_use]
    pub fn fetching(&self, offset: i64, session: (i32, i32)) -> Vec<u8> {
        let mut message = self.view::<fetch::RequestView<'_>>().to_message();
        (message.session_id, message.session_epoch) = session;
        message.topics[0].partitions[0].fetch_offset = offset;
        self.with(&message)
    }

    /// Id and epoch of the fetch session that the client had.
    #[must_use]
    pub fn session(&self) -> (i32, i32) {
        let view: fetch::RequestView<'_> = self.view();
        (view.session_id(), view.session_epoch())
    }

    /// Id of the topic that the client names, or zeros where it names it otherwise.
    #[must_use]
    pub fn topic_id(&self) -> [u8; 16] {
        match self.parts().0.key {
            ApiKey::Produce => {
                let view: produce::RequestView<'_> = self.view();
                let mut topics = view.topic_data().iter();
                topics.next().map_or([0; 16], |topic| topic.topic_id())
            }
            ApiKey::Fetch => {
                let view: fetch::RequestView<'_> = self.view();
                let mut topics = view.topics().iter();
                topics.next().map_or([0; 16], |topic| topic.topic_id())
            }
            _ => [0; 16],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_codec_writes_what_clients_write_byte_by_byte() {
        for recorded in RECORDED {
            assert_eq!(recorded.encoded(), recorded.bytes(), "{}", recorded.name);
        }
    }

    #[test]
    fn recorded_requests_are_what_their_names_say() {
        let records = |recorded: Recorded| recorded.records();
        let count = |batch: &[u8]| i32::from_be_bytes(batch[57..61].try_into().expect("a count"));
        for one in [LIBRDKAFKA_PRODUCE_ONE, JAVA_PRODUCE_ONE] {
            assert_eq!(count(records(one)), 1, "{}", one.name);
        }
        for full in [LIBRDKAFKA_PRODUCE_16_KIB, JAVA_PRODUCE_16_KIB] {
            let bytes = records(full).len();
            assert!((15_000..=17_000).contains(&bytes), "{}: {bytes}", full.name);
            assert!(count(records(full)) > 120, "{}", full.name);
        }
        let found = count(records(LIBRDKAFKA_PRODUCE_16_KIB));
        assert_eq!(found, 150, "as tests/instructions.rs divides by it");
        let keyed = records(LIBRDKAFKA_PRODUCE_KEYED).len();
        assert!((1_900..=2_300).contains(&keyed), "{keyed}");
        let ids = RECORDED.iter().map(Recorded::topic_id);
        let mut ids: Vec<_> = ids.filter(|id| *id != [0; 16]).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "all clients mean one topic");
    }
}
