//! What there is to look at under a path: partitions with their segments, and write-ahead files.

use std::path::{Path, PathBuf};

use klamm_model::Offset;
use klamm_records::segment::{SegmentFile, parse_partition_folder, parse_segment_file};

use crate::cli::connect::Failure;

/// Something to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The segments of one partition, in order.
    Partition { segments: Vec<Segment> },
    /// One index file by itself.
    Index {
        path: PathBuf,
        base: Offset,
        file: SegmentFile,
    },
    /// The write-ahead files of one core, by name.
    WriteAhead { files: Vec<PathBuf> },
}

/// The files of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) log: PathBuf,
    /// Missing ones are made anew by any broker.
    pub(super) offset_index: Option<PathBuf>,
    pub(super) time_index: Option<PathBuf>,
}

/// Everything under a path, in the order of names.
pub(super) fn subjects(path: &Path) -> Result<Vec<Subject>, Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_file() {
        return file(path);
    }
    let mut found = Vec::new();
    let own = partition(path)?;
    let is_partition = own.is_some();
    found.extend(own);
    found.extend(write_ahead(path)?);
    if !is_partition {
        let mut folders: Vec<PathBuf> = names(path)?;
        folders.retain(|folder| folder.is_dir());
        for folder in folders {
            let name = file_name(&folder);
            if parse_partition_folder(name).is_some() {
                found.extend(partition(&folder)?);
            } else if name == "klamm" {
                for folder in names(&folder)? {
                    let is_log = file_name(&folder).starts_with("wal-") && folder.is_dir();
                    if is_log {
                        found.extend(write_ahead(&folder)?);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn file(path: &Path) -> Result<Vec<Subject>, Failure> {
    if path.extension().is_some_and(|extension| extension == "wal") {
        let files = vec![path.to_owned()];
        return Ok(vec![Subject::WriteAhead { files }]);
    }
    let Some((base, file)) = parse_segment_file(file_name(path)) else {
        return Err(Failure(format!(
            "{} has no name of a segment's file or of a write-ahead file\n  expected 20 digits and .log, .index, .timeindex or .wal",
            path.display()
        )));
    };
    let path = path.to_owned();
    Ok(vec![match file {
        SegmentFile::Log => Subject::Partition {
            segments: vec![Segment {
                base,
                log: path,
                offset_index: None,
                time_index: None,
            }],
        },
        SegmentFile::OffsetIndex | SegmentFile::TimeIndex => Subject::Index { path, base, file },
    }])
}

/// The segments in a folder; `None` if it has none.
fn partition(folder: &Path) -> Result<Option<Subject>, Failure> {
    let mut segments = Vec::new();
    let all = names(folder)?;
    let of = |base, file| {
        let name = klamm_records::segment::segment_file(base, file);
        let path = folder.join(name);
        all.contains(&path).then_some(path)
    };
    for path in &all {
        if let Some((base, SegmentFile::Log)) = parse_segment_file(file_name(path)) {
            segments.push(Segment {
                base,
                log: path.clone(),
                offset_index: of(base, SegmentFile::OffsetIndex),
                time_index: of(base, SegmentFile::TimeIndex),
            });
        }
    }
    segments.sort_by_key(|segment| segment.base);
    Ok((!segments.is_empty()).then_some(Subject::Partition { segments }))
}

fn write_ahead(folder: &Path) -> Result<Option<Subject>, Failure> {
    let mut files = names(folder)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    Ok((!files.is_empty()).then_some(Subject::WriteAhead { files }))
}

/// What is in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<PathBuf>, _> = paths.collect();
    let mut paths = paths.map_err(|error| unreadable(folder, &error))?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

/// Why a path cannot be looked at.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_gives_its_partitions_and_write_ahead_files_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let name = "00000000000000000000";
        for (inside, file) in [
            ("b-0", format!("{name}.log")),
            ("a-1", format!("{name}.log")),
            ("a-1", format!("{name}.index")),
            ("a-1", "00000000000000000007.log".to_owned()),
            ("a-1", format!("{name}.log.deleted")),
            ("a-1.1234-delete", format!("{name}.log")),
            ("klamm/wal-0", "00000000000000000001.wal".to_owned()),
            ("klamm/quarantine", "00000000000000000001.wal".to_owned()),
        ] {
            std::fs::create_dir_all(path(inside)).expect("made");
            std::fs::write(path(inside).join(file), b"").expect("written");
        }
        let found = subjects(folder.path()).expect("readable");
        let [first, second, wal] = &found[..] else {
            panic!("{found:?}");
        };
        let Subject::Partition { segments } = first else {
            panic!("{first:?}");
        };
        let bases: Vec<i64> = segments.iter().map(|segment| segment.base.0).collect();
        assert_eq!(bases, [0, 7]);
        assert!(segments[0].offset_index.is_some() && segments[0].time_index.is_none());
        assert!(matches!(second, Subject::Partition { segments } if segments.len() == 1));
        assert!(matches!(wal, Subject::WriteAhead { files } if files.len() == 1));
    }

    #[test]
    fn a_file_that_is_none_of_them_is_refused_with_the_names_that_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orders.txt");
        std::fs::write(&path, b"").expect("written");
        let Failure(reason) = subjects(&path).expect_err("no log");
        assert!(reason.contains(".timeindex"), "{reason}");
    }
}
