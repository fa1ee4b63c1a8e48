//! Index files that are not what the batches say: gone, cut, overwritten, or off by one bit. Every
//! question is answered as from good ones.

use klamm_engine::api::{OffsetPosition, ReadError};
use klamm_engine::boot::Finding;
use klamm_model::{Offset, TopicPartition};
use klamm_records::segment::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES, rebuild_indexes};
use klamm_sim::world::disk::{NamesMode, SimDisk};
use klamm_sim::world::node::LifeOptions;

use crate::world::{NOW, World, batch_at, life};

const BATCHES: i64 = 60;
const INTERVAL: usize = 400;
const FOLDER_FILES: [&str; 2] = [".index", ".timeindex"];

fn time_of(number: i64) -> i64 {
    NOW.wall.0 - 1_000_000 + 1000 * number
}

fn calm(life: &mut LifeOptions) {
    life.tail_bytes = 1 << 20;
    life.wal_bytes = 1 << 20;
    life.scale.chunk_bytes = 1 << 16;
    life.scale.spill_backlog_bytes = 1 << 20;
    life.scale.segment_bytes_max = 1 << 20;
}

/// A log of several segments, each with several index entries, and nothing in memory.
fn stopped() -> (SimDisk, TopicPartition, String) {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, calm), disk);
    let interval = INTERVAL.to_string();
    let configs = [
        ("internal.segment.bytes", "3000"),
        ("index.interval.bytes", &*interval),
    ];
    world.create("orders", &configs);
    let orders = world.partition("orders");
    for number in 0..BATCHES {
        world.appended(orders, &batch_at(time_of(number), 100));
    }
    let folder = format!("orders-{}", orders.index.0);
    (world.stop(), orders, folder)
}

/// Paths of index files, the segment that is written to excepted.
fn indexes(disk: &SimDisk, folder: &str) -> Vec<String> {
    let names = disk.list(folder).expect("a folder");
    let mut bases: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".log"))
        .collect();
    bases.sort_unstable();
    bases.pop();
    assert!(bases.len() > 2, "several segments are closed: {names:?}");
    let paths = bases
        .iter()
        .flat_map(|base| FOLDER_FILES.map(|end| format!("{folder}/{base}{end}")));
    paths.collect()
}

/// Every record is read at its offset and found by its time.
fn everything_is_found(world: &mut World, orders: TopicPartition, case: &str) {
    for number in 0..BATCHES {
        let read = world.read(orders, number);
        let read = read.unwrap_or_else(|error| panic!("{case}: {number} gives {error:?}"));
        let base = i64::from_be_bytes(read[..8].try_into().expect("a batch"));
        assert_eq!(base, number, "{case}: read at {number}");
        let found = world.offset_at(orders, time_of(number) - 500);
        assert_eq!(
            found,
            Ok(Some((number, time_of(number)))),
            "{case}: time of {number}"
        );
    }
    assert_eq!(
        world.offset_at(orders, time_of(BATCHES)),
        Ok(None),
        "{case}"
    );
    let latest = world.offset_of(orders, OffsetPosition::MaxTimestamp);
    let last = BATCHES - 1;
    assert_eq!(latest, Ok(Some((last, time_of(last)))), "{case}");
}

#[test]
fn a_search_by_time_ends_although_the_largest_times_of_segments_are_no_records() {
    let (mut disk, orders, folder) = stopped();
    for path in indexes(&disk, &folder) {
        let node = disk.file(&path).expect("an index");
        let length = disk.bytes(node).len();
        if path.ends_with(".timeindex") {
            disk.write(node, length - TIME_ENTRY_BYTES, &i64::MAX.to_be_bytes());
        }
    }
    let (mut world, _) = World::start(life(2, calm), disk);
    everything_is_found(&mut world, orders, "times far ahead");
}

/// What is done to an index file of some segment.
type Harm = fn(&mut SimDisk, &str);

fn overwrite(disk: &mut SimDisk, path: &str, bytes: &[u8]) {
    let node = disk.open(path).expect("an index");
    disk.truncate(node, 0);
    disk.write(node, 0, bytes);
}

const HARMS: [(&str, Harm); 8] = [
    ("removed", |disk, path| {
        disk.remove(path);
    }),
    ("emptied", |disk, path| overwrite(disk, path, &[])),
    ("zeros", |disk, path| overwrite(disk, path, &[0; 96])),
    ("noise", |disk, path| overwrite(disk, path, &noise(96))),
    ("noise and a half", |disk, path| {
        overwrite(disk, path, &noise(101))
    }),
    ("half of it", |disk, path| {
        let node = disk.file(path).expect("an index");
        let length = disk.bytes(node).len();
        disk.truncate(node, length / 2);
    }),
    ("the first entry twice", |disk, path| {
        let node = disk.file(path).expect("an index");
        let first = disk.bytes(node)[..12].to_vec();
        disk.write(node, first.len(), &first);
    }),
    ("another bit in the last entry", |disk, path| {
        let node = disk.file(path).expect("an index");
        let last = disk.bytes(node).len() - 1;
        disk.flip(node, last, 1);
    }),
];

fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Closed segments whose index files are not what their batches give.
fn wrong_indexes(disk: &SimDisk, folder: &str) -> Vec<String> {
    let read = |path: &str| {
        disk.file(path)
            .map_or(Vec::new(), |node| disk.bytes(node).to_vec())
    };
    let paths = indexes(disk, folder).into_iter().filter(|path| {
        let (stem, kind) = path.rsplit_once('.').expect("an ending");
        let base: i64 = stem
            .rsplit('/')
            .next()
            .expect("a name")
            .parse()
            .expect("a number");
        let mut made = rebuild_indexes(&read(&format!("{stem}.log")), Offset(base), INTERVAL);
        made.time_index
            .extend(made.builder.close().into_iter().flatten());
        assert!(made.offset_index.len() >= 2 * OFFSET_ENTRY_BYTES, "{path}");
        let expected = if kind == "index" {
            made.offset_index
        } else {
            made.time_index
        };
        read(path) != expected
    });
    paths.collect()
}

#[test]
fn a_start_makes_indexes_anew_that_cannot_be_what_was_written_and_tells_which() {
    for (case, harm) in HARMS {
        for kind in [".index", ".timeindex", "index"] {
            let case = format!("{case}, *{kind}");
            let (mut disk, orders, folder) = stopped();
            let harmed = indexes(&disk, &folder);
            let harmed: Vec<_> = harmed.iter().filter(|path| path.ends_with(kind)).collect();
            for path in &harmed {
                harm(&mut disk, path);
            }
            let (mut world, started) = World::start(life(2, calm), disk);
            let told = started.findings.iter().filter(|finding| {
                matches!(finding, Finding::IndexesMade { partition, .. } if *partition == orders)
            });
            let segments = harmed.len() / if kind == "index" { 2 } else { 1 };
            assert_eq!(told.count(), segments, "{case}: {:?}", started.findings);
            everything_is_found(&mut world, orders, &case);
            let disk = world.kill();
            assert_eq!(
                wrong_indexes(&disk, &folder),
                Vec::<String>::new(),
                "{case}"
            );
            let (_, started) = World::start(life(3, calm), disk);
            assert_eq!(started.findings, [], "{case}: told once");
        }
    }
}

#[test]
fn an_index_that_rots_while_the_node_runs_costs_no_answer_and_is_made_anew() {
    let (disk, orders, folder) = stopped();
    let (mut world, _) = World::start(life(2, calm), disk);
    for path in indexes(&world.disk, &folder) {
        if path.ends_with(".index") {
            let node = world.disk.file(&path).expect("an index");
            for at in (7..world.disk.bytes(node).len()).step_by(OFFSET_ENTRY_BYTES) {
                world.disk.flip(node, at, 6);
            }
        }
    }
    assert!(!wrong_indexes(&world.disk, &folder).is_empty());
    everything_is_found(&mut world, orders, "other positions");
    assert_eq!(wrong_indexes(&world.disk, &folder), Vec::<String>::new());
}

#[test]
fn damage_that_a_read_finds_is_kept_in_quarantine_once() {
    let (disk, orders, folder) = stopped();
    let (mut world, _) = World::start(life(2, calm), disk);
    let path = format!("{folder}/{:020}.log", 0);
    let node = world.disk.file(&path).expect("a segment");
    let whole = world.disk.bytes(node).to_vec();
    let size = klamm_records::batch::size_of(&whole).expect("a batch");
    world.disk.flip(node, size + 80, 3);
    let damaged = world.disk.bytes(node)[size..2 * size].to_vec();

    for _ in 0..3 {
        assert_eq!(world.read(orders, 1), Err(ReadError::Storage));
        assert!(world.read(orders, 0).is_ok());
    }
    let kept = format!("klamm/quarantine/{folder}");
    let names = world.disk.list(&kept).expect("the folder is there");
    assert_eq!(names, [format!("{:020}-{size}.damaged", 0)]);
    let copy = world.disk.file(&format!("{kept}/{}", names[0]));
    assert_eq!(world.disk.bytes(copy.expect("a copy")), damaged);
    let now = &world.disk.bytes(node)[size..2 * size];
    assert_eq!(now, damaged, "the segment itself is left as it is");
}
