//! The manners of the disk.

use super::*;

fn disk(names: NamesMode) -> SimDisk {
    SimDisk::new(names, 0)
}

#[test]
fn what_was_flushed_survives_every_power_cut() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut disk = disk(NamesMode::Weak);
        disk.create_folder("a/b");
        let file = disk.open("a/b/c").expect("folder");
        disk.write(file, 0, &[7; 1300]);
        disk.flush(file);
        disk.flush_folder("a/b");
        disk.flush_folder("a");
        disk.flush_folder("");
        disk.write(file, 1300, &[8; 900]);
        disk.cut_power(&mut random);
        let file = disk.file("a/b/c").expect("flushed names");
        assert_eq!(&disk.bytes(file)[..1300], &[7; 1300][..]);
        assert!(
            disk.bytes(file)[1300..]
                .iter()
                .all(|&byte| byte == 8 || byte == 0)
        );
    }
}

#[test]
fn a_flush_covers_what_was_written_before_it_began_and_no_more() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut disk = disk(NamesMode::Journal);
        let file = disk.open("a").expect("root");
        disk.flush_folder("");
        disk.write(file, 0, &[1; 100]);
        let ticket = disk.begin_flush(file);
        disk.write(file, 100, &[2; 100]);
        disk.end_flush(&ticket);
        disk.cut_power(&mut Random::new(seed));
        let bytes = disk.bytes(file);
        assert_eq!(&bytes[..100], &[1; 100][..]);
        lost += usize::from(bytes.len() < 200 || bytes[100..].contains(&0));
    }
    assert!((20..90).contains(&lost), "{lost} of 100");
}

#[test]
fn after_a_failed_flush_a_second_one_succeeds_and_makes_nothing_durable() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut disk = disk(NamesMode::Journal);
        let file = disk.open("a").expect("root");
        disk.extend(file, 1024);
        disk.flush(file);
        disk.flush_folder("");
        disk.write(file, 0, &[1; 1024]);
        disk.arm(Some(Failing::flush(0, Random::new(seed))));
        disk.flush(file);
        assert!(matches!(disk.take_failure(), Some(Failure::Flush { .. })));
        disk.flush(file);
        assert!(!disk.has_failed(), "only one flush fails");
        disk.cut_power(&mut Random::new(seed));
        lost += usize::from(disk.bytes(file) != [1; 1024]);
    }
    assert!((40..90).contains(&lost), "{lost} of 100");
}

#[test]
fn a_failed_write_leaves_a_part_of_it_and_is_the_last_deed_of_its_process() {
    for seed in 0..100 {
        let mut disk = disk(NamesMode::Journal);
        let file = disk.open("a").expect("root");
        disk.arm(Some(Failing::write(1, Random::new(seed))));
        disk.write(file, 0, &[1; 100]);
        disk.write(file, 100, &[2; 100]);
        assert!(disk.has_failed());
        let length = disk.bytes(file).len();
        assert!((100..200).contains(&length), "{length}");
        disk.write(file, 200, &[3; 100]);
        disk.truncate(file, 0);
        assert_eq!(disk.bytes(file).len(), length);
        assert_eq!(disk.take_failure(), Some(Failure::Write));
        disk.write(file, 200, &[3; 100]);
        assert_eq!(disk.bytes(file).len(), 300);
    }
}

#[test]
fn a_write_that_finds_no_room_leaves_a_part_of_it_and_succeeds_when_there_is_room() {
    let mut disk = disk(NamesMode::Journal);
    disk.resize(4096);
    let file = disk.open("a").expect("root");
    disk.take(1024);
    disk.write(file, 0, &[1; 3000]);
    assert!(!disk.take_refused());
    disk.write(file, 3000, &[2; 1000]);
    assert!(disk.take_refused());
    assert_eq!(disk.bytes(file).len(), 3072);
    disk.write(file, 0, &[3; 3000]);
    assert!(!disk.take_refused(), "what is there has its room");
    disk.take(0);
    disk.write(file, 3000, &[2; 1000]);
    assert!(!disk.take_refused());
    assert_eq!(&disk.bytes(file)[3000..], &[2; 1000]);
}

#[test]
fn what_was_removed_has_its_room_until_its_name_is_gone_for_good() {
    let mut disk = disk(NamesMode::Weak);
    disk.resize(4096);
    let file = disk.open("a").expect("root");
    disk.write(file, 0, &[1; 1024]);
    disk.flush_folder("");
    disk.remove("a");
    assert_eq!(disk.room().free(), Some(3072));
    disk.commit_names();
    assert_eq!(disk.room().free(), Some(4096));
}

#[test]
fn a_name_without_a_flush_of_its_folder_may_be_gone() {
    let mut gone = 0;
    for seed in 0..100 {
        let mut disk = disk(NamesMode::Weak);
        let file = disk.open("a").expect("root");
        disk.write(file, 0, b"x");
        disk.flush(file);
        disk.cut_power(&mut Random::new(seed));
        gone += usize::from(disk.file("a").is_none());
    }
    assert!((20..80).contains(&gone), "{gone} of 100");
}
