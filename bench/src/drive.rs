//! The loop: one thread, one poll, all connections. Asks a [`Load`] what to send, keeps the depth
//! or the schedule, hands answers back, and obeys a [`Steering`].

use std::{
    collections::VecDeque,
    io::{self, BufRead},
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use klamm_wire::ApiKey;
use mio::{Events, Poll, Token};

use crate::{
    link::Link,
    problem::Problem,
    progress::{Counted, Progress, Totals},
    schedule::Schedule,
};

/// Below this distance to the next due request the loop spins, for poll counts in milliseconds.
const SPIN_BELOW: Duration = Duration::from_millis(2);

/// Longest sleep, so that steering is heard.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// How long answers may take after the last request.
const DRAIN_WAIT: Duration = Duration::from_secs(60);

/// What is sent and what answers mean.
pub trait Load {
    /// API and version of all requests.
    fn api(&self) -> (ApiKey, i16);

    /// The next frame of a connection, and what the load calls it.
    fn next(&mut self, link: usize) -> (Rc<[u8]>, usize);

    /// Takes the body of an answer.
    ///
    /// # Errors
    /// The broker refused, or broke the protocol or its promises.
    fn answered(&mut self, link: usize, tag: usize, body: &[u8]) -> Result<Counted, Problem>;
}

/// Where a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Not counted yet.
    WarmUp,
    /// Counted.
    Measure,
    /// No more requests; the answers under way are waited for.
    Stop,
}

/// Who says when a phase ends.
#[derive(Clone, Debug)]
pub enum Steering {
    /// The clock.
    Clock {
        /// Length of the warm-up.
        warm_up: Duration,
        /// Length of the measured part.
        measure: Duration,
    },
    /// Lines on standard input.
    Lines(Arc<AtomicU8>),
    /// The end comes when so many bytes are through; all of it counts.
    Bytes(u64),
}

impl Steering {
    /// Listens to standard input: `measure`, `stop`, or its end.
    #[must_use]
    pub fn by_lines() -> Self {
        let said = Arc::new(AtomicU8::new(0));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                match line.trim() {
                    "measure" => heard.store(1, Ordering::Relaxed),
                    "stop" => break,
                    _ => {}
                }
            }
            heard.store(2, Ordering::Relaxed);
        });
        Self::Lines(said)
    }

    fn phase(&self, elapsed: Duration, bytes: u64) -> Phase {
        match self {
            Self::Clock { warm_up, .. } if elapsed < *warm_up => Phase::WarmUp,
            Self::Clock { warm_up, measure } if elapsed < *warm_up + *measure => Phase::Measure,
            Self::Clock { .. } => Phase::Stop,
            Self::Lines(said) => match said.load(Ordering::Relaxed) {
                0 => Phase::WarmUp,
                1 => Phase::Measure,
                _ => Phase::Stop,
            },
            Self::Bytes(limit) if bytes < *limit => Phase::Measure,
            Self::Bytes(_) => Phase::Stop,
        }
    }
}

/// What the loop tells while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Some time has passed.
    Interval(Totals),
    /// The measured part begins.
    Measure(Totals),
    /// The measured part is over.
    Measured(Totals),
}

/// How the connections are used.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Where the broker is.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Requests in flight on each, at most.
    pub depth: usize,
    /// Due times of an open loop.
    pub schedule: Option<Schedule>,
    /// Distance of [`Told::Interval`].
    pub interval: Duration,
}

/// What a run gave.
#[derive(Debug)]
pub struct Driven {
    /// Counters and latencies.
    pub progress: Progress,
    /// The measured part.
    pub measured: Totals,
    /// Requests that an open loop could not send when they were due, at the end.
    pub overdue: usize,
}

/// Runs a load to its end.
///
/// # Errors
/// See [`Problem`]; the run is void.
pub fn drive(
    shape: &Shape,
    load: &mut dyn Load,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Driven, Problem> {
    let poll = Poll::new()?;
    let mut links = Vec::new();
    for index in 0..shape.connections {
        links.push(Link::connect(shape.address, poll.registry(), Token(index))?);
    }
    let began = Instant::now();
    let run = Run {
        links,
        load,
        depth: shape.depth,
        schedule: shape.schedule.clone(),
        backlog: VecDeque::new(),
        next_link: 0,
        began,
        progress: Progress::new(began),
    };
    run.until_the_end(poll, shape.interval, steering, tell)
}

struct Run<'l> {
    links: Vec<Link>,
    load: &'l mut dyn Load,
    depth: usize,
    schedule: Option<Schedule>,
    /// Due times of requests that found no room.
    backlog: VecDeque<Instant>,
    next_link: usize,
    began: Instant,
    progress: Progress,
}

impl Run<'_> {
    fn until_the_end(
        mut self,
        mut poll: Poll,
        interval: Duration,
        steering: &Steering,
        tell: &mut dyn FnMut(Told),
    ) -> Result<Driven, Problem> {
        let mut events = Events::with_capacity(1024);
        let mut phase = Phase::WarmUp;
        let mut told_at = self.began;
        let mut now = self.began;
        let mut measured = None;
        let mut stopped_at = None;
        if self.schedule.is_none() {
            for link in 0..self.links.len() {
                self.fill(link, now)?;
            }
        }
        loop {
            let next = steering.phase(now - self.began, self.progress.bytes());
            if next != phase {
                if self.progress.measured_from().is_none() {
                    tell(Told::Measure(self.progress.measure(now)));
                }
                if next == Phase::Stop {
                    let totals = self.progress.totals(now);
                    tell(Told::Measured(totals));
                    measured = self
                        .progress
                        .measured_from()
                        .map(|from| totals.since(&from));
                    stopped_at = Some(now);
                }
                phase = next;
            }
            if now - told_at >= interval && phase != Phase::Stop {
                told_at = now;
                tell(Told::Interval(self.progress.totals(now)));
            }
            if let Some(stopped_at) = stopped_at {
                if self.links.iter().all(|link| link.in_flight() == 0) {
                    break;
                }
                if now - stopped_at > DRAIN_WAIT {
                    return Err(Problem::Protocol("requests stay unanswered".to_owned()));
                }
            } else {
                self.send_due(now)?;
            }
            let timeout = self.sleep(now, phase);
            poll.poll(&mut events, Some(timeout)).or_else(|error| {
                if error.kind() == io::ErrorKind::Interrupted {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
            now = Instant::now();
            for event in &events {
                self.serve(event.token().0, event.is_readable(), now, phase)?;
            }
        }
        let measured = measured.expect("a run stops once and has then been measured");
        Ok(Driven {
            progress: self.progress,
            measured,
            overdue: self.backlog.len(),
        })
    }

    fn sleep(&self, now: Instant, phase: Phase) -> Duration {
        let Some(schedule) = self.schedule.as_ref().filter(|_| phase != Phase::Stop) else {
            return SLEEP_MAX;
        };
        let until = schedule.next_due().saturating_sub(now - self.began);
        if until < SPIN_BELOW {
            Duration::ZERO
        } else {
            (until - SPIN_BELOW).min(SLEEP_MAX)
        }
    }

    /// Sends what an open loop's plan asks for by `now`, as far as the depth allows.
    fn send_due(&mut self, now: Instant) -> Result<(), Problem> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(());
        };
        while let Some(due) = schedule.take_due(now - self.began) {
            self.backlog.push_back(self.began + due);
        }
        while let Some(&intended) = self.backlog.front() {
            let count = self.links.len();
            let order = (0..count).map(|step| (self.next_link + step) % count);
            let depth = self.depth;
            let Some(link) = order
                .into_iter()
                .find(|&link| self.links[link].in_flight() < depth)
            else {
                return Ok(());
            };
            self.next_link = (link + 1) % count;
            self.backlog.pop_front();
            let (frame, tag) = self.load.next(link);
            self.links[link].queue(frame, tag, intended);
            self.links[link].flush()?;
        }
        Ok(())
    }

    /// Fills a closed loop's connection up to its depth.
    fn fill(&mut self, link: usize, now: Instant) -> Result<(), Problem> {
        while self.links[link].in_flight() < self.depth {
            let (frame, tag) = self.load.next(link);
            self.links[link].queue(frame, tag, now);
        }
        Ok(self.links[link].flush()?)
    }

    fn serve(
        &mut self,
        link: usize,
        readable: bool,
        now: Instant,
        phase: Phase,
    ) -> Result<(), Problem> {
        if readable {
            self.links[link].receive()?;
            let (key, version) = self.load.api();
            while let Some((asked, body)) = self.links[link].answer(key, version)? {
                let counted = self.load.answered(link, asked.tag, body)?;
                self.progress
                    .answered(counted, now.saturating_duration_since(asked.intended));
            }
        }
        if self.schedule.is_none() && phase != Phase::Stop {
            self.fill(link, now)
        } else {
            Ok(self.links[link].flush()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_bytes_end_their_phases() {
        let second = Duration::from_secs(1);
        let clock = Steering::Clock {
            warm_up: second,
            measure: second * 2,
        };
        assert_eq!(clock.phase(Duration::ZERO, 0), Phase::WarmUp);
        assert_eq!(clock.phase(second, 0), Phase::Measure);
        assert_eq!(clock.phase(second * 3, 0), Phase::Stop);
        let bytes = Steering::Bytes(10);
        assert_eq!(bytes.phase(second, 9), Phase::Measure);
        assert_eq!(bytes.phase(second, 10), Phase::Stop);
    }
}
