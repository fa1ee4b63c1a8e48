//! A broker without sockets, ring and files, on the calling thread: real requests through real
//! handlers and a real engine, turn by turn. For counting what a request costs.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use bytes::{Bytes, BytesMut};
use klamm_shard::api::metadata::Image;
use klamm_shard::api::segment::DirectoryId;
use klamm_shard::data_folders::DataFolders;
use klamm_wire::{FrameLimits, Gather};

use crate::boot::node_options;
use crate::config::Config;
use crate::dispatch::dispatch;
use crate::net::{
    Answer, Caller, Close, ConnectionTable, Context, FrontContext, FrontSetup, quota_table,
};

/// Session ids follow from this; each rehearsal is like the other.
const SEED: u64 = 7;

/// A node of one core.
pub struct Rehearsal {
    core: klamm_shard::Rehearsal,
    front: Rc<FrontContext>,
}

impl Rehearsal {
    /// A node that leads what the image gives it.
    #[must_use]
    pub fn new(config: Config, image: &Image) -> Self {
        let core = klamm_shard::Rehearsal::new(&node_options(&config, SEED.into()), image);
        let connections = Arc::new(ConnectionTable::default());
        let shards = core.shards();
        let quotas = quota_table(&config);
        let front = FrontContext::new(FrontSetup {
            folders: DataFolders::single(config.data_dir().to_owned()),
            config: Arc::new(config),
            directory: DirectoryId([0; 16]),
            connections,
            quotas,
            shard: shards.id(),
            shards: shards.count(),
            seed: SEED,
        });
        Self { core, front }
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Dialogue {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let bytes_max = self.front.config.sockets.request_bytes_max as usize;
        Dialogue {
            context: Context {
                shards: self.core.shards(),
                front: Rc::clone(&self.front),
                caller: Rc::new(Caller::new(peer, 0)),
            },
            limits: FrameLimits::of_requests(bytes_max),
            queue: VecDeque::new(),
            out: Gather::new(),
        }
    }

    /// Takes a turn: what was asked for before it is answered after it.
    pub fn turn(&mut self) {
        self.core.turn();
    }
}

/// What `net/conn.rs` does between a receive and a send, but for limits and deadlines.
pub struct Dialogue {
    context: Context,
    limits: FrameLimits,
    queue: VecDeque<Answer>,
    out: Gather,
}

impl Dialogue {
    /// Begins the work of every whole frame in the buffer, in order.
    ///
    /// # Errors
    /// The connection would be ended.
    pub fn receive(&mut self, buffer: &mut BytesMut) -> Result<(), Close> {
        while let Some(frame) = self.limits.split(buffer).map_err(Close::Frame)? {
            self.context.front.count(|counters| counters.requests += 1);
            let behind_barrier = self.queue.iter().any(Answer::is_barrier);
            let answer = dispatch(&self.context, &frame, behind_barrier)?;
            self.queue.push_back(answer);
        }
        Ok(())
    }

    /// Collects what can be answered now, in the order of the requests, and hands it to `send`,
    /// which takes all of it. How many requests were answered.
    ///
    /// # Errors
    /// The connection would be ended.
    pub fn answer(&mut self, send: impl FnOnce(&mut VecDeque<Bytes>)) -> Result<usize, Close> {
        let front = &self.context.front;
        let mut task = task::Context::from_waker(Waker::noop());
        let mut answered = 0;
        while let Some(answer) = self.queue.front_mut() {
            match answer.poll(&mut task, front.tick(), &mut self.out) {
                Poll::Ready(answer) => answer?,
                Poll::Pending => break,
            }
            self.queue.pop_front();
            answered += 1;
        }
        send(self.out.pieces());
        if self.out.room() > 0 {
            front.answer_buffers.give(self.out.take_buffer());
        }
        Ok(answered)
    }
}
