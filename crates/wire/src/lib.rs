//! Kafka's messages: schema tables, borrowed views, encoders, framing.
//!
//! **Is**: one table per API under `schema/` (names, types, version windows, defaults), from which
//! the build makes a module per API: a *view* per message and nested struct to decode
//! (`produce::RequestView`), and a plain struct of the same fields to encode
//! (`produce::Response`), both for both directions. Around them: [`ApiKey`] and its facts,
//! [`RequestHeader`], [`FrameLimits`].
//!
//! **Is not**: a place for state, sockets or meaning. It does not know which versions a broker
//! serves, what a record batch contains, or what an error code says.
//!
//! # Contract
//! 1. [`MessageView::parse`] walks the whole body once, within its bytes: lengths against what is
//!    left, UTF-8, nulls, varints of at most five bytes, tagged fields inside their size. It
//!    allocates nothing and never panics. A view that exists can be read without faults; its arrays
//!    are read in place, element by element, as they are iterated.
//! 2. Bytes behind a valid body are an error of their own ([`DecodeError::Trailing`]), for Kafka
//!    ignores them: [`MessageView::parse_prefix`] does the same.
//! 3. A message that a version cannot express is an [`EncodeError`] and leaves the output as it
//!    was. Fields that a version lacks are dropped where the table says `ignorable`, and otherwise
//!    must hold their default.
//! 4. Record bytes go out by reference through [`Gather`], and come in as slices of the frame
//!    ([`frame::shared_slice`]).
//!
//! # Example
//! ```
//! use bytes::BytesMut;
//! use klamm_wire::{FrameLimits, Message, MessageView, RequestHeader, encode_request, metadata};
//!
//! let topic = metadata::MetadataRequestTopic { name: Some("a".into()), ..Default::default() };
//! let request = metadata::Request { topics: Some(vec![topic]), ..Default::default() };
//! let mut buffer = BytesMut::new();
//! encode_request(&request, 12, 7, Some("me"), &mut buffer)?;
//!
//! let frame = FrameLimits::of_requests(1024).split(&mut buffer)?.expect("a whole frame");
//! let (header, body) = RequestHeader::parse(&frame)?;
//! assert_eq!((header.version, header.correlation_id), (12, 7));
//! let view = metadata::RequestView::parse(body, header.version)?;
//! let topics = view.topics().expect("not null");
//! assert_eq!(topics.iter().map(|topic| topic.name()).collect::<Vec<_>>(), [Some("a")]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod api_key;
mod array;
mod error;
pub mod frame;
pub mod fuzz;
mod header;
mod message;
mod reader;
mod records;
#[cfg(test)]
mod tests;
mod writer;

pub use api_key::ApiKey;
pub use array::{Array, ArrayIter, Element};
pub use error::{DecodeError, EncodeError};
pub use frame::{ForeignProtocol, FrameError, FrameLimits};
pub use header::{
    CLIENT_ID_BYTES_MAX, HeaderError, RequestHeader, encode_request, encode_response,
    gather_response, parse_response_header,
};
pub use message::{Direction, Message, MessageView, Request, Schema, VersionRange};
pub use reader::{Reader, Tags};
pub use records::Records;
pub use writer::{Gather, TagMark, Writer};

include!(concat!(env!("OUT_DIR"), "/modules.rs"));
