//! What a scenario is played on: a broker, a topic that flights flow into, and a group whose members
//! come and go. Every step waits for what it brings about, and the last one asks the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::families::{Ask, Family, Protocol};
use super::feeder::{Committed, Feeder, try_committed};
use super::judge::{History, faults};
use super::member::Member;
use super::notes;
use super::scenarios::last_generation;
use crate::consumer_groups::fixed_listener;
use crate::flights::{one_line, rows};
use crate::harness::{Broker, Options, Topic, skipped};
use crate::is_full;

pub(crate) const PARTITIONS: i32 = 12;
/// How long a group may take for a step on a machine with much other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// What differs from scenario to scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Of the classic protocol, by Kafka's names.
    pub(crate) assignor: &'static str,
    /// Value of `klamm.durability`.
    pub(crate) durability: &'static str,
    /// Session of every member: it must be longer than a busy machine holds a process up.
    pub(crate) session_ms: u32,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            assignor: "range",
            durability: "flushed",
            session_ms: 3000,
        }
    }
}

/// A played scenario.
pub(crate) struct Stage {
    test: String,
    broker: Broker,
    topic: Topic,
    group: String,
    setting: Setting,
    /// None once the flow has ended.
    feeder: Option<Feeder>,
    members: Vec<Member>,
    paused: BTreeSet<String>,
    gone: Vec<Member>,
    folder: tempfile::TempDir,
    installed: BTreeMap<&'static str, PathBuf>,
    begun: Instant,
    started: usize,
}

impl Stage {
    /// Sets everything up for members of these families; `None`, said loudly, where one is missing.
    pub(crate) fn open(test: &str, families: &[Family], setting: Setting) -> Option<Self> {
        let mut installed = BTreeMap::new();
        let mut missing = rows().err();
        for family in families {
            match (family.install)() {
                Ok(path) => {
                    installed.insert(family.name, path);
                }
                Err(reason) => missing = Some(format!("{}: {reason}", family.name)),
            }
        }
        if let Some(missing) = missing {
            skipped(test, &one_line(&missing));
            return None;
        }
        let session_ms = setting.session_ms;
        let options = Options::new()
            .set("listeners", fixed_listener())
            .set("klamm.durability", setting.durability)
            .set("offsets.topic.num.partitions", 1)
            .set("group.min.session.timeout.ms", 1000)
            .set("group.initial.rebalance.delay.ms", 100)
            .set("group.consumer.session.timeout.ms", session_ms)
            .set("group.consumer.min.session.timeout.ms", 1000)
            .set("group.consumer.heartbeat.interval.ms", session_ms / 6)
            .set("group.consumer.min.heartbeat.interval.ms", 100)
            .set("group.consumer.assignment.interval.ms", 100);
        let broker = Broker::start_with(options);
        let topic = broker.client().create_topic("flights", PARTITIONS);
        let group = format!("of-{}", topic.name);
        let feeder = Feeder::start(
            &rows().expect("just had"),
            broker.address(),
            topic.clone(),
            group.clone(),
            PARTITIONS,
            if is_full() { 50_000 } else { 1000 },
        );
        Some(Self {
            test: test.to_owned(),
            broker,
            topic,
            group,
            setting,
            feeder: Some(feeder),
            members: Vec::new(),
            paused: BTreeSet::new(),
            gone: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
            installed,
            begun: Instant::now(),
            started: 0,
        })
    }

    /// True where the broker's process is not ours, so that it cannot be killed.
    pub(crate) fn is_foreign(&self) -> bool {
        self.broker.process().is_none()
    }

    /// A new member; gives its name.
    pub(crate) fn join(&mut self, family: &Family) -> String {
        self.join_as(family, None)
    }

    /// A new member under a static name.
    pub(crate) fn join_as(&mut self, family: &Family, instance: Option<&str>) -> String {
        self.started += 1;
        let kind = match family.protocol {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        };
        let name = format!("{}-{kind}-{}", family.name, self.started);
        let ask = Ask {
            name: &name,
            broker: &self.broker.address().to_string(),
            topic: &self.topic.name,
            group: &self.group,
            protocol: family.protocol,
            assignor: self.setting.assignor,
            instance,
            session_ms: self.setting.session_ms,
        };
        let command = family.member(&self.installed[family.name], &ask);
        let member = Member::start(command, &name, instance, self.folder.path());
        self.members.push(member);
        name
    }

    fn tell(&self, what: &str) {
        let (at, test) = (self.begun.elapsed(), &self.test);
        let written = self.feeder.as_ref().map_or(0, Feeder::written);
        eprintln!("{test}: {at:.1?}: {what}, {written} rows");
    }

    fn wait<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                self.tell(what);
                return answer;
            }
            for member in &mut self.members {
                if let Some(status) = member.ended() {
                    panic!("{} ended with {status} before {what}", member.name);
                }
            }
            assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until all members that are not paused share all partitions, each with as many as the
    /// others or one less or more, and all of them read.
    pub(crate) fn settle(&mut self) {
        let count = self.members.len() - self.paused.len();
        self.wait(&format!("work shared by {count}"), |stage| {
            let awake = stage.awake();
            let held: Vec<BTreeSet<i32>> = awake.map(Member::held).collect();
            let all: BTreeSet<i32> = held.iter().flatten().copied().collect();
            let sum: usize = held.iter().map(BTreeSet::len).sum();
            let is_shared = all.len() == PARTITIONS as usize && sum == all.len();
            let is_even = held.iter().all(|of| of.len() >= sum / held.len().max(1));
            (is_shared && is_even).then_some(())
        });
        self.flow();
    }

    /// Waits until every member that is not paused has read something more.
    pub(crate) fn flow(&mut self) {
        let before: Vec<i64> = self.awake().map(Member::count_read).collect();
        self.wait("records for each", |stage| {
            let now = stage.awake().map(Member::count_read);
            now.zip(&before)
                .all(|(now, before)| now > *before)
                .then_some(())
        });
    }

    fn awake(&self) -> impl Iterator<Item = &Member> {
        let awake = |member: &&Member| !self.paused.contains(&member.name);
        self.members.iter().filter(awake)
    }

    fn position(&self, name: &str) -> usize {
        let mut members = self.members.iter();
        let found = members.position(|member| member.name == name);
        found.unwrap_or_else(|| panic!("no member {name}"))
    }

    /// Members leave in order, all at once.
    pub(crate) fn leave(&mut self, names: &[String]) {
        for name in names {
            let mut member = self.members.remove(self.position(name));
            member.ask_to_leave();
            self.gone.push(member);
        }
        self.wait("those that left", |stage| {
            let mut gone = stage.gone.iter_mut();
            gone.all(|member| member.ended().is_some()).then_some(())
        });
        for name in names {
            let mut gone = self.gone.iter_mut();
            let member = gone.find(|member| member.name == *name).expect("just gone");
            let status = member.ended().expect("it has ended");
            assert!(status.success(), "{}: {status}", member.report());
            let last = member.said().events.pop();
            assert_eq!(last, Some(super::events::Event::Left), "{}", member.name);
        }
    }

    /// A member dies without a word.
    pub(crate) fn crash(&mut self, name: &str) {
        let mut member = self.members.remove(self.position(name));
        member.kill();
        self.gone.push(member);
        self.tell("one has died");
    }

    /// All threads of a member stop where they are.
    pub(crate) fn pause(&mut self, name: &str) {
        self.members[self.position(name)].signal("STOP");
        self.paused.insert(name.to_owned());
        self.tell("one is paused");
    }

    /// It goes on, and knows of nothing.
    pub(crate) fn wake(&mut self, name: &str) {
        self.members[self.position(name)].signal("CONT");
        self.paused.remove(name);
        self.tell("it goes on");
    }

    /// The broker dies without a word and comes again.
    pub(crate) fn kill_broker(&mut self) {
        self.broker.kill();
        self.broker.start_again();
        self.tell("the broker was killed and serves again");
    }

    /// The generation, or the epoch, that the group has reached.
    pub(crate) fn generation(&self) -> Option<i32> {
        last_generation(&self.notes())
    }

    /// The broker's notes of the group so far.
    fn notes(&self) -> Vec<notes::Note> {
        notes::read(&mut self.broker.client(), &self.group, &self.topic)
    }

    fn committed(&self) -> Option<Committed> {
        let mut client = self.broker.client();
        try_committed(&mut client, &self.group, &self.topic).expect("the broker listens")
    }

    /// The flow ends, everything is read to its end, all leave, and the judge is asked.
    pub(crate) fn end(mut self) {
        let feeder = self.feeder.take().expect("it flows until here");
        let mut seen = feeder.stop();
        let mut client = self.broker.client();
        let ends = (0..PARTITIONS).map(|part| client.list_offset(&self.topic, part, -1).offset);
        let ends: Vec<i64> = ends.collect();
        let last = self.wait("lag of zero", |stage| {
            let found = stage.committed()?;
            let is_done = (0..).zip(&ends).all(|(partition, end)| {
                let reached = found.get(&partition).copied().unwrap_or(0);
                reached >= *end
            });
            is_done.then_some(found)
        });
        seen.push(last);
        let left = self.members.iter().map(|member| member.name.clone());
        self.leave(&left.collect::<Vec<_>>());
        let history = History {
            members: self.gone.iter_mut().map(Member::said).collect(),
            notes: self.notes(),
            ends,
            seen,
        };
        let found = faults(&history);
        let total = found.len();
        let shown = found[..total.min(20)].join("\n");
        assert!(found.is_empty(), "{}: {total} faults:\n{shown}", self.test);
        self.tell("judged to be sound");
    }
}
