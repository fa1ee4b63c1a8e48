//! The judge itself: a sound history has no fault, and each kind of doctored one is found.

use std::collections::{BTreeMap, BTreeSet};

use super::events::{Event, Span, held};
use super::judge::{History, Said, faults};
use super::notes::{Note, Owner};

fn read(partition: i32, first: i64, end: i64, generation: i32) -> Event {
    Event::Read(Span {
        partition,
        first,
        end,
        generation: Some(generation),
    })
}

fn committed(partition: i32, offset: i64) -> Event {
    Event::Commit {
        partition,
        offset,
        error: None,
    }
}

fn kept(partition: i32, offset: i64, by: &str) -> Note {
    Note::Offset {
        partition,
        offset,
        by: by.to_owned(),
    }
}

fn round(generation: i32, owners: &[(&str, &[i32])]) -> Note {
    let owners = owners.iter().map(|(name, partitions)| Owner {
        name: (*name).to_owned(),
        partitions: partitions.iter().copied().collect(),
    });
    Note::Round {
        generation,
        owners: owners.collect(),
    }
}

fn has(member: &str, epoch: i32, partitions: &[i32]) -> Note {
    Note::Has {
        member: member.to_owned(),
        epoch,
        partitions: partitions.iter().copied().collect(),
    }
}

fn said(name: &str, events: Vec<Event>) -> Said {
    Said {
        name: name.to_owned(),
        owner: name.to_owned(),
        events,
    }
}

/// Anna reads both partitions, then Bert takes one of them over and reads two records again.
fn sound() -> History {
    let anna = vec![
        Event::Assigned(vec![0, 1]),
        read(0, 0, 5, 1),
        read(1, 0, 7, 1),
        committed(0, 5),
        committed(1, 5),
        Event::Revoked(vec![1]),
        read(0, 5, 9, 2),
        committed(0, 9),
    ];
    let bert = vec![
        Event::Assigned(vec![1]),
        read(1, 5, 8, 2),
        committed(1, 8),
        Event::Left,
    ];
    History {
        members: vec![said("anna", anna), said("bert", bert)],
        notes: vec![
            round(1, &[("anna", &[0, 1])]),
            kept(0, 5, "anna"),
            kept(1, 5, "anna"),
            round(2, &[("anna", &[0]), ("bert", &[1])]),
            kept(0, 9, "anna"),
            kept(1, 8, "bert"),
        ],
        ends: vec![9, 8],
        seen: vec![
            BTreeMap::from([(0, 5)]),
            BTreeMap::from([(0, 5), (1, 5)]),
            BTreeMap::from([(0, 9), (1, 8)]),
        ],
    }
}

/// The same by the consumer protocol.
fn sound_by_epochs() -> History {
    let said = |member: &str, owner: &str| Note::Said {
        member: member.to_owned(),
        owner: owner.to_owned(),
    };
    History {
        notes: vec![
            said("m1", "anna"),
            Note::Epoch(1),
            has("m1", 1, &[0, 1]),
            kept(0, 5, "anna"),
            said("m2", "bert"),
            Note::Epoch(2),
            has("m2", 2, &[]),
            // What it is to give up counts until it has given it up.
            has("m1", 1, &[0, 1]),
            kept(1, 5, "anna"),
            has("m1", 2, &[0]),
            has("m2", 2, &[1]),
            kept(0, 9, "anna"),
            kept(1, 8, "bert"),
            Note::HasNothing {
                member: "m2".to_owned(),
            },
        ],
        ..sound()
    }
}

/// The doctored history has faults, and all of them are of this kind.
fn expect(kind: &str, history: &History) {
    let found = faults(history);
    assert!(!found.is_empty(), "nothing is found, but {kind:?} is there");
    for fault in &found {
        assert!(fault.starts_with(kind), "{kind:?} is there, not {fault:?}");
    }
}

#[test]
fn a_sound_history_has_no_fault() {
    assert_eq!(faults(&sound()), [""; 0]);
    assert_eq!(faults(&sound_by_epochs()), [""; 0]);
}

#[test]
fn a_record_that_nobody_read_is_found() {
    for (member, event) in [(0, 1), (0, 2), (0, 6), (1, 1)] {
        let mut history = sound();
        history.members[member].events.remove(event);
        expect("lost", &history);
    }
    let mut history = sound();
    history.members[0].events[1] = read(0, 0, 4, 1);
    expect("lost", &history);
}

#[test]
fn a_record_that_was_never_written_is_found() {
    let mut history = sound();
    history.members[1].events[1] = read(1, 5, 9, 2);
    expect("invented", &history);
}

#[test]
fn two_readers_of_one_generation_are_found() {
    let mut history = sound();
    history.members[1].events[1] = read(1, 5, 8, 1);
    expect("two owners", &history);
    // Two processes under one static name are one member.
    history.members[1].owner = "anna".to_owned();
    history.notes[3] = round(2, &[("anna", &[0, 1])]);
    assert_eq!(faults(&history), [""; 0]);
}

#[test]
fn two_owners_in_the_notes_are_found() {
    let mut history = sound();
    history.notes[3] = round(2, &[("anna", &[0]), ("bert", &[0, 1])]);
    expect("two owners", &history);
    let mut history = sound_by_epochs();
    history.notes[6] = has("m2", 2, &[1]);
    expect("two owners", &history);
}

#[test]
fn a_commit_that_went_back_is_found() {
    let mut history = sound();
    history.notes.insert(3, kept(0, 4, "anna"));
    expect("commit went back", &history);
}

#[test]
fn a_commit_by_one_who_owns_nothing_is_found() {
    let mut history = sound();
    history.notes.insert(5, kept(1, 6, "anna"));
    expect("commit of another", &history);
    let mut history = sound_by_epochs();
    history.notes.insert(11, kept(1, 6, "anna"));
    expect("commit of another", &history);
}

#[test]
fn who_gives_up_a_partition_may_commit_until_another_one_has_it() {
    let mut history = sound();
    history.notes.insert(3, kept(1, 6, "anna"));
    history
        .notes
        .insert(3, round(2, &[("anna", &[0]), ("bert", &[])]));
    assert_eq!(faults(&history), [""; 0]);
    // Not by one who is a member no more.
    history.notes[3] = round(2, &[("bert", &[0])]);
    expect("commit of another", &history);
}

#[test]
fn an_accepted_commit_that_is_not_kept_is_found() {
    let mut history = sound();
    history.notes.remove(1);
    expect("commit lost", &history);
}

#[test]
fn an_answer_that_went_back_or_forgot_is_found() {
    let mut history = sound();
    history.seen.insert(2, BTreeMap::from([(0, 5), (1, 4)]));
    expect("answer went back", &history);
    let mut history = sound();
    history.seen.insert(2, BTreeMap::from([(0, 5)]));
    expect("answer went back", &history);
}

#[test]
fn work_that_is_not_done_is_found() {
    let mut history = sound();
    history.seen.pop();
    expect("not done", &history);
}

#[test]
fn generations_and_epochs_that_went_back_are_found() {
    let mut history = sound();
    history.notes.insert(3, round(0, &[("anna", &[0, 1])]));
    expect("generation went back", &history);
    let mut history = sound_by_epochs();
    history.notes.insert(11, has("m1", 1, &[0]));
    expect("epoch went back", &history);
    // Members that change to the classic protocol go on where their epochs ended.
    let mut history = sound_by_epochs();
    history.notes.push(round(2, &[("anna", &[0, 1])]));
    assert_eq!(faults(&history), [""; 0]);
    history.notes.push(round(1, &[("anna", &[0, 1])]));
    expect("generation went back", &history);
}

#[test]
fn lines_of_members_are_read_and_others_refused() {
    let lines = [
        r#"{"event":"assigned","partitions":[0,3],"generation":1}"#,
        r#"{"event":"read","partition":3,"first":7,"end":9,"generation":null}"#,
        r#"{"event":"lost","partitions":[3]}"#,
    ];
    let events: Result<Vec<_>, _> = lines.iter().map(|line| Event::parse(line)).collect();
    let events = events.expect("lines of members");
    assert_eq!(held(&events), BTreeSet::from([0]));
    for line in [
        "assigned 0",
        "{}",
        r#"{"event":"assigned"}"#,
        r#"{"event":"assigned","partitions":["0"]}"#,
        r#"{"event":"read","partition":0,"first":7}"#,
        r#"{"event":"commit","partition":0,"offset":1,"error":7}"#,
    ] {
        assert!(Event::parse(line).is_err(), "{line}");
    }
}
