//! Counts what the engine allocates for an append, from the call to the reply, turn by turn, with
//! the host's part played here. The ceilings are rows of perf/budgets.toml.

use std::{collections::BTreeMap, sync::Arc};

use allocation_counter::measure;
use bytes::Bytes;
use klamm_engine::{
    Engine, EngineOptions, Scale, WalOptions,
    api::{AppendCall, AppendPartition, Call, Now, Reply, Ticket},
    effects::Effect,
    memory::Heap,
    metadata::{Image, MetadataRecord, PartitionRecord},
    replica::{ProducerLimits, TransactionVersion},
};
use klamm_model::{
    Acks, Instant, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, PartitionIndex, ShardId,
    Timestamp, TopicId, TopicName, TopicPartition, WallTime,
};
use klamm_records::{
    batch::{BatchBuilder, BatchOptions},
    wal::{Incarnation, WalPosition},
};

const TOPIC: TopicId = TopicId([3; 16]);
const PARTITION: TopicPartition = TopicPartition {
    topic: TOPIC,
    index: PartitionIndex(0),
};
const NOW: Now = Now {
    instant: Instant(1),
    wall: WallTime(1_000),
};

/// An engine that leads one partition of class `written`, and the host's memory.
struct Core {
    engine: Engine,
    effects: Vec<Effect>,
    /// Calls that were answered, for the next ones.
    answered: Vec<AppendCall>,
}

impl Core {
    fn new() -> Self {
        let node = NodeId(1);
        let mut image = Image::default();
        let nodes: Arc<[NodeId]> = Arc::from([node]);
        let partition = PartitionRecord {
            topic: TOPIC,
            index: PartitionIndex(0),
            replicas: Arc::clone(&nodes),
            isr: nodes,
            leader: Some(node),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        };
        let name = TopicName::new("counted").expect("a legal name");
        let records = [
            MetadataRecord::TopicCreated { id: TOPIC, name },
            MetadataRecord::PartitionCreated(partition),
        ];
        for record in &records {
            image
                .replay(MetadataOffset(0), record)
                .expect("records of one decision");
        }
        let broker_file = BTreeMap::from([("klamm.durability".to_owned(), "written".to_owned())]);
        let options = EngineOptions {
            shard: ShardId(0),
            shards: 1,
            node,
            tail_bytes: 64 << 20,
            wal: WalOptions {
                incarnation: Incarnation(1),
                start: WalPosition(0),
                file_bytes: 32 << 20,
                bytes_max: 128 << 20,
                recyclable: Vec::new(),
                next_file: 1,
            },
            producers: ProducerLimits::default(),
            broker_file,
            disk_reserve: None,
            retention_check_interval: std::time::Duration::from_secs(300),
            compaction: klamm_engine::compaction::CompactionOptions::default(),
            groups: klamm_engine::GroupOptions::default(),
            scale: Scale::default(),
        };
        let mut engine = Engine::new(options, BTreeMap::new(), Box::new(Heap));
        engine.on_image(&image);
        let mut core = Self {
            engine,
            effects: Vec::new(),
            answered: Vec::new(),
        };
        core.turn();
        core
    }

    fn append(&mut self, batch: &Bytes) {
        let answered = self.answered.pop();
        let mut call = answered.unwrap_or_else(|| AppendCall::new(Acks::Leader, Vec::new()));
        call.partitions.push(AppendPartition {
            partition: PARTITION,
            records: batch.clone(),
            zstd_known: true,
            transactions: TransactionVersion::Two,
        });
        let ticket = Ticket {
            shard: ShardId(0),
            call: 1,
        };
        self.engine.call(NOW, ticket, Call::Append(call));
    }

    /// Ends a turn as a shard does; writes and spills succeed at once. Gives the replies.
    fn turn(&mut self) -> usize {
        self.engine.end_turn(NOW);
        let mut replies = 0;
        loop {
            self.engine.swap_effects(&mut self.effects);
            if self.effects.is_empty() {
                return replies;
            }
            let mut wrote = false;
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::WalWrite { .. } => wrote = true,
                    Effect::Reply {
                        reply: Reply::Append(mut call),
                        ..
                    } => {
                        assert!(call.outcomes.iter().all(Result::is_ok), "{call:?}");
                        call.outcomes.clear();
                        self.answered.push(call);
                        replies += 1;
                    }
                    Effect::Spill(spill) => {
                        self.engine.on_spilled(spill.partition, spill.end_offset);
                    }
                    _ => {}
                }
            }
            if wrote {
                self.engine.on_wal_written();
                let written = self.engine.wal_written();
                self.engine.on_wal_flushed(written);
            }
        }
    }
}

fn batch(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(Timestamp(1_000), None, Some(&[b'v'; 100]), &[]);
    }
    Bytes::from(builder.build().expect("a batch"))
}

/// Allocations for one append when `per_turn` of them share a turn, after a warm-up.
fn allocations(records: usize, per_turn: usize) -> f64 {
    const TURNS: usize = 200;
    let mut core = Core::new();
    let batch = batch(records);
    let mut run = || {
        for _ in 0..TURNS {
            for _ in 0..per_turn {
                core.append(&batch);
            }
            assert_eq!(core.turn(), per_turn, "each append is answered in its turn");
        }
    };
    run();
    let found = measure(run);
    let appends = u32::try_from(TURNS * per_turn).expect("few");
    let total = u32::try_from(found.count_total).expect("few");
    f64::from(total) / f64::from(appends)
}

/// The ceiling of a path in perf/budgets.toml.
fn most(path: &str) -> f64 {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/budgets.toml");
    let text = std::fs::read_to_string(file).expect("the budgets");
    let table: toml::Table = text.parse().expect("rows");
    let rows = table["budget"].as_array().expect("an array of rows");
    let row = rows
        .iter()
        .find(|row| row["path"].as_str() == Some(path))
        .expect("the path's row");
    assert_eq!(row["counts"].as_str(), Some("allocations"));
    row["most"].as_float().expect("a number")
}

fn check(path: &str, records: usize, per_turn: usize) {
    let (found, most) = (allocations(records, per_turn), most(path));
    println!("{path}: {found:.2} of {most}");
    assert!(
        found <= most,
        "{path}: {found:.2} allocations, the budget is {most}"
    );
    // A count far below the ceiling is good news that the budget must learn.
    assert!(
        found >= most / 4.0 || most <= 1.0,
        "{path}: {found:.2}, lower the budget of {most}"
    );
}

#[test]
fn append_alone_in_its_turn_stays_in_its_budget() {
    check("engine: append of one record, alone in its turn", 1, 1);
}

#[test]
fn append_in_company_stays_in_its_budget() {
    check("engine: append of one record, 64 in a turn", 1, 64);
}

#[test]
fn append_of_a_16_kib_batch_stays_in_its_budget() {
    check("engine: append of a 16 KiB batch, spills included", 150, 4);
}
