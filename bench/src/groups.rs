//! The load of mode `groups`: members join, and things happen to them; each thing is over when all
//! groups have come to rest again. What is told of it: how long that took, for how long partitions
//! had no reader, how much was said, and what it cost the broker.

use std::{
    collections::BTreeSet,
    fs, thread,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::Events;
use serde::Serialize;

use crate::{
    control::Control,
    crew::{Crew, group_name},
    drive::{Course, Outcome},
    member::Membership,
    problem::Problem,
    progress::Progress,
    schedule::Random,
    steering::Told,
    workload::{GroupEvent, GroupProtocol, Workload},
};

/// Answers that are looked at together.
const EVENTS_MAX: usize = 1024;

/// What came of one event.
#[derive(Clone, Debug, Serialize)]
pub struct EventResult {
    /// What happened.
    pub event: GroupEvent,
    /// Until all groups were at rest again, in milliseconds: every partition has one reader, and
    /// every member has confirmed what it shall have. For `hold`, how long it was held.
    pub stable_ms: f64,
    /// Partitions that had no reader for a while, over all groups.
    pub gaps: usize,
    /// For how long those had none, in milliseconds: the median, and the longest.
    pub gap_ms_p50: f64,
    /// The longest of these.
    pub gap_ms_max: f64,
    /// Partitions that had two readers at a time.
    pub held_twice: u64,
    /// Groups that were not at rest at the end of the quiet time that followed.
    pub restless_afterwards: usize,
    /// Requests that members had answered meanwhile.
    pub requests: u64,
    /// Bytes of their answers.
    pub answer_bytes: u64,
    /// Processor time of the broker meanwhile, in milliseconds; where its process is known.
    pub broker_cpu_ms: Option<f64>,
    /// Memory of the broker afterwards that is no file's, in KiB; where its process is known.
    pub broker_memory_kib: Option<u64>,
}

/// A run of groups.
pub struct Groups<'g> {
    workload: &'g Workload,
    course: Course,
    membership: Membership,
    crew: Crew,
    progress: Progress,
    events: Events,
    tell: &'g mut dyn FnMut(Told),
    told_at: Instant,
    partitions: i32,
}

impl<'g> Groups<'g> {
    /// Connects all members to the coordinators of their groups.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn new(
        workload: &'g Workload,
        course: Course,
        control: &mut Control,
        random: &mut Random,
        topic: (String, [u8; 16]),
        tell: &'g mut dyn FnMut(Told),
    ) -> Result<Self, Problem> {
        let (name, id) = topic;
        let names: Vec<String> = (0..workload.groups)
            .map(|group| group_name(&name, group))
            .collect();
        control.await_coordinators(&names)?;
        let crew = Crew::new(workload, course, &name, random)?;
        let now = Instant::now();
        Ok(Self {
            workload,
            course,
            membership: Membership::new(workload, control, name, id)?,
            crew,
            progress: Progress::new(now),
            events: Events::with_capacity(EVENTS_MAX),
            tell,
            told_at: now,
            partitions: workload.partitions,
        })
    }

    /// Lets everything happen, in order.
    ///
    /// # Errors
    /// Groups do not come to rest in time, or members are refused.
    pub fn run(mut self) -> Result<(Outcome, Vec<EventResult>), Problem> {
        let workload = self.workload;
        if workload.group_events[0] != GroupEvent::Join {
            self.happen(GroupEvent::Join)?;
        }
        let now = Instant::now();
        self.progress.measure(now);
        (self.tell)(Told::Measure(self.progress.totals(now)));
        let mut results = Vec::new();
        let mut measured = None;
        for event in &workload.group_events {
            let result = self.happen(*event)?;
            measured = Some(result.1);
            results.push(result.0);
        }
        let (at, totals) = measured.unwrap_or_else(|| (now, self.progress.totals(now)));
        self.progress.measured_as(at, totals);
        let (progress, done) = (self.progress, true);
        Ok((Outcome { progress, done }, results))
    }

    fn totals(&self, now: Instant) -> crate::progress::Totals {
        self.progress.totals(now)
    }

    /// One event, up to the end of the quiet time behind it; and the totals when it was over.
    fn happen(
        &mut self,
        event: GroupEvent,
    ) -> Result<(EventResult, (Instant, crate::progress::Totals)), Problem> {
        let limit = Duration::from_secs_f64(self.workload.seconds);
        let cpu_before = self.workload.broker_process.and_then(cpu_ns);
        let began = Instant::now();
        let before = self.totals(began);
        self.crew.begin(began);
        let mut asked = None;
        match event {
            GroupEvent::Join => self.crew.join(began),
            GroupEvent::NewPartitions => asked = Some(self.ask_for_partitions(began)?),
            GroupEvent::Leave => self.crew.leave(began),
            GroupEvent::Crash => self.crew.fall_silent(true, began),
            GroupEvent::Silence => self.crew.fall_silent(false, began),
            GroupEvent::Hold => {}
        }
        let mut now = began;
        while event == GroupEvent::Hold || !self.crew.is_at_rest() {
            if now - began > limit {
                if event == GroupEvent::Hold {
                    break;
                }
                let text = format!("{event:?} took more than {limit:?}: {}", self.crew.words());
                return Err(Problem::Dropped(text));
            }
            now = self.turn(began + limit)?;
            // Whoever was refused would be waited for in vain.
            if let Some(done) = asked.take_if(|asked| asked.is_finished()) {
                join(done)?;
            }
        }
        let totals = self.totals(now);
        let broker = self.workload.broker_process;
        let cpu_after = broker.and_then(cpu_ns);
        let cpu = cpu_after.zip(cpu_before);
        if let Some(asked) = asked {
            join(asked)?;
        }
        let done = totals.since(&before);
        let gaps = self.crew.holdings().iter().flat_map(|of| of.gaps(now));
        let mut gaps: Vec<Duration> = gaps.filter(|gap| !gap.is_zero()).collect();
        gaps.sort_unstable();
        let held_twice = self.crew.holdings().iter().map(|of| of.held_twice()).sum();
        let ms = |span: Option<&Duration>| span.map_or(0.0, |span| span.as_secs_f64() * 1e3);
        let mut result = EventResult {
            event,
            stable_ms: (now - began).as_secs_f64() * 1e3,
            gaps: gaps.len(),
            gap_ms_p50: ms(gaps.get(gaps.len() / 2)),
            gap_ms_max: ms(gaps.last()),
            held_twice,
            restless_afterwards: 0,
            requests: done.requests,
            answer_bytes: done.bytes,
            broker_cpu_ms: cpu.map(|(after, before)| after.saturating_sub(before) as f64 / 1e6),
            broker_memory_kib: broker.and_then(memory_kib),
        };
        (self.tell)(Told::Measured(totals));
        let quiet = now + Duration::from_secs_f64(self.workload.warm_up_seconds);
        while Instant::now() < quiet {
            self.turn(quiet)?;
        }
        result.restless_afterwards = self.crew.restless();
        Ok((result, (now, totals)))
    }

    /// Members speak and hear; interval lines are told.
    fn turn(&mut self, until: Instant) -> Result<Instant, Problem> {
        let crew = &mut self.crew;
        let now = crew.turn(
            &self.membership,
            &mut self.progress,
            until,
            &mut self.events,
        )?;
        if now - self.told_at >= self.course.interval {
            self.told_at = now;
            (self.tell)(Told::Interval(self.progress.totals(now)));
        }
        Ok(now)
    }

    /// Asks for more partitions, on a thread of its own: members go on meanwhile.
    fn ask_for_partitions(&mut self, now: Instant) -> Result<Asked, Problem> {
        self.partitions += self.workload.new_partitions;
        let partitions = self.partitions;
        self.membership.partitions = partitions;
        let count = usize::try_from(partitions).map_err(|_| {
            Problem::Workload(format!("{partitions} partitions are no number of them"))
        })?;
        self.crew.grow(count, now);
        let address = self.course.address;
        let topic = self.membership.topic.clone();
        Ok(thread::spawn(move || {
            Control::connect(address)?.create_partitions(&topic, partitions)
        }))
    }
}

type Asked = JoinHandle<Result<(), Problem>>;

fn join(asked: Asked) -> Result<(), Problem> {
    let ended = asked.join();
    ended.unwrap_or_else(|_| Err(Problem::Protocol("CreatePartitions panicked".to_owned())))
}

/// Processor time of all threads of a process, in nanoseconds.
fn cpu_ns(process: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(threads.flatten().filter_map(of_thread).sum())
}

/// Memory of a process that is no file's, in KiB.
fn memory_kib(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The results as a table for people.
#[must_use]
pub fn table(workload: &Workload, results: &[EventResult]) -> String {
    if results.is_empty() {
        return String::new();
    }
    let protocol = match workload.group_protocol {
        GroupProtocol::Classic => "classic",
        GroupProtocol::Consumer => "consumer",
    };
    let (groups, members) = (workload.groups, workload.members);
    let mut text = format!("{groups} groups of {members} members, {protocol} protocol\n");
    let mut warnings = BTreeSet::new();
    for result in results {
        let event = serde_json::to_value(result.event).unwrap_or_default();
        let event = event.as_str().unwrap_or_default().to_owned();
        text.push_str(&format!(
            "{event:<16} at rest after {:.0} ms; {} partitions without a reader, for {:.0} ms \
             (median) and {:.0} ms (most); {} requests",
            result.stable_ms, result.gaps, result.gap_ms_p50, result.gap_ms_max, result.requests
        ));
        if let Some(cpu) = result.broker_cpu_ms {
            text.push_str(&format!("; {cpu:.1} ms of the broker"));
        }
        if let Some(kib) = result.broker_memory_kib {
            text.push_str(&format!("; it has {} MiB", kib >> 10));
        }
        text.push('\n');
        if result.held_twice > 0 {
            warnings.insert(format!(
                "{event}: partitions had two readers, {} times",
                result.held_twice
            ));
        }
        if result.restless_afterwards > 0 {
            warnings.insert(format!(
                "{event}: {} groups moved on afterwards",
                result.restless_afterwards
            ));
        }
    }
    for warning in warnings {
        text.push_str(&format!("NOTE {warning}\n"));
    }
    text
}
