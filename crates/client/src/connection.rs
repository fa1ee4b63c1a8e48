//! One connection as a machine: bytes in, bytes out, requests in flight in between. Owns the
//! correlation ids and the version negotiation; the driver owns the socket and the clock.
//!
//! ```text
//! send() -> outbox -> take_output() ~~> socket ~~> on_input() -> inbox -> next_response()
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};
use klamm_model::ErrorCode;
use klamm_wire::frame::subslice_range;
use klamm_wire::{
    ApiKey, DecodeError, Direction, EncodeError, FrameError, FrameLimits, Message, MessageView,
    VersionRange, api_versions, encode_request, parse_response_header,
};

use crate::limits::{API_KEYS_MAX, IN_FLIGHT_MAX};

/// Name that the client gives itself in ApiVersions (KIP-511).
const SOFTWARE_NAME: &str = "klamm-client";

/// Identifies a request among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(pub i32);

/// What a connection may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `client.id`, sent with every request.
    pub client_id: String,
    /// Largest response in bytes that is accepted.
    pub response_bytes_max: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: "klamm".to_owned(),
            response_bytes_max: crate::limits::RESPONSE_BYTES_MAX,
        }
    }
}

/// Versions that the other side serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedVersions(BTreeMap<i16, (i16, i16)>);

impl ServedVersions {
    fn from_view(view: &api_versions::ResponseView<'_>) -> Self {
        let rows = view.api_keys().iter().take(API_KEYS_MAX);
        Self(
            rows.map(|row| (row.api_key(), (row.min_version(), row.max_version())))
                .collect(),
        )
    }

    /// Lowest and highest version served under a key.
    #[must_use]
    pub fn range(&self, key: ApiKey) -> Option<VersionRange> {
        let &(first, last) = self.0.get(&key.number())?;
        Some(VersionRange { first, last })
    }

    /// All keys with their ranges, unknown ones included, in the order of their numbers.
    pub fn rows(&self) -> impl Iterator<Item = (i16, VersionRange)> + '_ {
        self.0
            .iter()
            .map(|(&key, &(first, last))| (key, VersionRange { first, last }))
    }

    /// Highest version that both sides know and `wanted` allows.
    ///
    /// # Errors
    /// [`NoVersion`] where the three ranges do not meet.
    pub fn pick(&self, key: ApiKey, wanted: VersionRange) -> Result<i16, NoVersion> {
        let served = self.range(key);
        let missing = NoVersion {
            key,
            wanted,
            served,
        };
        let served = served.ok_or(missing)?;
        let last = served.last.min(wanted.last);
        let first = served.first.max(wanted.first);
        (first <= last).then_some(last).ok_or(missing)
    }
}

/// The two sides share no version of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoVersion {
    /// The API.
    pub key: ApiKey,
    /// What this side can send.
    pub wanted: VersionRange,
    /// What the other side serves; `None` if it does not know the API.
    pub served: Option<VersionRange>,
}

impl fmt::Display for NoVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, .. } = self;
        write!(
            formatter,
            "expected {key} in a version from {} to {}, found ",
            wanted.first, wanted.last
        )?;
        match self.served {
            Some(served) => write!(formatter, "{} to {}", served.first, served.last),
            None => formatter.write_str("a broker that does not serve it"),
        }
    }
}

/// Versions of `key` that this client sends: all stable ones in the tables.
#[must_use]
pub fn sendable(key: ApiKey) -> Option<VersionRange> {
    let known = key.versions()?;
    let last = match key.first_unstable() {
        Some(unstable) => known.last.min(unstable - 1),
        None => known.last,
    };
    Some(VersionRange {
        first: known.first,
        last,
    })
}

/// A request was not sent; the connection is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Versions are still being negotiated: feed input first.
    NotReady,
    /// As many requests are in flight as the connection may hold.
    Busy,
    /// No version in common.
    NoVersion(NoVersion),
    /// The version that was picked cannot express the request.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => formatter.write_str("versions are not negotiated yet"),
            Self::Busy => write!(formatter, "{IN_FLIGHT_MAX} requests are in flight already"),
            Self::NoVersion(error) => error.fmt(formatter),
            Self::Encode(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SendError {}

/// What the other side sent ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// A size prefix.
    Frame(FrameError),
    /// A header or the ApiVersions body.
    Decode(DecodeError),
    /// A response that nobody waits for, or not the next one in order.
    Correlation {
        /// What the oldest request in flight expects.
        expected: Option<CorrelationId>,
        /// What came.
        found: CorrelationId,
    },
    /// ApiVersions was answered with an error that no other version avoids.
    Negotiation(ErrorCode),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(formatter),
            Self::Decode(error) => write!(formatter, "malformed response: {error}"),
            Self::Correlation { expected, found } => match expected {
                Some(expected) => write!(
                    formatter,
                    "expected the response {}, found {}",
                    expected.0, found.0
                ),
                None => write!(formatter, "expected no response, found {}", found.0),
            },
            Self::Negotiation(code) => write!(formatter, "ApiVersions was answered with {code}"),
        }
    }
}

impl std::error::Error for ConnectionError {}

/// A response, its header taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The request that it answers.
    pub correlation_id: CorrelationId,
    /// Its API.
    pub key: ApiKey,
    /// Its version.
    pub version: i16,
    /// Its body; views borrow from it.
    pub body: Bytes,
}

impl Response {
    /// Reads the body. As in Kafka, bytes behind it are ignored.
    ///
    /// # Errors
    /// The body breaks the encoding.
    ///
    /// # Panics
    /// If `V` is not the response of this API.
    pub fn view<'r, V: MessageView<'r>>(&'r self) -> Result<V, DecodeError> {
        let schema = V::schema();
        assert_eq!(schema.key, self.key, "a response is read by its own view");
        assert_eq!(schema.direction, Direction::Response, "responses are read");
        V::parse_prefix(&self.body, self.version).map(|(view, _)| view)
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    correlation_id: CorrelationId,
    key: ApiKey,
    version: i16,
}

#[derive(Debug)]
enum Negotiation {
    Asked { version: i16 },
    Known(ServedVersions),
}

/// One connection. Begins by asking for ApiVersions; other requests are taken once
/// [`is_ready`](Self::is_ready).
#[derive(Debug)]
pub struct Connection {
    client_id: String,
    limits: FrameLimits,
    next_correlation: i32,
    negotiation: Negotiation,
    inbox: BytesMut,
    outbox: BytesMut,
    in_flight: VecDeque<Pending>,
    responses: VecDeque<Response>,
}

impl Connection {
    /// A new connection, whose first output is the ApiVersions request.
    #[must_use]
    pub fn new(options: &ConnectionOptions) -> Self {
        let version = sendable(ApiKey::ApiVersions).map_or(0, |range| range.last);
        let mut connection = Self {
            client_id: options.client_id.clone(),
            limits: FrameLimits::of_responses(options.response_bytes_max),
            next_correlation: 0,
            negotiation: Negotiation::Asked { version },
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            in_flight: VecDeque::new(),
            responses: VecDeque::new(),
        };
        connection.ask(version);
        connection
    }

    fn ask(&mut self, version: i16) {
        let request = api_versions::Request {
            client_software_name: SOFTWARE_NAME.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        self.negotiation = Negotiation::Asked { version };
        self.enqueue(&request, version, true)
            .expect("every version expresses an ApiVersions request");
    }

    /// True once the versions are known.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.negotiation, Negotiation::Known(_))
    }

    /// What the other side serves, once known.
    #[must_use]
    pub const fn served(&self) -> Option<&ServedVersions> {
        match &self.negotiation {
            Negotiation::Known(served) => Some(served),
            Negotiation::Asked { .. } => None,
        }
    }

    /// Requests whose response is still to come.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends a request in the highest version that both sides know.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&mut self, request: &dyn Message) -> Result<CorrelationId, SendError> {
        self.send_up_to(request, i16::MAX)
    }

    /// Like [`send`](Self::send), in no version above `last`.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_up_to(
        &mut self,
        request: &dyn Message,
        last: i16,
    ) -> Result<CorrelationId, SendError> {
        let version = self.version_for(request, last)?;
        self.enqueue(request, version, true)
    }

    /// Sends a request that is never answered: Produce with `acks=0`.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_unanswered(
        &mut self,
        request: &dyn Message,
        last: i16,
    ) -> Result<CorrelationId, SendError> {
        let version = self.version_for(request, last)?;
        self.enqueue(request, version, false)
    }

    fn version_for(&self, request: &dyn Message, last: i16) -> Result<i16, SendError> {
        let key = request.schema().key;
        let Negotiation::Known(served) = &self.negotiation else {
            return Err(SendError::NotReady);
        };
        let mut wanted = sendable(key).expect("a message that exists has versions");
        wanted.last = wanted.last.min(last);
        served.pick(key, wanted).map_err(SendError::NoVersion)
    }

    fn enqueue(
        &mut self,
        request: &dyn Message,
        version: i16,
        answered: bool,
    ) -> Result<CorrelationId, SendError> {
        if self.in_flight.len() + self.responses.len() >= IN_FLIGHT_MAX {
            return Err(SendError::Busy);
        }
        let correlation_id = CorrelationId(self.next_correlation);
        encode_request(
            request,
            version,
            correlation_id.0,
            Some(&self.client_id),
            &mut self.outbox,
        )
        .map_err(SendError::Encode)?;
        self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(0);
        if answered {
            self.in_flight.push_back(Pending {
                correlation_id,
                key: request.schema().key,
                version,
            });
        }
        Ok(correlation_id)
    }

    /// Bytes to write to the socket, all of them; `None` where there is nothing to write.
    pub fn take_output(&mut self) -> Option<Bytes> {
        (!self.outbox.is_empty()).then(|| self.outbox.split().freeze())
    }

    /// Takes bytes that arrived, in pieces of any size.
    ///
    /// # Errors
    /// [`ConnectionError`]: close the socket; [`abandon`](Self::abandon) names what is lost.
    pub fn on_input(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.inbox.extend_from_slice(bytes);
        while let Some(frame) = self
            .limits
            .split(&mut self.inbox)
            .map_err(ConnectionError::Frame)?
        {
            self.on_frame(frame)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Bytes) -> Result<(), ConnectionError> {
        let found = frame.first_chunk().copied().map(i32::from_be_bytes);
        // The frame limits refuse a frame without a correlation id.
        let found = CorrelationId(found.unwrap_or(0));
        let expected = self.in_flight.front().map(|pending| pending.correlation_id);
        let pending = match self.in_flight.pop_front() {
            Some(pending) if pending.correlation_id == found => pending,
            _ => return Err(ConnectionError::Correlation { expected, found }),
        };
        let (_, body) = parse_response_header(&frame, pending.key, pending.version)
            .map_err(ConnectionError::Decode)?;
        let body = subslice_range(&frame, body).map_or_else(Bytes::new, |at| frame.slice(at));
        if let Negotiation::Asked { version } = self.negotiation {
            return self.on_versions(version, &body);
        }
        self.responses.push_back(Response {
            correlation_id: found,
            key: pending.key,
            version: pending.version,
            body,
        });
        Ok(())
    }

    /// A broker that does not know the version asked for answers error 35 in the shape of version
    /// 0, which names the versions that it does know (KIP-511).
    fn on_versions(&mut self, asked: i16, body: &[u8]) -> Result<(), ConnectionError> {
        let code = body.first_chunk().copied().map_or(0, i16::from_be_bytes);
        let unsupported = code == ErrorCode::UnsupportedVersion.code();
        let shape = if unsupported { 0 } else { asked };
        let (view, _) = api_versions::ResponseView::parse_prefix(body, shape)
            .map_err(ConnectionError::Decode)?;
        let served = ServedVersions::from_view(&view);
        if unsupported {
            let known = served.range(ApiKey::ApiVersions);
            let next = known.map_or(0, |range| range.last.clamp(0, asked));
            if next >= asked {
                return Err(ConnectionError::Negotiation(ErrorCode::UnsupportedVersion));
            }
            self.ask(next);
            return Ok(());
        }
        crate::error::check(code).map_err(ConnectionError::Negotiation)?;
        self.negotiation = Negotiation::Known(served);
        Ok(())
    }

    /// The next response, in the order of the requests.
    pub fn next_response(&mut self) -> Option<Response> {
        self.responses.pop_front()
    }

    /// Ends the connection: the requests that will never be answered.
    pub fn abandon(self) -> Vec<CorrelationId> {
        self.in_flight
            .iter()
            .map(|pending| pending.correlation_id)
            .collect()
    }
}
