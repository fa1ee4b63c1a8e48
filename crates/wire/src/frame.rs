//! Frames: four bytes of size, then that many bytes. Pure; the connection owns the buffer and
//! grows it with bytes that arrived, never by a size that a peer claims.

use std::{fmt, ops::Range};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the size prefix.
pub const SIZE_PREFIX: usize = 4;

/// Smallest request: key, version, correlation id.
pub const REQUEST_SIZE_MIN: usize = 8;

/// Smallest response: correlation id.
pub const RESPONSE_SIZE_MIN: usize = 4;

/// A size that ends the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// Below zero.
    Negative {
        /// Size as sent.
        size: i32,
    },
    /// No room for a header.
    TooSmall {
        /// Size as sent.
        size: usize,
        /// Smallest size accepted.
        min: usize,
    },
    /// Above the limit of this connection.
    TooLarge {
        /// Size as sent.
        size: usize,
        /// Largest size accepted.
        max: usize,
        /// What the four bytes look like, for the log.
        foreign: Option<ForeignProtocol>,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { size } => write!(f, "expected a frame size, found {size}"),
            Self::TooSmall { size, min } => {
                write!(f, "expected a frame of at least {min} bytes, found {size}")
            }
            Self::TooLarge { size, max, foreign } => {
                write!(f, "expected a frame of at most {max} bytes, found {size}")?;
                match foreign {
                    Some(ForeignProtocol::Tls) => f.write_str("; tls on a plaintext port"),
                    Some(ForeignProtocol::Http) => f.write_str("; http on a kafka port"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Another protocol that reached this port by mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForeignProtocol {
    /// A TLS client hello.
    Tls,
    /// An HTTP verb.
    Http,
}

impl ForeignProtocol {
    /// Looks at the first four bytes of a connection.
    pub fn recognise(prefix: [u8; 4]) -> Option<Self> {
        const VERBS: [&[u8; 4]; 10] = [
            b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC",
            b"PRI ",
        ];
        // A TLS record of type handshake, protocol version 3.x.
        if prefix[0] == 0x16 && prefix[1] == 3 && prefix[2] <= 4 {
            return Some(Self::Tls);
        }
        VERBS.contains(&&prefix).then_some(Self::Http)
    }
}

/// Sizes that a connection accepts, prefix not counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameLimits {
    /// Smallest size.
    pub min: usize,
    /// Largest size.
    pub max: usize,
}

impl FrameLimits {
    /// Limits of a listener: [`REQUEST_SIZE_MIN`] to `max`.
    pub fn of_requests(max: usize) -> Self {
        Self {
            min: REQUEST_SIZE_MIN,
            max,
        }
    }

    /// Limits of a client: [`RESPONSE_SIZE_MIN`] to `max`.
    pub fn of_responses(max: usize) -> Self {
        Self {
            min: RESPONSE_SIZE_MIN,
            max,
        }
    }

    /// Checks a size prefix.
    ///
    /// # Errors
    /// See [`FrameError`]; all of them mean close.
    pub fn check(self, prefix: [u8; SIZE_PREFIX]) -> Result<usize, FrameError> {
        let signed = i32::from_be_bytes(prefix);
        let size = usize::try_from(signed).map_err(|_| FrameError::Negative { size: signed })?;
        if size > self.max {
            let foreign = ForeignProtocol::recognise(prefix);
            return Err(FrameError::TooLarge {
                size,
                max: self.max,
                foreign,
            });
        }
        if size < self.min {
            return Err(FrameError::TooSmall {
                size,
                min: self.min,
            });
        }
        Ok(size)
    }

    /// Splits the first whole frame off `buffer`, without its prefix and without copying. `None`
    /// until it is whole; the buffer is never enlarged.
    ///
    /// # Errors
    /// See [`FrameError`]; the buffer is as before.
    pub fn split(self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<SIZE_PREFIX>() else {
            return Ok(None);
        };
        let size = self.check(*prefix)?;
        if buffer.len() - SIZE_PREFIX < size {
            return Ok(None);
        }
        let mut frame = buffer.split_to(SIZE_PREFIX + size).freeze();
        frame.advance(SIZE_PREFIX);
        Ok(Some(frame))
    }
}

/// Where `part` lies inside `frame`; `None` where it was not borrowed from it. Lets a broker slice
/// a shared frame by what a view returned, without copying.
pub fn subslice_range(frame: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= frame.len()).then_some(start..end)
}

/// The shared slice of `frame` that `part` borrows; `None` where it was not borrowed from it.
pub fn shared_slice(frame: &Bytes, part: &[u8]) -> Option<Bytes> {
    subslice_range(frame, part).map(|range| frame.slice(range))
}
