//! Every partition's files as they lie on the disk, taken apart by the simplest means.

use std::collections::BTreeMap;

use crate::world::disk::SimDisk;

/// The files of one segment.
#[derive(Clone, Debug, Default)]
pub struct SegmentDump {
    /// The batches.
    pub log: Vec<u8>,
    /// The offset index.
    pub offset_index: Vec<u8>,
    /// The time index.
    pub time_index: Vec<u8>,
}

/// The files of one partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionDump {
    /// What `partition.metadata` says.
    pub metadata: String,
    /// Names of all files.
    pub names: Vec<String>,
    /// By base offset.
    pub segments: BTreeMap<i64, SegmentDump>,
}

/// All partitions, by folder.
pub type Dump = BTreeMap<String, PartitionDump>;

/// Reads the whole disk.
#[must_use]
pub fn dump(disk: &SimDisk) -> Dump {
    let mut all = Dump::new();
    for folder in disk.list("").unwrap_or_default() {
        let Some(names) = disk.list(&folder) else {
            continue;
        };
        if folder == "klamm" {
            continue;
        }
        let mut partition = PartitionDump::default();
        for name in names {
            let Some(node) = disk.file(&format!("{folder}/{name}")) else {
                continue;
            };
            let bytes = disk.bytes(node);
            partition.names.push(name.clone());
            if name == "partition.metadata" {
                partition.metadata = String::from_utf8_lossy(bytes).into_owned();
            }
            let Some((base, kind)) = name.split_once('.') else {
                continue;
            };
            let Ok(base) = base.parse::<i64>() else {
                continue;
            };
            if !["log", "index", "timeindex"].contains(&kind) {
                continue;
            }
            let segment = partition.segments.entry(base).or_default();
            match kind {
                "log" => segment.log = bytes.to_vec(),
                "index" => segment.offset_index = bytes.to_vec(),
                "timeindex" => segment.time_index = bytes.to_vec(),
                _ => {}
            }
        }
        all.insert(folder, partition);
    }
    all
}

impl PartitionDump {
    /// The bytes of all batches in order.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.segments
            .values()
            .flat_map(|segment| segment.log.iter().copied())
            .collect()
    }
}
