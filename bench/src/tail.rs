//! Consumers as real ones are: each connection keeps a fetch session (KIP-227) over its share of
//! the partitions, reads on from where it is, checks that batches come once and in order, and
//! measures how old each record is when it arrives.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use klamm_wire::{ApiKey, encode_request};

use crate::{
    batches::step,
    clock::Clock,
    control::{CLIENT_ID, refused},
    drive::{Answer, Load},
    fetch::{each_partition_but, request},
    frame::Frame,
    latency::Latencies,
    order::{Begins, Order},
    problem::Problem,
    progress::Counted,
    stamp::Stamp,
    topics::Topics,
    workload::Workload,
};

/// Fetch session id not found, invalid fetch session epoch: the session begins anew.
const SESSION_LOST: [i16; 2] = [70, 71];

/// A reader that retention has overtaken goes on by this part of what is left.
const OVERTAKEN_STEPS: i64 = 64;

/// When a consumer has read enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// When the run is over and it has seen all of it.
    Finished,
    /// When it was once at the end of each of its partitions.
    CaughtUp,
}

/// A connection's share.
#[derive(Debug)]
struct Reader {
    /// Its places; place `p` is its `p / shares`-th.
    places: Vec<usize>,
    offsets: Vec<i64>,
    /// Where the log of each place ended when this was made.
    ends: Vec<i64>,
    caught_up: Vec<bool>,
    /// Places, as indices, whose offsets the session does not know yet.
    moved: Vec<usize>,
    session: i32,
    epoch: i32,
    order: Order,
}

/// Consumers, each of all partitions, on one or several connections.
#[derive(Debug)]
pub struct Tail<'t> {
    workload: Workload,
    topics: &'t Topics,
    version: i16,
    shares: usize,
    readers: Vec<Reader>,
    until: Until,
    goal: Option<Vec<i64>>,
    run: u32,
    clock: Clock,
    measured_from_ns: u64,
    end_to_end: Latencies,
    overtaken: u64,
}

/// Where consumers begin and how far they go.
#[derive(Clone, Debug)]
pub struct Route {
    /// First offsets, by place.
    pub from: Vec<i64>,
    /// Where the logs end before the load, by place.
    pub ends: Vec<i64>,
    /// When they have read enough.
    pub until: Until,
    /// How many consumers.
    pub consumers: usize,
    /// Connections of each.
    pub shares: usize,
}

impl<'t> Tail<'t> {
    /// Consumers of a run.
    #[must_use]
    pub fn new(
        workload: &Workload,
        topics: &'t Topics,
        version: i16,
        route: &Route,
        (run, clock): (u32, Clock),
    ) -> Self {
        let mut readers = Vec::new();
        for link in 0..route.consumers * route.shares {
            let share = link % route.shares;
            let places: Vec<usize> = (share..topics.places()).step_by(route.shares).collect();
            readers.push(Reader {
                offsets: places.iter().map(|&place| route.from[place]).collect(),
                ends: places.iter().map(|&place| route.ends[place]).collect(),
                caught_up: vec![false; places.len()],
                moved: Vec::new(),
                places,
                session: 0,
                epoch: 0,
                order: Order::new(run, Begins::AtFirst),
            });
        }
        Self {
            workload: workload.clone(),
            topics,
            version,
            shares: route.shares,
            readers,
            until: route.until,
            goal: None,
            run,
            clock,
            measured_from_ns: u64::MAX,
            end_to_end: Latencies::default(),
            overtaken: 0,
        }
    }

    /// How often retention deleted what a reader was about to ask for.
    #[must_use]
    pub const fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// How old records were when they arrived, each record counted.
    #[must_use]
    pub const fn end_to_end(&self) -> &Latencies {
        &self.end_to_end
    }

    /// True where every partition of every reader was read to its end.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.readers
            .iter()
            .all(|reader| reader.caught_up.iter().all(|&done| done))
    }

    fn has_enough(&self, reader: &Reader) -> bool {
        match (self.until, &self.goal) {
            (Until::CaughtUp, _) => reader.caught_up.iter().all(|&done| done),
            (Until::Finished, None) => false,
            (Until::Finished, Some(goal)) => {
                let mut pairs = reader.places.iter().zip(&reader.offsets);
                pairs.all(|(&place, &offset)| offset >= goal[place])
            }
        }
    }
}

impl Load for Tail<'_> {
    fn api(&self) -> (ApiKey, i16) {
        (ApiKey::Fetch, self.version)
    }

    fn next(&mut self, link: usize, _: Instant) -> Option<(Frame, usize)> {
        if self.has_enough(&self.readers[link]) {
            return None;
        }
        let reader = &mut self.readers[link];
        let known = reader.session != 0;
        let group: Vec<usize> = if known {
            reader.moved.sort_unstable();
            reader
                .moved
                .iter()
                .map(|&index| reader.places[index])
                .collect()
        } else {
            reader.places.clone()
        };
        reader.moved.clear();
        let (offsets, shares) = (&reader.offsets, self.shares);
        let mut request = request(&self.workload, self.topics, &group, &|place| {
            offsets[place / shares]
        });
        request.session_id = reader.session;
        request.session_epoch = reader.epoch;
        let mut encoded = BytesMut::new();
        encode_request(&request, self.version, 0, Some(CLIENT_ID), &mut encoded)
            .expect("what versions before 13 lack was found with the topics");
        Some((Frame::whole(encoded.to_vec()), 0))
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem> {
        let reader = &mut self.readers[answer.link];
        let Reader {
            offsets,
            ends,
            caught_up,
            moved,
            order,
            ..
        } = reader;
        let mut lost = Vec::new();
        let (shares, check_crc) = (self.shares, self.workload.check_crc);
        let now_ns = self.clock.unix_ns(answer.now);
        let (run, from_ns, end_to_end) = (self.run, self.measured_from_ns, &mut self.end_to_end);
        let mut counted = Counted::default();
        let catching_up = self.until == Until::CaughtUp;
        let (session, error) = each_partition_but(
            answer.body,
            self.version,
            self.topics,
            &mut |place| {
                lost.push(place / shares);
                catching_up
            },
            &mut |place, partition| {
                let index = place / shares;
                let before = offsets[index];
                let bytes = partition.records().unwrap_or(&[]);
                let offset = &mut offsets[index];
                step(
                    bytes,
                    offset,
                    check_crc,
                    &mut counted,
                    &mut |header, batch, records| {
                        let Some(stamp) = Stamp::of(header, batch) else {
                            return Ok(());
                        };
                        order.see(place, &stamp)?;
                        if stamp.run == run && stamp.intended_ns >= from_ns {
                            let age = now_ns.saturating_sub(stamp.intended_ns);
                            end_to_end.note(Duration::from_nanos(age), records);
                        }
                        Ok(())
                    },
                )?;
                if *offset != before {
                    moved.push(index);
                }
                caught_up[index] |= *offset >= partition.high_watermark();
                Ok(())
            },
        )?;
        for index in lost {
            // Retention has overtaken the reader: on by a part of what is left, until it is there.
            let left = ends[index] - offsets[index];
            offsets[index] += (left / OVERTAKEN_STEPS).max(1);
            moved.push(index);
            self.overtaken += 1;
        }
        if SESSION_LOST.contains(&error) {
            (reader.session, reader.epoch) = (0, 0);
            return Ok(counted);
        }
        refused("Fetch", error, || "the whole request".to_owned())?;
        reader.session = session;
        // Epoch 0 asks for a session; its requests count from 1, and begin at 1 again after 2^31 - 1.
        reader.epoch = match (session, reader.epoch) {
            (0, _) => 0,
            (_, i32::MAX) => 1,
            (_, epoch) => epoch + 1,
        };
        Ok(counted)
    }

    fn measure(&mut self, now: Instant) {
        self.measured_from_ns = self.clock.unix_ns(now);
    }

    fn finish(&mut self, ends: &[i64]) {
        self.goal = Some(ends.to_vec());
    }
}
