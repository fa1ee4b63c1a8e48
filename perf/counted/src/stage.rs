//! A node that leads the topic which the recorded requests name, and connections to it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use klamm::config::{Config, HostFacts, raw::RawConfig};
use klamm::rehearsal::{Dialogue, Rehearsal};
use klamm_model::{
    BrokerEpoch, ClusterId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, PartitionIndex,
    TopicId, TopicName, WallTime,
};
use klamm_shard::api::metadata::{Image, Listener, MetadataRecord, PartitionRecord};

use crate::requests::RECORDED;

/// The topic that the recorded requests name.
pub const TOPIC: &str = "counted";

/// The node and some connections.
pub struct Stage {
    rehearsal: Rehearsal,
    dialogues: Vec<Dialogue>,
    /// Bytes of all answers.
    pub answered_bytes: usize,
}

impl Stage {
    /// A node with one partition, and this many connections.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let rehearsal = Rehearsal::new(config(), &image());
        Self {
            dialogues: (0..connections).map(|_| rehearsal.connect()).collect(),
            rehearsal,
            answered_bytes: 0,
        }
    }

    /// Sends one frame on each connection, lets the node take one turn for all of them, and takes
    /// the answers.
    ///
    /// # Panics
    /// If a connection is ended, or a request stays without an answer.
    pub fn exchange(&mut self, frames: &mut [BytesMut]) {
        let mut answered = 0;
        let bytes = &mut self.answered_bytes;
        let mut answer = |dialogue: &mut Dialogue| {
            let taken = dialogue.answer(|pieces| {
                *bytes += pieces.drain(..).map(|piece| piece.len()).sum::<usize>();
            });
            answered += taken.expect("an answer");
        };
        for (dialogue, frame) in self.dialogues.iter_mut().zip(&mut *frames) {
            dialogue.receive(frame).expect("a request that is served");
            answer(dialogue);
        }
        self.rehearsal.turn();
        for dialogue in &mut self.dialogues {
            answer(dialogue);
        }
        assert_eq!(
            answered,
            frames.len(),
            "each request is answered in its turn"
        );
    }

    /// The whole answer to one frame on the first connection, its size in front.
    ///
    /// # Panics
    /// As [`exchange`](Self::exchange).
    pub fn ask(&mut self, frame: &[u8]) -> Bytes {
        let mut answer = BytesMut::new();
        let dialogue = &mut self.dialogues[0];
        let mut frame = BytesMut::from(frame);
        dialogue
            .receive(&mut frame)
            .expect("a request that is served");
        for _ in 0..2 {
            dialogue
                .answer(|pieces| {
                    for piece in pieces.drain(..) {
                        answer.extend_from_slice(&piece);
                    }
                })
                .expect("an answer");
            self.rehearsal.turn();
        }
        answer.freeze()
    }
}

/// All defaults but few: a small log that is written, not flushed, and no judgement of the hour at
/// which the requests were recorded.
fn config() -> Config {
    let host = HostFacts {
        cores: vec![0],
        core_limit: None,
        memory_bytes: 4 << 30,
        hostname: None,
    };
    let mut raw = RawConfig::default();
    for setting in [
        "node.id=1",
        "klamm.durability=written",
        "klamm.tail.bytes=67108864",
        "klamm.wal.bytes=134217728",
        "klamm.wal.file.bytes=33554432",
        "log.message.timestamp.after.max.ms=9223372036854775807",
    ] {
        raw.set(setting).expect("a setting");
    }
    let checked = Config::from_raw(&raw, &host);
    checked.expect("settings that fit each other").0
}

fn image() -> Image {
    let node = NodeId(1);
    let ids = RECORDED.iter().map(|recorded| recorded.topic_id());
    let topic = ids.max().map_or(TopicId([0; 16]), TopicId);
    let nodes: Arc<[NodeId]> = [node].into();
    let records = [
        MetadataRecord::Cluster {
            id: ClusterId([3; 16]),
        },
        MetadataRecord::BrokerRegistered {
            node,
            epoch: Some(BrokerEpoch(1)),
            incarnation: [0; 16],
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: 9092,
            }],
            rack: None,
            registered_at: WallTime(0),
        },
        MetadataRecord::TopicCreated {
            id: topic,
            name: TopicName::new(TOPIC).expect("a legal name"),
        },
        MetadataRecord::PartitionCreated(PartitionRecord {
            topic,
            index: PartitionIndex(0),
            replicas: Arc::clone(&nodes),
            isr: nodes,
            leader: Some(node),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        }),
    ];
    let mut image = Image::default();
    for record in &records {
        let replayed = image.replay(MetadataOffset(0), record);
        replayed.expect("records of one decision");
    }
    image
}
