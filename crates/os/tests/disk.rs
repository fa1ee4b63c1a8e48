//! Files on the real kernel, in folders of the test.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, os::unix::fs::PermissionsExt};

use bytes::Bytes;
use klamm_os::{
    disk::{self, AppendFile, BlockFile, Caching, HeldFolder, LockError, ReadFile},
    exec::{self, ShardPlan, run_shards},
    stats,
};

fn run_one<R: Send + 'static, Fut: Future<Output = R> + 'static>(
    f: impl Fn() -> Fut + Send + Clone + 'static,
) -> R {
    let shards = run_shards(ShardPlan::new(1), move |_| f()).unwrap();
    shards.join().pop().unwrap().unwrap()
}

/// Small numbers in a fixed order (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

const SECTOR: usize = 512;

async fn check_appends(folder: &std::path::Path, wanted: Caching, seed: u64) -> Caching {
    let path = folder.join(format!("segment-{seed}"));
    let mut numbers = Numbers(seed * 7919 + 1);
    let mut model: Vec<u8> = Vec::new();
    let mut file = BlockFile::open(&path, 0, 3 << 20, wanted).unwrap();
    let caching = file.caching();
    for step in 0..60 {
        let longest = [10, 5000, 70_000, 2_500_000][numbers.below(16).min(3)];
        let count = numbers.below(4);
        let mut slices: Vec<Bytes> = Vec::new();
        let begin = model.len();
        for _ in 0..count {
            let length = numbers.below(longest);
            let slice = Bytes::from(numbers.bytes(length + SECTOR));
            // Half of them lie as they will lie in the file, and need no copy.
            let skip = match numbers.below(2) {
                0 => 0,
                _ => (model.len() + SECTOR - slice.as_ptr() as usize % SECTOR) % SECTOR,
            };
            let slice = slice.slice(skip..skip + length);
            model.extend_from_slice(&slice);
            slices.push(slice);
        }
        let append = file.write_at(begin as u64, slices);
        match numbers.below(4) {
            // Goes on although nobody waits.
            0 => drop(append),
            _ => append.await.unwrap(),
        }
        assert_eq!(file.length(), model.len() as u64);
        match numbers.below(6) {
            0 => file.flush().await.unwrap(),
            1 => {
                file.trim().await.unwrap();
                assert_eq!(disk::file_len(&path).unwrap(), model.len() as u64);
                assert!(fs::read(&path).unwrap() == model, "seed {seed} step {step}");
                // Sometimes the length that recovery settles on is shorter.
                let cut = if numbers.below(3) == 0 {
                    numbers.below(5000)
                } else {
                    0
                };
                model.truncate(model.len() - cut.min(model.len()));
                file = BlockFile::open(&path, model.len() as u64, 0, wanted).unwrap();
            }
            _ => {}
        }
        if !model.is_empty() && numbers.below(2) == 0 {
            file.flush().await.unwrap();
            let from = numbers.below(model.len());
            let length = numbers.below(100_000);
            let until = (from + length).min(model.len());
            let read = file.read_at(from as u64, length).await.unwrap();
            assert!(read == model[from..until], "seed {seed} step {step}");
            let reader = ReadFile::open(&path).unwrap();
            // Behind the content there may be room.
            let read = reader.read_at(from as u64, until - from).await.unwrap();
            assert!(read == model[from..until], "seed {seed} step {step}");
        }
    }
    file.trim().await.unwrap();
    assert!(fs::read(&path).unwrap() == model, "seed {seed}");
    caching
}

#[test]
fn appends_of_any_length_equal_a_model_past_the_page_cache() {
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for seed in 0..3 {
            check_appends(folder.path(), Caching::Direct, seed).await;
        }
    });
}

#[test]
fn appends_of_any_length_equal_a_model_through_the_page_cache() {
    run_one(|| async {
        let folder = tempfile::tempdir().unwrap();
        for seed in 10..12 {
            let caching = check_appends(folder.path(), Caching::Buffered, seed).await;
            assert_eq!(caching, Caching::Buffered);
        }
    });
}

#[test]
fn appends_equal_a_model_in_a_file_system_of_memory() {
    run_one(|| async {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        for seed in 20..22 {
            check_appends(folder.path(), Caching::Direct, seed).await;
        }
    });
}

fn one(bytes: &[u8]) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(bytes)]
}

#[test]
fn bytes_that_lie_as_they_will_lie_in_the_file_are_not_copied() {
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = BlockFile::open(folder.path().join("segment"), 0, 0, Caching::Direct).unwrap();
        let batch = Numbers(7).bytes(100_000 + 2 * SECTOR);
        let batch = Bytes::from(batch);
        let copied = || stats::with(|s| s.block_bytes_copied.get());
        let mut model = Vec::new();
        for (count, fits) in [(40, true), (40, false)] {
            let before = copied();
            let begin = model.len();
            let mut slices = Vec::new();
            for _ in 0..count {
                let address = batch.as_ptr() as usize;
                let skip = (model.len() + SECTOR - address % SECTOR) % SECTOR;
                let skip = skip + usize::from(!fits);
                slices.push(batch.slice(skip..skip + 100_000));
                model.extend_from_slice(&batch[skip..skip + 100_000]);
            }
            file.write_at(begin as u64, slices).await.unwrap();
            let copied = copied() - before;
            if file.caching() == Caching::Direct && fits {
                assert!(copied < 60_000, "{copied} bytes were copied");
            } else {
                assert!(copied >= 4_000_000, "{copied} bytes were copied");
            }
        }
        file.trim().await.unwrap();
        assert!(fs::read(folder.path().join("segment")).unwrap() == model);
    });
}

#[test]
fn a_file_is_longer_than_its_content_until_it_is_trimmed() {
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("segment");
        let file = BlockFile::open(&path, 0, 0, Caching::Direct).unwrap();
        if file.caching() != Caching::Direct {
            return;
        }
        file.write_at(0, one(&[7; 300_001])).await.unwrap();
        let ahead = disk::file_len(&path).unwrap();
        assert!(ahead >= 600_000, "{ahead}");
        file.write_at(300_001, one(&[8; 200_000])).await.unwrap();
        assert_eq!(
            disk::file_len(&path).unwrap(),
            ahead,
            "no write moved the end"
        );
        file.flush().await.unwrap();
        assert_eq!(disk::file_len(&path).unwrap(), ahead);
        file.trim().await.unwrap();
        assert!(file.is_trim());
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len(), 500_001);
        assert!(content[..300_001].iter().all(|&byte| byte == 7));
        assert!(content[300_001..].iter().all(|&byte| byte == 8));
    });
}

#[test]
fn append_at_another_position_is_refused_and_harms_nothing() {
    run_one(|| async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let file = BlockFile::open(&path, 0, 0, Caching::Direct).unwrap();
        file.write_at(0, one(b"abc")).await.unwrap();
        let error = file.write_at(2, one(b"x")).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected an append at 3, found one at 2"),
            "{error}"
        );
        file.write_at(3, one(b"d")).await.unwrap();
        assert_eq!(file.read_at(0, 10).await.unwrap(), "abcd");
    });
}

#[test]
fn shorter_file_than_expected_is_an_error() {
    run_one(|| async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        fs::write(&path, b"abc").unwrap();
        let error = BlockFile::open(&path, 4, 0, Caching::Direct).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    });
}

/// Runs the named test again in a process that may write no file beyond 64 KiB; `true` in there.
fn inside_small_limit(name: &str) -> bool {
    if std::env::var_os("KLAMM_TEST_SMALL_FILES").is_some() {
        return true;
    }
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" --exact \"$1\"";
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(name);
    let end = shell.env("KLAMM_TEST_SMALL_FILES", "1").output().unwrap();
    let text = String::from_utf8_lossy(&end.stdout);
    assert!(end.status.success() && text.contains("1 passed"), "{text}");
    false
}

#[test]
fn short_write_and_error_make_a_block_file_unusable() {
    if !inside_small_limit("short_write_and_error_make_a_block_file_unusable") {
        return;
    }
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for caching in [Caching::Direct, Caching::Buffered] {
            let path = folder.path().join(format!("{caching:?}"));
            let file = BlockFile::open(&path, 0, 0, caching).unwrap();
            file.write_at(0, one(&[1; 60_000])).await.unwrap();
            // 5,536 of these bytes fit.
            let behind = file.write_at(60_000, one(&[2; 20_000]));
            let after = file.write_at(80_000, one(b"x"));
            assert_eq!(behind.await.unwrap_err().raw_os_error(), Some(27));
            assert!(after.await.unwrap_err().to_string().contains("unusable"));
            assert!(
                file.flush()
                    .await
                    .unwrap_err()
                    .to_string()
                    .contains("unusable")
            );
            // What was written before is still there to read.
            assert!(file.read_at(0, 100_000).await.unwrap() == vec![1; 60_000]);
        }
    });
}

#[test]
fn short_write_and_error_make_a_log_unusable() {
    if !inside_small_limit("short_write_and_error_make_a_log_unusable") {
        return;
    }
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = AppendFile::open(folder.path().join("wal"), 0).unwrap();
        file.write_at(0, &[&[1; 60_000]]).unwrap();
        let error = file
            .write_at(60_000, &[&[2; 3000], &[3; 3000]])
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(27));
        assert!(
            file.write_at(0, &[b"x"])
                .unwrap_err()
                .to_string()
                .contains("unusable")
        );
        assert!(
            file.flush()
                .await
                .unwrap_err()
                .to_string()
                .contains("unusable")
        );
    });
}

#[test]
fn log_is_written_at_positions_and_flushed() {
    run_one(|| async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let file = AppendFile::open(&path, 1 << 20).unwrap();
        assert_eq!(file.size().unwrap(), 1 << 20);
        let slices: Vec<Vec<u8>> = (0..300_usize).map(|n| vec![n as u8; n % 7]).collect();
        let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        file.write_at(1000, &slices).unwrap();
        file.flush().await.unwrap();
        let expected = slices.concat();
        let mut found = vec![0; expected.len()];
        assert_eq!(file.read_at(1000, &mut found).unwrap(), expected.len());
        assert_eq!(found, expected);
        assert_eq!(file.size().unwrap(), 1 << 20);
        let next = folder.path().join("wal-2");
        file.rename(&next).unwrap();
        disk::sync_dir(folder.path()).unwrap();
        assert_eq!(
            (file.path(), path.exists(), next.exists()),
            (next.clone(), false, true)
        );
        drop(file);
        let again = AppendFile::open(&next, 4096).unwrap();
        assert_eq!(again.size().unwrap(), 1 << 20);
        assert_eq!(
            fs::metadata(&next).unwrap().permissions().mode() & 0o777,
            0o600
        );
    });
}

#[test]
fn flush_is_not_lost_when_its_future_is_dropped() {
    run_one(|| async {
        let folder = tempfile::tempdir().unwrap();
        let file = AppendFile::open(folder.path().join("wal"), 1 << 20).unwrap();
        let before = stats::with(|s| s.ring_completions.get());
        for n in 0..20 {
            file.write_at(n * 100, &[b"some record"]).unwrap();
            drop(file.flush());
        }
        // The last one is answered after the file is gone: the operations own it.
        let last = file.flush();
        drop(file);
        last.await.unwrap();
        while stats::with(|s| s.ring_completions.get()) < before + 21 {
            exec::yield_now().await;
            exec::pump();
        }
    });
}

#[test]
fn flush_error_is_found_by_the_next_call_although_nobody_waited() {
    run_one(|| async {
        // A pipe cannot be flushed.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let file = AppendFile::open(&path, 0).unwrap();
        drop(file.flush());
        let error = loop {
            match file.flush().await {
                Err(error) if error.to_string().contains("unusable") => break error,
                Err(_) => {}
                Ok(()) => panic!("a pipe was flushed"),
            }
        };
        assert!(file.write_at(0, &[b"x"]).unwrap_err().to_string() == error.to_string());
    });
}

#[test]
fn whole_files_are_replaced_atomically_and_read_with_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta");
    disk::write_atomically(&path, b"one").unwrap();
    disk::write_atomically(&path, b"three").unwrap();
    assert_eq!(disk::read(&path, 5).unwrap(), b"three");
    assert_eq!(
        disk::read(&path, 4).unwrap_err().kind(),
        std::io::ErrorKind::FileTooLarge
    );
    assert_eq!(disk::list(folder.path()).unwrap(), ["meta"]);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let later = path.clone();
    run_one(move || {
        let later = later.clone();
        async move {
            disk::write_atomically_later(later, b"four".to_vec())
                .await
                .unwrap()
        }
    });
    assert_eq!(disk::read_to_string(&path, 100).unwrap(), "four");
    disk::truncate(&path, 2).unwrap();
    assert_eq!(disk::file_len(&path).unwrap(), 2);
    disk::remove_file(&path).unwrap();
    disk::remove_file(&path).unwrap();
}

#[test]
fn folders_are_private_and_locked_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b");
    disk::create_dir_all(&data).unwrap();
    assert_eq!(
        fs::metadata(&data).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let lock = disk::lock_folder(&data).unwrap();
    match disk::lock_folder(&data).unwrap_err() {
        LockError::Held { process, .. } => assert_eq!(process, Some(std::process::id())),
        LockError::Failed { error, .. } => panic!("{error}"),
    }
    drop(lock);
    drop(disk::lock_folder(&data).unwrap());
    let space = disk::free_space(&data).unwrap();
    assert!(space.free > 0 && space.free <= space.total);
    disk::remove_dir_all(folder.path().join("a")).unwrap();
    disk::remove_dir_all(folder.path().join("a")).unwrap();
}

#[test]
fn memory_of_a_file_is_its_content_and_is_used_again_when_nobody_reads_it() {
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("wal");
        let length = 3 << 20;
        let file = AppendFile::open(&path, length as u64).unwrap();
        let mut memory = file.map(length).unwrap();
        let mut numbers = Numbers(99);
        let mut model = vec![0; length];
        for round in 0..4 {
            let mut writer = memory.writer(4096);
            file.write_at(0, &[&[round; 4096]]).unwrap();
            model[..4096].fill(round);
            let mut kept = Vec::new();
            let mut at = 4096;
            while at < length {
                let added = (1 + numbers.below(200_000)).min(length - at);
                let bytes = numbers.bytes(added);
                writer.add(added).unwrap();
                let begin = writer.unsealed() - added;
                writer.unsealed_mut()[begin..].copy_from_slice(&bytes);
                model[at..at + added].copy_from_slice(&bytes);
                at += added;
                if numbers.below(3) == 0 {
                    let sealed = writer.seal();
                    kept.push((at - sealed.len(), sealed));
                    memory.note_flush();
                    file.flush().await.unwrap();
                }
            }
            assert!(fs::read(&path).unwrap() == model, "round {round}");
            for (at, sealed) in &kept {
                assert!(
                    model[*at..*at + sealed.len()] == sealed[..],
                    "round {round}"
                );
            }
            drop(writer);
            assert!(!memory.is_idle(), "slices are still read");
            kept.clear();
            assert!(memory.is_idle());
        }
        assert!(
            file.map(length + 1).is_err(),
            "no memory behind the file's end"
        );
    });
}

#[test]
fn memory_of_a_file_that_was_removed_stays_for_those_who_hold_it() {
    run_one(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("wal");
        let length = 1 << 20;
        let file = AppendFile::open(&path, length as u64).unwrap();
        let mut memory = file.map(length).unwrap();
        let mut writer = memory.writer(0);
        let bytes = Numbers(7).bytes(length);
        writer.add(length).unwrap();
        writer.unsealed_mut().copy_from_slice(&bytes);
        let held = writer.seal();
        drop((writer, memory, file));
        disk::remove_file(&path).unwrap();
        // Another file gets what was free.
        AppendFile::open(folder.path().join("next"), length as u64).unwrap();
        assert!(held[..] == bytes[..]);
    });
}

#[test]
fn memory_of_a_file_outlives_the_process_that_is_killed() {
    let name = "memory_of_a_file_outlives_the_process_that_is_killed";
    if let Some(path) = std::env::var_os("KLAMM_TEST_MAPPED") {
        run_one(move || {
            let path = path.clone();
            async move {
                let file = AppendFile::open(&path, 1 << 20).unwrap();
                let mut writer = file.map(1 << 20).unwrap().writer(0);
                writer.add(500_000).unwrap();
                writer.unsealed_mut().fill(7);
                std::process::Command::new("kill")
                    .args(["-9", &std::process::id().to_string()])
                    .status()
                    .unwrap();
            }
        });
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("wal");
    let end = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("KLAMM_TEST_MAPPED", &path)
        .output()
        .unwrap();
    assert!(!end.status.success(), "it was killed");
    let content = fs::read(&path).unwrap();
    assert!(content[..500_000].iter().all(|&byte| byte == 7));
    assert!(content[500_000..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_folder_is_made_with_all_above_it_for_this_user_only_and_may_be_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/c");
    for _ in 0..2 {
        disk::create_dir_all_durably(&path).unwrap();
        for made in [&path, path.parent().unwrap()] {
            let mode = fs::metadata(made).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", made.display());
        }
    }
    fs::write(path.join("file"), b"").unwrap();
    disk::create_dir_all_durably(path.join("file/d")).unwrap_err();
}

#[test]
fn in_a_folder_that_is_held_nothing_is_made_once_its_path_leads_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let (path, away) = (root.path().join("a"), root.path().join("b"));
    fs::create_dir(&path).unwrap();
    let held = HeldFolder::open(&path).unwrap();
    for _ in 0..2 {
        held.create_dir("one").unwrap();
    }
    fs::rename(&path, &away).unwrap();
    held.create_dir("two").unwrap_err();
    fs::create_dir(&path).unwrap();
    held.create_dir("two").unwrap_err();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    held.flush().unwrap();
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    held.create_dir("two").unwrap();
    assert!(path.join("two").is_dir());
}
