//! What requests of clients with a quota on `request_percentage` cost a core (KIP-124): the time
//! from the begin of their work to the end of their answer, as far as the core worked on them.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use klamm_model::Instant;
use klamm_os::clock;
use klamm_wire::{ApiKey, Gather, RequestHeader};

use super::answers::Answer;
use super::close::Close;
use super::front::FrontContext;
use super::request::Caller;
use crate::net;
use crate::quotas::ClientLimits;

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant(clock::monotonic_ns())
}

/// Work on the answer that is due, for handlers that tell the time to wait themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// What it has cost before.
    pub(crate) spent_ns: u64,
    /// Since when the core works on it now.
    pub(crate) since: Instant,
}

impl Work {
    /// What it has cost until now.
    pub(crate) const fn cost_ns(self, now: Instant) -> u64 {
        self.spent_ns + now.0.saturating_sub(self.since.0)
    }
}

/// Measures one request.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Rc<ClientLimits>,
    key: ApiKey,
    version: i16,
    work: Work,
}

impl Meter {
    /// Begins to measure; nothing where the client's requests may cost what they like.
    pub(super) fn begin(context: &net::Context, frame: &Bytes) -> Option<Self> {
        let quotas = context.shards.client_quotas()?;
        let (header, _) = RequestHeader::parse(frame).ok()?;
        let since = now();
        let client = header.client_id.unwrap_or_default();
        let limits = context.front.quotas.limits(&quotas, client, since)?;
        limits.limits_work().then_some(Self {
            limits,
            key: header.key,
            version: header.version,
            work: Work { spent_ns: 0, since },
        })
    }

    /// The core turns to something else.
    pub(super) fn pause(mut self) -> Self {
        self.work.spent_ns = self.work.cost_ns(now());
        self
    }

    /// Works on the answer. Where it is written, its client may have to wait.
    pub(super) fn poll(
        &mut self,
        answer: &mut Answer,
        front: &FrontContext,
        caller: &Caller,
        task: &mut Context<'_>,
        out: &mut Gather,
    ) -> Poll<Result<(), Close>> {
        self.work.since = now();
        caller.work.set(Some(self.work));
        let mut own = Gather::new();
        let polled = answer.poll(task, front.tick(), &mut own);
        // Whoever took it has told the client.
        let untold = caller.work.take();
        if polled.is_pending() {
            self.work.spent_ns = self.work.cost_ns(now());
        } else if let Some(work) = untold {
            let end = now();
            let throttle = self.limits.work(end, work.cost_ns(end));
            if throttle > 0 {
                front.throttled(throttle);
                caller.hold(end, throttle, &self.limits);
                if let Some(place) = self.key.throttle_place(self.version) {
                    own.change_i32(place, |told| told.max(throttle));
                }
            }
        }
        out.append(own);
        polled
    }
}
