//! The loop: one thread, one poll, all connections of all parties. Asks each party's [`Load`] what
//! to send, keeps its depth or its schedule, hands answers back, and obeys a [`Steering`].

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use klamm_wire::ApiKey;
use mio::{Events, Poll, Token};

use crate::{
    frame::Frame,
    link::Link,
    problem::Problem,
    progress::{Counted, Progress},
    schedule::Schedule,
    steering::{Phase, Steering, Told},
};

/// Below this distance to the next due request the loop spins, for poll counts in milliseconds.
const SPIN_BELOW: Duration = Duration::from_millis(2);

/// Longest sleep, so that steering is heard.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// How long answers may take after the last request.
const DRAIN_WAIT: Duration = Duration::from_secs(60);

/// An answer and what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The connection, counted within the party.
    pub link: usize,
    /// What the load called the request.
    pub tag: usize,
    /// The response's body.
    pub body: &'a [u8],
    /// When it was received.
    pub now: Instant,
}

/// What is sent and what answers mean.
pub trait Load {
    /// API and version of all requests.
    fn api(&self) -> (ApiKey, i16);

    /// The next request of a connection, due at `intended`, and what the load calls it. `None`
    /// when this connection has nothing more to do.
    fn next(&mut self, link: usize, intended: Instant) -> Option<(Frame, usize)>;

    /// Takes an answer.
    ///
    /// # Errors
    /// The broker refused, or broke the protocol or its promises.
    fn answered(&mut self, answer: &Answer<'_>) -> Result<Counted, Problem>;

    /// The measured part begins.
    fn measure(&mut self, _now: Instant) {}

    /// Where the logs end after everything that this load has appended, by place.
    fn ends(&self) -> Option<Vec<i64>> {
        None
    }

    /// The run is over: nothing is to be asked for beyond `ends`.
    fn finish(&mut self, _ends: &[i64]) {}
}

/// What part a party plays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Makes the load until the run ends; if it has nothing more to do, the run ends.
    Leads,
    /// Goes on until it has seen what the leading party did.
    Follows,
    /// Begins with the measured part; when it has nothing more to do, the run ends.
    CatchesUp,
}

/// Connections with one load.
pub struct Party<'l> {
    /// The load.
    pub load: &'l mut dyn Load,
    /// How many connections.
    pub connections: usize,
    /// Requests in flight on each, at most.
    pub depth: usize,
    /// When requests are due; `None` for a closed loop.
    pub schedule: Option<Schedule>,
    /// What part it plays.
    pub role: Role,
    /// How much earlier than its send the oldest record of a request was due.
    pub linger: Duration,
}

/// Where and how it is driven.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Where the broker is.
    pub address: SocketAddr,
    /// Distance of the interval lines.
    pub interval: Duration,
    /// The party whose totals are told.
    pub subject: usize,
}

/// What a party has done.
#[derive(Debug)]
pub struct Outcome {
    /// Its counters and latencies.
    pub progress: Progress,
    /// True where it had nothing more to do.
    pub done: bool,
}

struct Lane<'l> {
    party: Party<'l>,
    links: Range<usize>,
    /// Due times of requests that found no room.
    backlog: VecDeque<Instant>,
    next_link: usize,
    progress: Progress,
    /// Connections that have nothing more to do.
    done: Vec<bool>,
}

impl Lane<'_> {
    fn is_done(&self) -> bool {
        !self.done.is_empty() && self.done.iter().all(|&done| done)
    }

    fn may_send(&self, phase: Phase) -> bool {
        match self.party.role {
            Role::Leads => phase != Phase::Stop,
            Role::Follows => true,
            Role::CatchesUp => phase == Phase::Measure,
        }
    }
}

struct Run<'l> {
    links: Vec<Link>,
    lanes: Vec<Lane<'l>>,
    began: Instant,
    course: Course,
    phase: Phase,
    measuring: bool,
}

/// Runs to the end and gives what each party has done, in their order.
///
/// # Errors
/// See [`Problem`]; the run is void.
pub fn drive(
    course: Course,
    parties: Vec<Party<'_>>,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Vec<Outcome>, Problem> {
    let poll = Poll::new()?;
    let mut links = Vec::new();
    let mut lanes = Vec::new();
    for party in parties {
        let from = links.len();
        for index in from..from + party.connections {
            links.push(Link::connect(
                course.address,
                poll.registry(),
                Token(index),
            )?);
        }
        lanes.push(Lane {
            done: vec![false; party.connections],
            party,
            links: from..links.len(),
            backlog: VecDeque::new(),
            next_link: 0,
            progress: Progress::new(Instant::now()),
        });
    }
    let began = Instant::now();
    for lane in &mut lanes {
        lane.progress = Progress::new(began);
    }
    let mut run = Run {
        links,
        lanes,
        began,
        course,
        phase: Phase::WarmUp,
        measuring: false,
    };
    run.until_the_end(poll, steering, tell)?;
    let outcomes = run.lanes.into_iter().map(|lane| Outcome {
        done: lane.is_done(),
        progress: lane.progress,
    });
    Ok(outcomes.collect())
}

impl Run<'_> {
    fn until_the_end(
        &mut self,
        mut poll: Poll,
        steering: &Steering,
        tell: &mut dyn FnMut(Told),
    ) -> Result<(), Problem> {
        let mut events = Events::with_capacity(1024);
        let mut told_at = self.began;
        let mut now = self.began;
        let mut stopped_at = None;
        let mut finishing = false;
        self.fill_all(now)?;
        loop {
            self.keep_phase(steering, now, tell)?;
            if now - told_at >= self.course.interval && self.phase != Phase::Stop {
                told_at = now;
                tell(Told::Interval(self.subject().totals(now)));
            }
            if self.phase == Phase::Stop {
                let stopped_at = *stopped_at.get_or_insert(now);
                if !finishing && self.leaders_are_idle() {
                    finishing = true;
                    self.finish(now)?;
                }
                if finishing && self.links.iter().all(|link| link.in_flight() == 0) {
                    return Ok(());
                }
                if now - stopped_at > DRAIN_WAIT {
                    let text = "requests stay unanswered, or records unread, after a minute";
                    return Err(Problem::Protocol(text.to_owned()));
                }
            } else {
                self.send_due(now)?;
            }
            poll.poll(&mut events, Some(self.sleep(now)))
                .or_else(|error| match error.kind() {
                    io::ErrorKind::Interrupted => Ok(()),
                    _ => Err(error),
                })?;
            now = Instant::now();
            for event in &events {
                self.serve(event.token().0, event.is_readable(), now)?;
            }
        }
    }

    fn subject(&self) -> &Progress {
        &self.lanes[self.course.subject].progress
    }

    fn keep_phase(
        &mut self,
        steering: &Steering,
        now: Instant,
        tell: &mut dyn FnMut(Told),
    ) -> Result<(), Problem> {
        let mut next = steering.phase(now - self.began, self.subject().bytes());
        let catching_up = self
            .lanes
            .iter()
            .any(|lane| lane.party.role == Role::CatchesUp);
        let ending = if catching_up {
            Role::CatchesUp
        } else {
            Role::Leads
        };
        let mut ends = self.lanes.iter().filter(|lane| lane.party.role == ending);
        if ends.all(Lane::is_done) && self.lanes.iter().any(Lane::is_done) {
            next = Phase::Stop;
        }
        if next == self.phase || self.phase == Phase::Stop {
            return Ok(());
        }
        self.phase = next;
        if !self.measuring {
            self.measuring = true;
            for lane in &mut self.lanes {
                lane.progress.measure(now);
                lane.party.load.measure(now);
            }
            tell(Told::Measure(self.subject().totals(now)));
        }
        if next == Phase::Stop {
            for lane in &mut self.lanes {
                lane.progress.measured(now);
                for &due in &lane.backlog {
                    let intended = due.checked_sub(lane.party.linger).unwrap_or(due);
                    lane.progress.note_overdue(intended, now);
                }
            }
            tell(Told::Measured(self.subject().totals(now)));
            return Ok(());
        }
        self.fill_all(now)
    }

    fn leaders_are_idle(&self) -> bool {
        let leaders = self
            .lanes
            .iter()
            .filter(|lane| lane.party.role == Role::Leads);
        let mut links = leaders.flat_map(|lane| &self.links[lane.links.clone()]);
        links.all(|link| link.in_flight() == 0)
    }

    /// Tells those who follow how far they must go.
    fn finish(&mut self, now: Instant) -> Result<(), Problem> {
        let Some(ends) = self.lanes.iter().find_map(|lane| lane.party.load.ends()) else {
            return Ok(());
        };
        for lane in &mut self.lanes {
            if lane.party.role == Role::Follows {
                lane.party.load.finish(&ends);
            }
        }
        self.fill_all(now)
    }

    fn sleep(&self, now: Instant) -> Duration {
        if self.phase == Phase::Stop {
            return SLEEP_MAX;
        }
        let schedules = self
            .lanes
            .iter()
            .filter_map(|lane| lane.party.schedule.as_ref());
        let due = schedules.map(|schedule| schedule.next_due().saturating_sub(now - self.began));
        match due.min() {
            None => SLEEP_MAX,
            Some(until) if until < SPIN_BELOW => Duration::ZERO,
            Some(until) => (until - SPIN_BELOW).min(SLEEP_MAX),
        }
    }

    /// Sends what the open loops' plans ask for by `now`, as far as their depths allow.
    fn send_due(&mut self, now: Instant) -> Result<(), Problem> {
        for lane in &mut self.lanes {
            let Some(schedule) = &mut lane.party.schedule else {
                continue;
            };
            while let Some(due) = schedule.take_due(now - self.began) {
                lane.backlog.push_back(self.began + due);
                lane.progress.note_due(self.began + due);
            }
            let links = &mut self.links[lane.links.clone()];
            let mut touched = Vec::new();
            while let Some(&due) = lane.backlog.front() {
                let (count, depth) = (links.len(), lane.party.depth);
                let mut order = (0..count).map(|step| (lane.next_link + step) % count);
                let Some(link) = order.find(|&link| links[link].in_flight() < depth) else {
                    break;
                };
                lane.next_link = (link + 1) % count;
                lane.backlog.pop_front();
                let intended = due.checked_sub(lane.party.linger).unwrap_or(due);
                match lane.party.load.next(link, intended) {
                    Some((frame, tag)) => links[link].queue(frame, tag, intended),
                    None => {
                        lane.done.fill(true);
                        lane.backlog.clear();
                    }
                }
                if touched.last() != Some(&link) {
                    touched.push(link);
                }
            }
            for link in touched {
                links[link].flush()?;
            }
        }
        Ok(())
    }

    /// Fills the connections of all closed loops.
    fn fill_all(&mut self, now: Instant) -> Result<(), Problem> {
        for lane in 0..self.lanes.len() {
            for link in self.lanes[lane].links.clone() {
                self.fill(lane, link, now)?;
            }
        }
        Ok(())
    }

    /// Fills a closed loop's connection up to its depth, and writes.
    fn fill(&mut self, lane: usize, link: usize, now: Instant) -> Result<(), Problem> {
        let lane = &mut self.lanes[lane];
        let own = link - lane.links.start;
        if lane.party.schedule.is_none() && lane.may_send(self.phase) {
            while self.links[link].in_flight() < lane.party.depth {
                let next = lane.party.load.next(own, now);
                lane.done[own] = next.is_none();
                let Some((frame, tag)) = next else {
                    break;
                };
                self.links[link].queue(frame, tag, now);
            }
        }
        Ok(self.links[link].flush()?)
    }

    fn serve(&mut self, link: usize, readable: bool, now: Instant) -> Result<(), Problem> {
        let index = self.lanes.partition_point(|lane| lane.links.end <= link);
        let lane = &mut self.lanes[index];
        let own = link - lane.links.start;
        if readable {
            self.links[link].receive()?;
            let (key, version) = lane.party.load.api();
            while let Some((asked, body)) = self.links[link].answer(key, version)? {
                let answer = Answer {
                    link: own,
                    tag: asked.tag,
                    body,
                    now,
                };
                let counted = lane.party.load.answered(&answer)?;
                lane.progress.answered(counted, asked.intended, now);
            }
        }
        self.fill(index, link, now)
    }
}
