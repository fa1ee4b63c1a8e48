//! The consuming machine against a leader that keeps Kafka's rules of fetch sessions, under loss,
//! seeks and pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_model::{LeaderEpoch, PartitionIndex, Random, Timestamp, TopicId};
use klamm_records::batch::BatchOptions;
use klamm_wire::{Message, MessageView, fetch as fetch_wire, metadata};

use super::*;
use crate::fetch;
use crate::offsets::ListedOffset;
use crate::tests::{batch, cluster, fetch_response, partition};

/// A fetcher that does not reset and names everything each time.
fn plain() -> Fetcher {
    Fetcher::new(ConsumerOptions {
        offset_reset: OffsetReset::Fail,
        sessions: false,
        ..ConsumerOptions::default()
    })
}

/// Takes a Fetch answer of the wire into a fetcher.
fn answer(
    fetcher: &mut Fetcher,
    now: Instant,
    response: &fetch_wire::Response<'_>,
    cluster: &mut Cluster,
) {
    let mut body = BytesMut::new();
    response.encode(17, &mut body).expect("version 17");
    let body = body.freeze();
    let view = fetch_wire::ResponseView::parse(&body, 17).expect("sound");
    let answer = fetch::read(&view, &body, cluster).expect("no error as a whole");
    fetcher.on_answer(now, NodeId(1), answer, cluster);
}

/// Node and positions of a Fetch.
fn asked(action: Option<Action>) -> Option<(i32, Vec<(i32, i64)>)> {
    match action {
        Some(Action::Fetch { node, plan }) => {
            let rows = plan.rows.iter();
            let rows = rows.map(|row| (row.partition.index.0, row.position.0));
            Some((node.0, rows.collect()))
        }
        _ => None,
    }
}

#[test]
fn a_fetcher_reads_on_where_it_stopped_and_tells_the_end_once() {
    let mut cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(1));
    let now = Instant(1);
    assert_eq!(asked(fetcher.poll(now, &cluster)), Some((1, vec![(0, 1)])));
    let busy = fetcher.poll(now, &cluster);
    assert_eq!(busy, None, "one fetch in flight per leader");
    let records = batch(0, &["a", "b"], BatchOptions::default());
    let full = fetch_response(records, ErrorCode::None);
    answer(&mut fetcher, now, &full, &mut cluster);
    let unread = fetcher.poll(now, &cluster);
    assert_eq!(unread, None, "nothing is asked for before it was read");
    let record = fetcher.next_event();
    assert!(
        matches!(&record, Some(Event::Record(_, it)) if it.offset == Offset(1)),
        "{record:?}"
    );
    let end = Event::End(partition(0), Offset(2));
    assert_eq!(fetcher.next_event(), Some(end));
    assert_eq!(fetcher.lag(&partition(0)), Some(0));
    assert_eq!(asked(fetcher.poll(now, &cluster)), Some((1, vec![(0, 2)])));
    let empty = fetch_response(Bytes::new(), ErrorCode::None);
    answer(&mut fetcher, now, &empty, &mut cluster);
    assert_eq!(fetcher.next_event(), None);
}

#[test]
fn a_fetcher_follows_a_leader_that_moved_after_a_pause() {
    let mut cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(0));
    let now = Instant(1);
    assert!(fetcher.poll(now, &cluster).is_some());
    let moved = fetch_response(Bytes::new(), ErrorCode::NotLeaderOrFollower);
    answer(&mut fetcher, now, &moved, &mut cluster);
    let topics = vec![TopicName::new("t").expect("legal")];
    assert_eq!(fetcher.poll(now, &cluster), Some(Action::Refresh(topics)));
    assert_eq!(fetcher.poll(now, &cluster), None, "the backoff is kept");
    cluster.hint_leader(&partition(0), NodeId(2), LeaderEpoch(9));
    let later = fetcher.next_deadline(now).expect("a pause ends");
    let Some(Action::Fetch { node, plan }) = fetcher.poll(later, &cluster) else {
        panic!("the new leader is asked");
    };
    assert_eq!(
        (node, plan.rows[0].leader_epoch),
        (NodeId(2), LeaderEpoch(9))
    );
}

#[test]
fn pauses_after_failures_grow_to_their_ceiling_and_end_with_success() {
    let mut cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(0));
    let mut now = Instant(1);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        while asked(fetcher.poll(now, &cluster)).is_none() {}
        fetcher.on_lost(now, NodeId(1));
        let due = fetcher.assigned[&partition(0)].not_before;
        pauses.push(due.since(now).as_millis());
        now = due;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    while asked(fetcher.poll(now, &cluster)).is_none() {}
    let empty = fetch_response(Bytes::new(), ErrorCode::None);
    answer(&mut fetcher, now, &empty, &mut cluster);
    assert_eq!(fetcher.assigned[&partition(0)].failures, 0);
}

#[test]
fn a_partition_out_of_range_stands_still_until_it_is_sought() {
    let mut cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(50));
    let now = Instant(1);
    assert!(fetcher.poll(now, &cluster).is_some());
    let refused = fetch_response(Bytes::new(), ErrorCode::OffsetOutOfRange);
    answer(&mut fetcher, now, &refused, &mut cluster);
    let error = FetchError::OutOfRange {
        position: Offset(50),
        log_start: Some(Offset(0)),
    };
    let failed = Event::Failed(partition(0), error);
    assert_eq!(fetcher.next_event(), Some(failed));
    assert_eq!(fetcher.poll(now, &cluster), None);
    fetcher.seek(partition(0), Offset(0));
    assert!(fetcher.poll(now, &cluster).is_some());
}

#[test]
fn an_answer_to_an_older_position_is_dropped() {
    let mut cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(0));
    let now = Instant(1);
    assert!(fetcher.poll(now, &cluster).is_some());
    fetcher.seek(partition(0), Offset(1));
    let records = batch(0, &["a", "b"], BatchOptions::default());
    let full = fetch_response(records, ErrorCode::None);
    answer(&mut fetcher, now, &full, &mut cluster);
    assert_eq!(fetcher.next_event(), None);
    assert_eq!(fetcher.position(&partition(0)), Some(Offset(1)));
}

#[test]
fn leaders_are_asked_for_anew_when_what_is_known_is_old() {
    let cluster = cluster();
    let mut fetcher = plain();
    fetcher.seek(partition(0), Offset(0));
    assert!(fetcher.poll(Instant(1), &cluster).is_some());
    assert_eq!(fetcher.poll(Instant(1), &cluster), None);
    let due = fetcher.next_deadline(Instant(1)).expect("an age ends");
    assert_eq!(due.since(Instant(1)), Duration::from_secs(300));
    let topics = vec![TopicName::new("t").expect("legal")];
    assert_eq!(fetcher.poll(due, &cluster), Some(Action::Refresh(topics)));
    assert_eq!(fetcher.poll(due, &cluster), None);
}

/// One partition at its leader.
#[derive(Default)]
struct Log {
    start: i64,
    end: i64,
}

/// What the leader remembers of a partition of a session.
struct Remembered {
    position: i64,
    /// End and start as they were told last.
    told: Option<(i64, i64)>,
}

/// A leader of all partitions that gives one session, and forgets it when told to.
struct Leader {
    logs: BTreeMap<PartitionName, Log>,
    session: Option<(i32, i32, BTreeMap<PartitionName, Remembered>)>,
    next_id: i32,
    /// Rows named in requests so far.
    named: usize,
}

impl Leader {
    fn new(partitions: i32) -> Self {
        let logs = (0..partitions).map(|index| (partition(index), Log::default()));
        Self {
            logs: logs.collect(),
            session: None,
            next_id: 1,
            named: 0,
        }
    }

    fn serve(&mut self, plan: &FetchPlan) -> Result<FetchAnswer, BrokerError> {
        self.named += plan.rows.len();
        let refuse = |code| Err(BrokerError::new(code, "fetch"));
        if plan.session_epoch > 0 {
            match &self.session {
                Some((id, ..)) if *id != plan.session_id => {
                    return refuse(ErrorCode::FetchSessionIdNotFound);
                }
                None => return refuse(ErrorCode::FetchSessionIdNotFound),
                Some((_, epoch, _)) if *epoch != plan.session_epoch => {
                    return refuse(ErrorCode::InvalidFetchSessionEpoch);
                }
                Some(_) => {}
            }
        } else {
            assert!(plan.forgotten.is_empty(), "only a session forgets");
            self.session = Some((self.next_id, 0, BTreeMap::new()));
            self.next_id += 1;
        }
        let full = plan.session_epoch <= 0;
        let (id, epoch, remembered) = self.session.as_mut().expect("just seen or made");
        *epoch += 1;
        for gone in &plan.forgotten {
            assert!(remembered.remove(&gone.partition).is_some(), "it was named");
        }
        for row in &plan.rows {
            let told = remembered.get(&row.partition).and_then(|it| it.told);
            let position = row.position.0;
            let row = row.partition.clone();
            remembered.insert(row, Remembered { position, told });
        }
        let mut outcomes = Vec::new();
        for (name, it) in remembered {
            let log = &self.logs[name];
            let now = (log.end, log.start);
            let out_of_range = it.position < log.start || it.position > log.end;
            let news = out_of_range || it.position < log.end || it.told != Some(now);
            if !news && !full {
                continue;
            }
            it.told = Some(now);
            let outcome = if out_of_range {
                it.told = None;
                Err(Refused {
                    error: BrokerError::new(ErrorCode::OffsetOutOfRange, "partition"),
                    log_start: Some(Offset(log.start)),
                    leader: None,
                })
            } else {
                Ok(fetched(log, it.position))
            };
            outcomes.push((name.clone(), outcome));
        }
        Ok(FetchAnswer {
            session_id: *id,
            outcomes,
        })
    }
}

/// At most three records from a position on, each with its own offset as value.
fn fetched(log: &Log, position: i64) -> FetchedPartition {
    let offsets = position..log.end.min(position + 3);
    let values: Vec<String> = offsets.map(|offset| offset.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let records = if values.is_empty() {
        Bytes::new()
    } else {
        batch(position, &values, BatchOptions::default())
    };
    FetchedPartition {
        high_watermark: Offset(log.end),
        last_stable: Some(Offset(log.end)),
        log_start: Some(Offset(log.start)),
        aborted: Vec::new(),
        records,
    }
}

/// A cluster of one broker with so many partitions.
fn wide_cluster(partitions: i32) -> Cluster {
    let mut response = crate::tests::metadata_response(1);
    let row = |index| metadata::MetadataResponsePartition {
        partition_index: index,
        leader_id: 1,
        ..Default::default()
    };
    response.topics[0].partitions = (0..partitions).map(row).collect();
    let mut body = BytesMut::new();
    response.encode(12, &mut body).expect("version 12");
    let view = metadata::ResponseView::parse(&body, 12).expect("what was encoded");
    let mut cluster = Cluster::default();
    cluster.apply(&view);
    cluster
}

fn listed(offset: Option<i64>) -> ListedOffset {
    ListedOffset {
        offset: offset.map(Offset),
        timestamp: None,
        leader_epoch: None,
    }
}

/// Lets a fetcher and a leader talk until nothing is left to do now; `lose` says of each request
/// whether its answer is lost.
fn talk(
    fetcher: &mut Fetcher,
    leader: &mut Leader,
    cluster: &mut Cluster,
    now: &mut Instant,
    mut lose: impl FnMut() -> bool,
) {
    for _ in 0..4 {
        *now = now.plus(Duration::from_millis(100));
        match fetcher.poll(*now, cluster) {
            None => *now = now.plus(Duration::from_millis(400)),
            Some(Action::Refresh(_)) => {}
            Some(Action::FindOffsets { node, wanted }) => {
                let find = |(name, spec): (PartitionName, OffsetSpec)| {
                    let log = &leader.logs[&name];
                    let found = match spec {
                        OffsetSpec::Earliest => Some(log.start),
                        OffsetSpec::Latest => Some(log.end),
                        OffsetSpec::MaxTimestamp => None,
                        OffsetSpec::AtTime(time) => (time.0 < log.end).then_some(time.0),
                    };
                    (name, Ok(listed(found)))
                };
                let outcomes = wanted.into_iter().map(find).collect();
                if lose() {
                    fetcher.on_offsets_lost(*now, node);
                } else {
                    fetcher.on_offsets(*now, node, outcomes, cluster);
                }
            }
            Some(Action::Fetch { node, plan }) => match leader.serve(&plan) {
                _ if lose() => fetcher.on_lost(*now, node),
                Ok(answer) => fetcher.on_answer(*now, node, answer, cluster),
                Err(error) => fetcher.on_refusal(*now, node, &error),
            },
        }
    }
}

#[test]
fn reading_begins_where_it_was_asked_to() {
    for (start, expected) in [
        (StartAt::Offset(Offset(3)), 3),
        (StartAt::Earliest, 2),
        (StartAt::Latest, 9),
        (StartAt::Time(Timestamp(5)), 5),
        (StartAt::Time(Timestamp(50)), 9),
    ] {
        let (mut cluster, mut leader) = (wide_cluster(1), Leader::new(1));
        leader.logs.insert(partition(0), Log { start: 2, end: 9 });
        let mut fetcher = Fetcher::new(ConsumerOptions::default());
        fetcher.seek(partition(0), start);
        let mut now = Instant(1);
        talk(&mut fetcher, &mut leader, &mut cluster, &mut now, || false);
        let position = fetcher.position(&partition(0));
        assert_eq!(position, Some(Offset(expected)), "{start:?}");
    }
}

#[test]
fn a_position_outside_the_log_goes_where_the_reset_says() {
    for (reset, expected) in [(OffsetReset::Earliest, 7), (OffsetReset::Latest, 9)] {
        let (mut cluster, mut leader) = (wide_cluster(1), Leader::new(1));
        leader.logs.insert(partition(0), Log { start: 7, end: 9 });
        let mut fetcher = Fetcher::new(ConsumerOptions {
            offset_reset: reset,
            ..ConsumerOptions::default()
        });
        fetcher.seek(partition(0), Offset(3));
        let mut now = Instant(1);
        talk(&mut fetcher, &mut leader, &mut cluster, &mut now, || false);
        let event = fetcher.next_event();
        assert!(
            matches!(&event, Some(Event::Reset { position, .. }) if *position == Offset(3)),
            "{event:?}"
        );
        let position = fetcher.position(&partition(0));
        assert_eq!(position, Some(Offset(expected)), "{reset:?}");
    }
}

#[test]
fn an_idle_session_names_nothing() {
    let count = 100;
    let (mut cluster, mut leader) = (wide_cluster(count), Leader::new(count));
    let mut fetcher = Fetcher::new(ConsumerOptions::default());
    for index in 0..count {
        fetcher.seek(partition(index), Offset(0));
    }
    let mut now = Instant(1);
    for _ in 0..20 {
        talk(&mut fetcher, &mut leader, &mut cluster, &mut now, || false);
        while fetcher.next_event().is_some() {}
    }
    // All of them in the first request, and once more each when their first answer was read.
    assert!(leader.named <= 200, "{}", leader.named);
    let before = leader.named;
    leader.logs.get_mut(&partition(7)).expect("made").end = 1;
    for _ in 0..20 {
        talk(&mut fetcher, &mut leader, &mut cluster, &mut now, || false);
        while fetcher.next_event().is_some() {}
    }
    assert!(leader.named - before <= 3, "{}", leader.named - before);
}

#[test]
fn every_record_is_read_once_and_in_order_whatever_is_lost_sought_and_paused() {
    let count = 5;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut cluster, mut leader) = (wide_cluster(count), Leader::new(count));
        let mut fetcher = Fetcher::new(ConsumerOptions::default());
        let mut next: BTreeMap<PartitionName, i64> = BTreeMap::new();
        for index in 0..count {
            fetcher.seek(partition(index), Offset(0));
            next.insert(partition(index), 0);
        }
        let mut now = Instant(1);
        let mut paused: BTreeSet<PartitionName> = BTreeSet::new();
        for round in 0..200 {
            let chosen = partition(random.below(count as u64) as i32);
            let quiet = round >= 150;
            match random.below(12) {
                _ if quiet => {
                    for name in std::mem::take(&mut paused) {
                        assert!(fetcher.resume(&name));
                    }
                }
                0 => leader.session = None,
                1 => {
                    fetcher.seek(chosen.clone(), Offset(0));
                    next.insert(chosen, 0);
                }
                2 => {
                    assert!(fetcher.pause(&chosen));
                    paused.insert(chosen);
                }
                3 => {
                    assert!(fetcher.resume(&chosen));
                    paused.remove(&chosen);
                }
                _ => leader.logs.get_mut(&chosen).expect("made").end += 1,
            }
            let mut dice = Random::new(random.next());
            talk(&mut fetcher, &mut leader, &mut cluster, &mut now, || {
                !quiet && dice.below(5) == 0
            });
            let reads = random.below(6) as usize + if quiet { 1000 } else { 0 };
            for _ in 0..reads {
                let Some(event) = fetcher.next_event() else {
                    break;
                };
                assert!(
                    !paused.contains(event.partition()),
                    "seed {seed}: {event:?}"
                );
                match event {
                    Event::Record(name, record) => {
                        let expected = next.get_mut(&name).expect("assigned");
                        assert_eq!(record.offset.0, *expected, "seed {seed}, {name}");
                        *expected += 1;
                        let position = fetcher.position(&name);
                        assert_eq!(position, Some(Offset(*expected)), "seed {seed}, {name}");
                    }
                    Event::End(name, position) => assert_eq!(position.0, next[&name]),
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        for (name, log) in &leader.logs {
            assert_eq!(next[name], log.end, "seed {seed}, {name}");
            assert_eq!(fetcher.lag(name), Some(0), "seed {seed}, {name}");
        }
        assert_eq!(fetcher.unread_bytes, 0);
    }
}

#[test]
fn what_is_not_assigned_is_neither_paused_nor_read() {
    let mut fetcher = Fetcher::new(ConsumerOptions::default());
    assert!(!fetcher.pause(&partition(0)));
    assert!(!fetcher.resume(&partition(0)));
    assert_eq!(fetcher.position(&partition(0)), None);
    assert_eq!(fetcher.poll(Instant(1), &cluster()), None);
    fetcher.seek(partition(0), StartAt::Latest);
    fetcher.remove(&partition(0));
    assert_eq!(fetcher.assignment().count(), 0);
    assert_eq!(fetcher.poll(Instant(1), &cluster()), None);
}

#[test]
fn topic_ids_are_named_as_they_were_when_the_row_was_made() {
    let row = FetchRow::new(partition(0), Offset(4), &cluster());
    assert_eq!(row.topic_id, TopicId([7; 16]));
    assert_eq!(row.leader_epoch, LeaderEpoch(4));
    let missing = PartitionName::new(TopicName::new("u").expect("legal"), PartitionIndex(0));
    let row = FetchRow::new(missing, Offset(4), &cluster());
    assert!(row.topic_id.is_zero());
    let options = fetch::FetchOptions::default();
    let shaped = fetch::request(&FetchPlan::alone(vec![row]), &options);
    assert_eq!(shaped.version_max, 12);
}
