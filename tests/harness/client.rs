//! One connection that can send any bytes. Frames are written and read here over a plain socket;
//! messages are klamm-wire's, which has its own independent oracles.

use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use klamm_wire::{
    ApiKey, DecodeError, Message, MessageView, Request, encode_request, parse_response_header,
};

use super::DEADLINE;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    next_correlation: i32,
}

/// The answer to a request of type `Q`, still encoded.
#[derive(Debug)]
pub(crate) struct Reply<Q> {
    body: Vec<u8>,
    version: i16,
    pub(crate) correlation_id: i32,
    request: PhantomData<Q>,
}

impl<Q: Request> Reply<Q> {
    /// The answer; panics where it does not keep to the version or has bytes behind it.
    pub(crate) fn view(&self) -> Q::ResponseView<'_> {
        self.parse().unwrap_or_else(|fault| {
            panic!(
                "answer in version {}: {fault}: {:02x?}",
                self.version, self.body
            )
        })
    }

    pub(crate) fn parse(&self) -> Result<Q::ResponseView<'_>, DecodeError> {
        Q::ResponseView::parse(&self.body, self.version)
    }
}

/// A whole frame with the header that key and version call for, around any body.
pub(crate) fn request_bytes(key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    request_bytes_of(key, version, correlation_id, Some(b"black-box"), body)
}

/// The same with any bytes as client id; `None` is null.
pub(crate) fn request_bytes_of(
    key: i16,
    version: i16,
    correlation_id: i32,
    client_id: Option<&[u8]>,
    body: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    match client_id {
        None => frame.extend((-1_i16).to_be_bytes()),
        Some(text) => {
            frame.extend((text.len() as i16).to_be_bytes());
            frame.extend(text);
        }
    }
    let flexible =
        ApiKey::from_number(key).is_some_and(|key| key.request_header_version(version) == 2);
    if flexible {
        frame.push(0);
    }
    frame.extend(body);
    let size = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a live socket");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a live socket");
        Self {
            stream,
            next_correlation: 1,
        }
    }

    /// Like [`Self::connect`] where the broker may be gone.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream,
            next_correlation: 1,
        })
    }

    /// The socket, for tests that block it.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Our end of the connection, as the broker's log names it.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a live socket")
    }

    /// Sends bytes as they are. A broker that has closed already is not an error here: what is
    /// read next tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    /// Sends a request and gives its correlation id.
    pub(crate) fn begin<Q: Request>(&mut self, request: &Q, version: i16) -> i32 {
        let correlation_id = self.next_correlation;
        self.next_correlation += 1;
        let frame = frame_of(request, version, correlation_id);
        self.send(&frame);
        correlation_id
    }

    /// The next answer, which must be to a request of this type and version.
    pub(crate) fn finish<Q: Request>(&mut self, key: ApiKey, version: i16) -> Reply<Q> {
        self.try_finish(key, version).expect("an answer")
    }

    pub(crate) fn try_finish<Q: Request>(
        &mut self,
        key: ApiKey,
        version: i16,
    ) -> io::Result<Reply<Q>> {
        let frame = self.read_frame()?.ok_or(ErrorKind::UnexpectedEof)?;
        let header = parse_response_header(&frame, key, version);
        let (correlation_id, body) = header.unwrap_or_else(|fault| {
            panic!("response header of {key} version {version}: {fault}: {frame:02x?}")
        });
        Ok(Reply {
            body: body.to_vec(),
            version,
            correlation_id,
            request: PhantomData,
        })
    }

    /// Asks and waits for the answer.
    pub(crate) fn call<Q: Request>(&mut self, request: &Q, version: i16) -> Reply<Q> {
        self.try_call(request, version).unwrap_or_else(|error| {
            panic!(
                "no answer to {} version {version}: {error}",
                request.schema().key
            )
        })
    }

    /// Asks and waits for the answer, where the broker may be gone.
    pub(crate) fn try_call<Q: Request>(
        &mut self,
        request: &Q,
        version: i16,
    ) -> io::Result<Reply<Q>> {
        let correlation_id = self.next_correlation;
        self.next_correlation += 1;
        self.stream
            .write_all(&frame_of(request, version, correlation_id))?;
        let reply = self.try_finish(request.schema().key, version)?;
        assert_eq!(
            reply.correlation_id, correlation_id,
            "answers come in order"
        );
        Ok(reply)
    }

    /// The next frame without its size; `None` at the end of the stream.
    pub(crate) fn read_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut size = [0; 4];
        let mut filled = 0;
        while filled < size.len() {
            match self.stream.read(&mut size[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                // A signal says nothing about the broker.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size");
        let mut frame = Vec::new();
        let read = Read::by_ref(&mut self.stream)
            .take(size as u64)
            .read_to_end(&mut frame)?;
        if read < size {
            Err(ErrorKind::UnexpectedEof.into())
        } else {
            Ok(Some(frame))
        }
    }

    /// Waits until the broker closes; gives whole frames that came before, and how long it took.
    pub(crate) fn until_closed(&mut self, limit: Duration) -> (Vec<Vec<u8>>, Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a live socket");
        let begun = Instant::now();
        let mut frames = Vec::new();
        loop {
            match self.read_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset
                            | ErrorKind::BrokenPipe
                            | ErrorKind::UnexpectedEof
                    ) =>
                {
                    break;
                }
                Err(error) => panic!("not closed within {limit:?}: {error}"),
            }
        }
        (frames, begun.elapsed())
    }
}

/// A whole frame with this request.
pub(crate) fn frame_of(request: &dyn Message, version: i16, correlation_id: i32) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_request(
        request,
        version,
        correlation_id,
        Some("black-box"),
        &mut frame,
    )
    .unwrap_or_else(|fault| panic!("{} version {version}: {fault}", request.schema().key));
    frame
}
