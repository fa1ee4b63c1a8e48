//! Producer and consumer as whole machines: connections, metadata, retries and all, without a
//! socket, a thread or a clock. Effects come out ([`Effect`]), what came of them goes in
//! ([`SansIo`]), and time is an argument. A driver is a loop of some thirty lines over them.

mod consumer;
mod group;
mod producer;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_model::{Instant, NodeId, TopicName};
use klamm_wire::Message;
use klamm_wire::metadata as metadata_wire;

use crate::connection::Response;
use crate::error::BrokerError;
use crate::group::Purpose;
use crate::hub::{Hub, HubOptions, Lane, LinkId, Outgoing};
use crate::metadata::{self, Cluster, TopicInfo};
use crate::producer::RequestId;

pub use crate::hub::Effect;
pub use consumer::SansIoConsumer;
pub use group::SansIoGroupConsumer;
pub use producer::{SansIoProducer, SendRefusal};

/// What a driver does with a machine: carry out its effects, and tell what came of them.
pub trait SansIo {
    /// What to do with sockets next; ask until `None` after each of the calls below.
    fn next_effect(&mut self) -> Option<Effect>;
    /// A connection is open.
    fn on_opened(&mut self, now: Instant, link: LinkId);
    /// Bytes arrived.
    fn on_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]);
    /// A connection could not be opened, or ended.
    fn on_closed(&mut self, now: Instant, link: LinkId, reason: &str);
    /// Time has passed.
    fn on_time(&mut self, now: Instant);
    /// When [`on_time`](Self::on_time) will have something to do; perhaps already.
    fn next_deadline(&self, now: Instant) -> Option<Instant>;
}

/// What a request in flight is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Metadata(Vec<TopicName>),
    Identify,
    Produce(RequestId),
    Records(NodeId),
    Offsets(NodeId),
    Group(Purpose),
}

/// What a whole machine is made of: connections, and what is done with what comes of them.
pub(crate) trait Whole {
    /// Its connections.
    fn base(&mut self) -> &mut Base;
    /// The same, to look at.
    fn base_ref(&self) -> &Base;
    /// Carries on until nothing is left to do now.
    fn drive(&mut self, now: Instant);
    /// When there is something to do that the connections know nothing of.
    fn own_deadline(&self, now: Instant) -> Option<Instant>;
}

impl<M: Whole> SansIo for M {
    fn next_effect(&mut self) -> Option<Effect> {
        self.base().hub.next_effect()
    }

    fn on_opened(&mut self, now: Instant, link: LinkId) {
        self.base().hub.on_opened(link);
        self.drive(now);
    }

    fn on_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.base().hub.on_bytes(link, bytes);
        self.drive(now);
    }

    fn on_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        self.base().hub.on_closed(link, reason);
        self.drive(now);
    }

    fn on_time(&mut self, now: Instant) {
        self.drive(now);
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let own = self.own_deadline(now);
        let hub = self.base_ref().hub.next_deadline();
        own.into_iter().chain(hub).min()
    }
}

/// What all machines share.
#[derive(Debug)]
pub(crate) struct Base {
    hub: Hub<Note>,
    cluster: Cluster,
    /// Topics that a Metadata request in flight asks for.
    asked: BTreeSet<TopicName>,
}

impl Base {
    fn new(bootstrap: &str, options: HubOptions) -> Self {
        Self {
            hub: Hub::new(bootstrap, options),
            cluster: Cluster::default(),
            asked: BTreeSet::new(),
        }
    }

    fn send(
        &mut self,
        now: Instant,
        node: Option<NodeId>,
        note: Note,
        (request, version_max): (impl Message + Send + 'static, i16),
    ) {
        let out = Outgoing {
            note,
            request: Box::new(request),
            version_max,
            answered: true,
            lane: Lane::Data,
            patience: Duration::ZERO,
        };
        self.hub.send(now, node, &self.cluster, out);
    }

    fn ask_metadata(&mut self, now: Instant, mut topics: Vec<TopicName>) {
        topics.retain(|name| self.asked.insert(name.clone()));
        if topics.is_empty() {
            return;
        }
        let request = metadata::request(Some(&topics));
        let note = Note::Metadata(topics);
        self.send(now, None, note, (request, i16::MAX));
    }

    /// A request for these topics has come to its end.
    fn on_metadata_end(&mut self, topics: &[TopicName]) {
        for name in topics {
            self.asked.remove(name);
        }
    }

    /// Takes an answer to Metadata; the topics that it names, or `None` where it cannot be used.
    fn take_metadata(&mut self, response: &Response) -> Option<Vec<TopicInfo>> {
        let view = response.view::<metadata_wire::ResponseView<'_>>().ok()?;
        BrokerError::check(view.error_code(), None, || "metadata".to_owned()).ok()?;
        Some(self.cluster.apply(&view))
    }
}
