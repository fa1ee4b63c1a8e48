//! Answers on their way: what is ready, what a core still works on, and what begins only when
//! everything before it is answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use klamm_wire::Gather;

use super::close::Close;
use crate::handlers::{h00_produce, h01_fetch};

/// A future of one answer. It does nothing before it is polled, so requests of one connection have
/// the effect that they would have one after the other.
pub(crate) type LaterAnswer = Pin<Box<dyn Future<Output = Result<Gather, Close>>>>;

/// The answer to one request.
pub enum Answer {
    /// Nothing is awaited.
    Ready(Gather),
    /// The batches have their place in the logs and are not kept yet.
    Produce(h00_produce::Pending),
    /// As `Later`, without a box.
    Fetch(h01_fetch::Pending),
    /// Begins when it is the first in the connection's queue.
    Later(LaterAnswer),
    /// As `Later`, for a request that changes what later ones mean (a topic is created): requests
    /// behind it do not begin before it is answered.
    Barrier(LaterAnswer),
    /// A Produce behind a barrier; nothing where acks=0 asks for silence.
    LateProduce(LaterAnswer),
}

impl Answer {
    /// True if requests behind this one must not begin before it is answered.
    pub(crate) const fn is_barrier(&self) -> bool {
        matches!(self, Self::Barrier(_) | Self::LateProduce(_))
    }

    /// True if work on it begins only when it is the first in the connection's queue.
    pub(crate) const fn begins_when_first(&self) -> bool {
        matches!(
            self,
            Self::Fetch(_) | Self::Later(_) | Self::Barrier(_) | Self::LateProduce(_)
        )
    }

    /// When the answer must leave at the latest, by the coarse clock.
    pub(crate) const fn due_at(&self) -> Option<u64> {
        match self {
            Self::Produce(pending) => pending.due_at(),
            // Not begun yet, perhaps: looked at with every tick.
            Self::LateProduce(_) => Some(0),
            Self::Ready(_) | Self::Fetch(_) | Self::Later(_) | Self::Barrier(_) => None,
        }
    }

    /// Works on the answer and puts it behind what is to be sent already. `tick` is the core's
    /// coarse clock.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        tick: u64,
        out: &mut Gather,
    ) -> Poll<Result<(), Close>> {
        let answer = match self {
            Self::Ready(gather) => Poll::Ready(Ok(std::mem::take(gather))),
            Self::Produce(pending) => return pending.poll(context, tick, out),
            Self::Fetch(pending) => return pending.poll(context, out),
            Self::Later(future) | Self::Barrier(future) | Self::LateProduce(future) => {
                future.as_mut().poll(context)
            }
        };
        answer.map(|answer| answer.map(|answer| out.append(answer)))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Produce(_) => "Produce",
            Self::Fetch(_) => "Fetch",
            Self::Later(_) => "Later",
            Self::Barrier(_) => "Barrier",
            Self::LateProduce(_) => "LateProduce",
        })
    }
}
