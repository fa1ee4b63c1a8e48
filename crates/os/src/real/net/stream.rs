//! A connection of one shard: reads without a buffer while it waits, gathered writes. One task
//! may wait to read and one to write; share it by `Rc`.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    os::fd::AsRawFd,
};

use bytes::{Buf, Bytes, BytesMut};

use super::{Socket, SocketOptions};
use crate::real::{exec, ring::Watch, stats, sys};

/// The kernel grows a socket's buffer for the mark, so there is a ceiling.
const LOW_WATER_BYTES_MAX: usize = 2 << 20;

/// A connected TCP socket, watched by the shard that made it a stream.
///
/// Dropping any of its futures loses nothing: bytes leave the receive buffer only in
/// [`Self::try_read`] and the queue only in [`Self::write_gathered`], without an await between.
pub struct Stream {
    // Declared before the socket: the watch ends before the descriptor closes.
    watch: Watch,
    socket: Socket,
    /// Bytes that must have arrived before the stream becomes readable.
    low_water: Cell<usize>,
}

impl Stream {
    /// Makes the socket a connection of this shard.
    pub fn from_socket(socket: Socket) -> Self {
        let watch = Watch::new(exec::ring(), socket.inner.as_raw_fd());
        Self {
            watch,
            socket,
            low_water: Cell::new(1),
        }
    }

    /// Waits until [`Self::try_read`] may find bytes, the end, or an error. Holds no buffer.
    pub async fn readable(&self) {
        self.watch.readable().await;
    }

    /// Asks the kernel to call this stream readable only once `bytes` more have arrived, or it
    /// ends, or the kernel holds as much as it will: one wake and one read for a large message
    /// instead of one for each piece on the way. Holds until changed; 1 is the usual mark.
    pub fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.clamp(1, LOW_WATER_BYTES_MAX);
        if self.low_water.replace(bytes) == bytes {
            return Ok(());
        }
        stats::with(|s| s.low_waters.add(1));
        let mark = libc::c_int::try_from(bytes).expect("clamped");
        let fd = self.socket.inner.as_raw_fd();
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, mark)
    }

    /// Appends what has arrived to `buffer`, as much as its spare capacity takes (which must not
    /// be zero). `None`: nothing there, wait for [`Self::readable`]. `Some(0)`: the peer sends no
    /// more, or the stream was closed here.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        self.try_read_at_most(buffer, usize::MAX)
    }

    /// [`Self::try_read`] of no more than `most` bytes (which must not be zero).
    pub fn try_read_at_most(
        &self,
        buffer: &mut BytesMut,
        most: usize,
    ) -> io::Result<Option<usize>> {
        let length = buffer.len();
        let space = buffer.spare_capacity_mut();
        let count = most.min(space.len());
        let read = self.try_read_uninit(&mut space[..count])?;
        if let Some(read) = read {
            // SAFETY: the kernel initialised `read` bytes of the spare capacity.
            unsafe { buffer.set_len(length + read) };
        }
        Ok(read)
    }

    /// [`Self::try_read`] into any memory; the first `n` bytes are initialised after `Some(n)`.
    ///
    /// # Panics
    /// If `space` is empty: "no bytes" would read as the end of the stream.
    pub fn try_read_uninit(&self, space: &mut [MaybeUninit<u8>]) -> io::Result<Option<usize>> {
        assert!(!space.is_empty(), "a read needs room");
        if self.watch.is_closed() {
            return Ok(Some(0));
        }
        let read = sys::receive(self.socket.inner.as_raw_fd(), space)?;
        stats::with(|s| {
            s.receives.add(1);
            match read {
                Some(read) => s.received_bytes.add(read as u64),
                None => s.not_ready.add(1),
            }
        });
        match read {
            None => self.watch.not_readable(),
            // A short read emptied the socket; what comes after it is a new event, apart from an
            // end that came with these bytes, which the watch remembers.
            Some(read) if read > 0 && read < space.len() => self.watch.not_readable(),
            Some(_) => {}
        }
        Ok(read)
    }

    /// Sends everything in `queue`, removing what the kernel took, with as few calls as the
    /// socket allows; waits while the peer is slow. More may be queued by the caller between
    /// calls. After an error the queue holds what was not sent.
    pub async fn write_gathered(&self, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !queue.is_empty() {
            if self.try_write_gathered(queue)?.is_none() {
                self.writable().await;
            }
        }
        Ok(())
    }

    /// Waits until [`Self::try_write_gathered`] may get rid of something, or finds an error.
    pub async fn writable(&self) {
        self.watch.writable().await;
    }

    /// One gathered send of the front of `queue`: the bytes that the socket took. `None` when it
    /// takes no more now: wait for [`Self::writable`].
    pub fn try_write_gathered(&self, queue: &mut VecDeque<Bytes>) -> io::Result<Option<usize>> {
        /// Slices of a usual send: a long list costs more to lay out than a small send itself.
        const FEW: usize = 16;
        if queue.len() <= FEW {
            self.try_write_slices::<FEW>(queue)
        } else {
            self.try_write_slices::<{ sys::SLICES_MAX }>(queue)
        }
    }

    /// One send of at most `N` pieces.
    fn try_write_slices<const N: usize>(
        &self,
        queue: &mut VecDeque<Bytes>,
    ) -> io::Result<Option<usize>> {
        /// Bytes of one call: enough to amortise it, little enough to keep the shard moving.
        const CALL_BYTES: usize = 4 << 20;
        if self.watch.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !self.watch.is_writable() {
            return Ok(None);
        }
        let mut slices = [IoSlice::new(&[]); N];
        let (mut count, mut asked) = (0, 0);
        for piece in queue.iter() {
            if count == slices.len() || asked >= CALL_BYTES {
                break;
            }
            slices[count] = IoSlice::new(piece);
            count += 1;
            asked += piece.len();
        }
        if asked == 0 {
            queue.drain(..count);
            return Ok(Some(0));
        }
        let sent = sys::send_gathered(self.socket.inner.as_raw_fd(), &slices[..count])?;
        stats::with(|s| {
            s.sends.add(1);
            match sent {
                Some(sent) => s.sent_bytes.add(sent as u64),
                None => s.not_ready.add(1),
            }
        });
        let Some(sent) = sent else {
            self.watch.not_writable();
            return Ok(None);
        };
        if sent < asked {
            // A short send filled the socket; room after it is a new event.
            stats::with(|s| s.not_ready.add(1));
            self.watch.not_writable();
        }
        let mut taken = sent;
        while let Some(piece) = queue.front_mut() {
            if piece.len() > taken {
                piece.advance(taken);
                break;
            }
            taken -= piece.len();
            queue.pop_front();
        }
        Ok(Some(sent))
    }

    /// Tells the peer that nothing more comes, or that nothing more is read, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self.socket.inner.shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        }
    }

    /// Ends the connection from any task of the shard: waiting reads see the end, waiting writes
    /// an error. The descriptor closes when the stream is dropped.
    pub fn close(&self) {
        drop(self.shutdown(Shutdown::Both));
        self.watch.close();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.watch.is_closed()
    }

    /// Whether the peer sends no more, as far as the kernel has told: for who does not read now.
    /// What it sent before may still be there, see [`Self::has_unread`].
    pub fn is_ended_by_peer(&self) -> bool {
        self.watch.is_ended()
    }

    /// Whether there are bytes to read. To be asked of a stream that its peer has ended: for
    /// another one it may block.
    pub fn has_unread(&self) -> bool {
        self.socket
            .inner
            .peek(&mut [0])
            .is_ok_and(|bytes| bytes > 0)
    }

    /// Applies socket options.
    pub fn configure(&self, options: &SocketOptions) -> io::Result<()> {
        self.socket.configure(options)
    }

    /// Address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
