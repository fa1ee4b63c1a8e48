//! Files on a disk that is full: a file system in memory, of some megabytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use klamm_os::disk::{self, AppendFile, BlockFile, Caching};
use klamm_os::exec::{ShardPlan, run_shards};

const MEGABYTE: usize = 1 << 20;

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: this user may not mount a file system"
            );
            return None;
        }
        Some(Self(folder))
    }

    /// Fills all but `left` bytes.
    fn fill(&self, left: usize) -> PathBuf {
        let path = self.0.path().join("ballast");
        let free = disk::free_space(self.0.path()).unwrap().free as usize;
        fs::write(&path, vec![1; free - left]).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

fn run_one<Fut: Future<Output = ()> + 'static>(f: impl Fn() -> Fut + Send + Clone + 'static) {
    let shards = run_shards(ShardPlan::new(1), move |_| f()).unwrap();
    shards.join().pop().unwrap().unwrap();
}

fn value(length: usize, seed: usize) -> Bytes {
    (0..length)
        .map(|at| (at.wrapping_mul(31) / 7 + seed) as u8)
        .collect::<Vec<_>>()
        .into()
}

async fn check_append(folder: &Path, caching: Caching, ballast: PathBuf) {
    let path = folder.join("segment");
    let file = BlockFile::open(&path, 0, 0, caching).unwrap();
    let (first, second) = (value(700_001, 1), value(900_007, 2));
    file.write_at(0, vec![first.clone()]).await.unwrap();
    let at = file.length();
    let later = at + second.len() as u64;
    let refused = file.write_at(at, vec![second.clone()]);
    let behind = file.write_at(later, vec![first.clone()]);
    assert!(disk::is_out_of_space(&refused.await.unwrap_err()));
    assert!(disk::is_out_of_space(&behind.await.unwrap_err()));
    file.trim().await.unwrap();
    assert_eq!(file.length(), at);
    assert!(
        fs::read(&path).unwrap() == first,
        "as before, and no longer"
    );

    fs::remove_file(ballast).unwrap();
    file.write_at(at, vec![second.clone()]).await.unwrap();
    file.trim().await.unwrap();
    assert!(fs::read(&path).unwrap() == [first, second].concat());
}

#[test]
fn append_without_room_can_be_repeated_and_leaves_what_was_there() {
    let test = "append_without_room_can_be_repeated_and_leaves_what_was_there";
    for caching in [Caching::Direct, Caching::Buffered] {
        let Some(disk) = SmallDisk::mount(test) else {
            return;
        };
        let (folder, ballast) = (disk.0.path().to_owned(), disk.fill(MEGABYTE));
        run_one(move || {
            let (folder, ballast) = (folder.clone(), ballast.clone());
            async move { check_append(&folder, caching, ballast).await }
        });
    }
}

#[test]
fn write_through_the_page_cache_without_room_can_be_repeated() {
    let test = "write_through_the_page_cache_without_room_can_be_repeated";
    let Some(disk) = SmallDisk::mount(test) else {
        return;
    };
    let (folder, ballast) = (disk.0.path().to_owned(), disk.fill(MEGABYTE));
    run_one(move || {
        let (folder, ballast) = (folder.clone(), ballast.clone());
        async move {
            let file = AppendFile::open(folder.join("index"), 0).unwrap();
            let bytes = value(2 * MEGABYTE, 3);
            let refused = file.write_later(0, bytes.clone()).await.unwrap_err();
            assert!(disk::is_out_of_space(&refused), "{refused}");
            fs::remove_file(ballast).unwrap();
            file.write_later(0, bytes.clone()).await.unwrap();
            file.flush().await.unwrap();
            assert!(fs::read(folder.join("index")).unwrap() == bytes);
        }
    });
}

#[test]
fn new_file_without_room_for_its_length_leaves_nothing_behind() {
    let test = "new_file_without_room_for_its_length_leaves_nothing_behind";
    let Some(disk) = SmallDisk::mount(test) else {
        return;
    };
    let path = disk.0.path().join("log");
    drop(disk.fill(MEGABYTE));
    let refused = AppendFile::open(&path, 2 << 20).unwrap_err();
    assert!(disk::is_out_of_space(&refused), "{refused}");
    assert!(!path.exists());
    assert!(disk::free_space(disk.0.path()).unwrap().free >= MEGABYTE as u64);
}

#[test]
fn file_with_holes_gets_its_blocks_before_it_is_used_as_memory() {
    let test = "file_with_holes_gets_its_blocks_before_it_is_used_as_memory";
    let Some(disk) = SmallDisk::mount(test) else {
        return;
    };
    let path = disk.0.path().join("log");
    fs::File::create(&path).unwrap().set_len(2 << 20).unwrap();
    let ballast = disk.fill(MEGABYTE);
    let refused = AppendFile::open(&path, 2 << 20).unwrap_err();
    assert!(disk::is_out_of_space(&refused), "{refused}");
    fs::remove_file(ballast).unwrap();
    let file = AppendFile::open(&path, 2 << 20).unwrap();
    drop(disk.fill(0));
    let mut writer_of = file.map(2 << 20).unwrap();
    let mut writer = writer_of.writer(0);
    writer.add(2 << 20).unwrap();
    writer.unsealed_mut().fill(7);
}

#[test]
fn lock_is_taken_on_a_disk_without_any_room() {
    let test = "lock_is_taken_on_a_disk_without_any_room";
    let Some(disk) = SmallDisk::mount(test) else {
        return;
    };
    drop(disk::lock_folder(disk.0.path()).unwrap());
    drop(disk.fill(0));
    drop(disk::lock_folder(disk.0.path()).unwrap());
}
