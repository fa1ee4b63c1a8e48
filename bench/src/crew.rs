//! All members of all groups on one thread: their timers, their connections, what they read. A
//! connection carries the members that share it in the order in which they speak.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use klamm_wire::ApiKey;
use mio::{Events, Poll, Token};

use crate::{
    control::Control,
    drive::Course,
    holdings::Holdings,
    link::Link,
    member::{Member, Membership},
    problem::Problem,
    progress::{Counted, Progress},
    schedule::Random,
    workload::Workload,
};

/// Longest sleep, so that whoever steers is heard.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// A connection and what was asked on it.
#[derive(Debug)]
struct Line {
    /// None once it was closed.
    link: Option<Link>,
    asked: VecDeque<(usize, ApiKey, i16)>,
}

/// All members.
#[derive(Debug)]
pub struct Crew {
    poll: Poll,
    lines: Vec<Line>,
    members: Vec<Member>,
    /// Members of each group.
    group_size: usize,
    holdings: Vec<Holdings>,
    /// Which groups are at rest, and how many are not.
    rests: Vec<bool>,
    restless: usize,
    /// Who speaks when; what a member says of itself counts.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Connections that have something to write.
    unsent: Vec<usize>,
}

impl Crew {
    /// Connections, and members that have not joined.
    ///
    /// # Errors
    /// The broker does not accept.
    pub fn new(
        workload: &Workload,
        course: Course,
        run: &str,
        random: &mut Random,
    ) -> Result<Self, Problem> {
        let poll = Poll::new()?;
        let now = Instant::now();
        let greeting = Control::greeting()?;
        let mut lines = Vec::new();
        for index in 0..workload.connections {
            let (address, token) = (course.address, Token(index));
            let link = Link::connect_greeting(address, &greeting, poll.registry(), token)?;
            lines.push(Line {
                link: Some(link),
                asked: VecDeque::new(),
            });
        }
        let mut members = Vec::new();
        for group in 0..workload.groups {
            let name: Rc<str> = group_name(run, group).into();
            for _ in 0..workload.members {
                let bits = [random.bits(), random.bits()];
                members.push(Member::new(&name, workload.group_protocol, bits));
            }
        }
        let group = || Holdings::new(workload.places(), workload.members, now);
        Ok(Self {
            poll,
            lines,
            members,
            group_size: workload.members,
            holdings: (0..workload.groups).map(|_| group()).collect(),
            rests: vec![false; workload.groups],
            restless: workload.groups,
            timers: BinaryHeap::new(),
            unsent: Vec::new(),
        })
    }

    /// The connection of a member: its own, or one of a member of each of several groups.
    fn line_of(&self, member: usize) -> usize {
        let rows = self.lines.len() / self.group_size;
        let (group, place) = (member / self.group_size, member % self.group_size);
        group % rows * self.group_size + place
    }

    /// All join.
    pub fn join(&mut self, now: Instant) {
        for member in 0..self.members.len() {
            self.members[member].join(now);
            self.timers.push(Reverse((now, member)));
        }
    }

    /// The last member of each group does something.
    fn last_members(&self) -> Vec<usize> {
        let groups = 0..self.holdings.len();
        let last = |group: usize| {
            let mut members = (group * self.group_size..(group + 1) * self.group_size).rev();
            members.find(|&member| !self.holdings[group].is_gone(member % self.group_size))
        };
        groups.filter_map(last).collect()
    }

    /// The last member of each group leaves.
    pub fn leave(&mut self, now: Instant) {
        for member in self.last_members() {
            let had = self.members[member].leave(now);
            self.lose(member, &had, now);
            self.timers.push(Reverse((now, member)));
        }
    }

    /// The last member of each group says nothing any more; where `closes`, its connection ends.
    pub fn fall_silent(&mut self, closes: bool, now: Instant) {
        for member in self.last_members() {
            let had = self.members[member].fall_silent();
            self.lose(member, &had, now);
            if closes {
                let line = self.line_of(member);
                self.lines[line].link = None;
            }
        }
    }

    fn lose(&mut self, member: usize, had: &[i32], now: Instant) {
        let group = member / self.group_size;
        self.holdings[group].remove(member % self.group_size, had, now);
        self.look(group);
    }

    /// The topic has more partitions.
    pub fn grow(&mut self, partitions: usize, now: Instant) {
        for group in 0..self.holdings.len() {
            self.holdings[group].grow(partitions, now);
            self.look(group);
        }
    }

    /// Gaps count from now on.
    pub fn begin(&mut self, now: Instant) {
        for group in &mut self.holdings {
            group.begin(now);
        }
    }

    fn look(&mut self, group: usize) {
        let rests = self.holdings[group].is_at_rest();
        if rests != self.rests[group] {
            self.rests[group] = rests;
            if rests {
                self.restless -= 1;
            } else {
                self.restless += 1;
            }
        }
    }

    /// True if all groups have come to rest.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        self.restless == 0
    }

    /// How many groups are not at rest.
    #[must_use]
    pub const fn restless(&self) -> usize {
        self.restless
    }

    /// What each group's members read.
    #[must_use]
    pub fn holdings(&self) -> &[Holdings] {
        &self.holdings
    }

    /// What is missing to rest, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let first = self.rests.iter().position(|rests| !rests);
        let words = first.map(|group| self.holdings[group].words());
        let restless = self.restless;
        format!(
            "{restless} groups are not at rest; the first has {}",
            words.unwrap_or_default()
        )
    }

    /// Lets everybody speak who wants to, and hears what has arrived; waits a moment where nothing
    /// has, no longer than to `until`. Gives the moment at which all groups came to rest.
    ///
    /// # Errors
    /// A member was refused, or its connection is broken.
    pub fn turn(
        &mut self,
        membership: &Membership,
        progress: &mut Progress,
        until: Instant,
        events: &mut Events,
    ) -> Result<Instant, Problem> {
        let now = Instant::now();
        self.speak(membership, now)?;
        self.flush()?;
        let next = self.timers.peek().map(|Reverse((at, _))| *at);
        let wake = next.map_or(until, |next| next.min(until));
        let wait = wake.saturating_duration_since(now).min(SLEEP_MAX);
        // The poll counts in milliseconds, and a wait of none would spin.
        let wait = if wait.is_zero() {
            wait
        } else {
            wait.max(Duration::from_millis(1))
        };
        self.poll
            .poll(events, Some(wait))
            .or_else(|error| match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })?;
        let now = Instant::now();
        for event in &*events {
            let line = event.token().0;
            if event.is_writable() {
                self.unsent.push(line);
            }
            if event.is_readable() {
                self.hear(line, membership, progress, now)?;
            }
        }
        self.flush()?;
        Ok(now)
    }

    fn speak(&mut self, membership: &Membership, now: Instant) -> Result<(), Problem> {
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((at, member))) = self.timers.pop() else {
                break;
            };
            // Whoever has another timer by now has set it beside this one.
            if self.members[member].due() != Some(at) {
                continue;
            }
            let line = self.line_of(member);
            let Some(link) = &mut self.lines[line].link else {
                continue;
            };
            let request = self.members[member].next(membership)?;
            link.queue(request.frame, member, now);
            self.lines[line]
                .asked
                .push_back((member, request.key, request.version));
            self.unsent.push(line);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Problem> {
        for line in std::mem::take(&mut self.unsent) {
            if let Some(link) = &mut self.lines[line].link {
                link.flush()?;
            }
        }
        Ok(())
    }

    fn hear(
        &mut self,
        index: usize,
        membership: &Membership,
        progress: &mut Progress,
        now: Instant,
    ) -> Result<(), Problem> {
        let Some(link) = &mut self.lines[index].link else {
            return Ok(());
        };
        link.receive()?;
        while let Some(&(member, key, version)) = self.lines[index].asked.front() {
            let Line {
                link: Some(link),
                asked,
            } = &mut self.lines[index]
            else {
                break;
            };
            let Some((sent, body)) = link.answer(key, version)? else {
                break;
            };
            asked.pop_front();
            let counted = Counted {
                bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
                ..Counted::default()
            };
            progress.answered(counted, sent.intended, now);
            let speaker = &mut self.members[member];
            let before = speaker.owned().to_vec();
            speaker.answered(membership, (key, version), body, now)?;
            if let Some(due) = speaker.due() {
                self.timers.push(Reverse((due, member)));
            }
            if speaker.is_gone() {
                continue;
            }
            let (group, place) = (member / self.group_size, member % self.group_size);
            let holdings = &mut self.holdings[group];
            if holdings.is_gone(place) {
                continue;
            }
            holdings.change(place, &before, speaker.owned(), now);
            holdings.settle(place, speaker.is_settled());
            self.look(group);
        }
        Ok(())
    }
}

/// What a group is called.
#[must_use]
pub fn group_name(run: &str, group: usize) -> String {
    format!("{run}-{group:05}")
}
