//! Every order in which a few things can happen to a small group of the consumer protocol: two
//! members and a static one that come, keep silent, fall back, leave and return, one of the classic
//! protocol among them, topics that grow and are made anew, answers and appends that get lost, and a
//! process that dies. After every step the tests' host proves the machine (G3, G4, G5, G7, G8, M66)
//! and here is proved what clients see (G1, G2); at every end all of them come to rest, with every
//! partition read by one (G5), and the log, compacted or not, says the same as the machine (M65).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_model::{Instant, Offset, PartitionIndex, TopicId, TopicName};

use super::super::api::{
    Command, CommitOffsets, CommitPartition, CommitTopic, GroupState, Reply, TopicReference,
};
use super::super::group::Group;
use super::super::names::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::super::testing::Host;
use super::super::{GroupConfig, Ticket};
use super::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, HeartbeatPatience,
    MemberEpoch, TopicPartitions,
};
use super::classic_simulation::ClassicClient;
use super::testing::TestTopics;

/// How many steps each history has; `HISTORY_STEPS` says how many more.
const DEPTH: u32 = 3;

const GROUP: &str = "g";

/// The topic that all read. A topic of the same name that is made anew has another id.
const TOPIC: &str = "t";

/// For how long a consumer works without an answer, or takes to let go of partitions once it was
/// told: less than a session lasts, and both together less than it may take to let go.
const PATIENCE: Duration = Duration::from_secs(25);

const SESSION: Duration = Duration::from_secs(45);

/// For how long members may take to let go of partitions.
const REBALANCE: Duration = Duration::from_secs(60);

/// The one with a static name.
const STATIC: usize = 2;

type Partition = (TopicId, i32);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// It says what it has by now, and hears what it shall have.
    Beat(usize),
    /// It says nothing new, and lets go of nothing yet.
    Slow(usize),
    /// As the first, but the answer gets lost.
    Unheard(usize),
    /// As the first, but what was decided is lost: the coordinator begins anew from its log.
    LostAppend(usize),
    /// It says an epoch that it had before.
    Stale(usize),
    /// It says an epoch that nobody has told it.
    Ahead(usize),
    Leave(usize),
    /// The static member leaves for a while.
    LeaveStatic,
    /// The process of the static member begins anew.
    Return,
    /// The one of the classic protocol does what it has to do next.
    Classic,
    /// An offset is committed, in the epoch that it was told.
    Commit(usize),
    Wait(u64),
    Grow,
    Remake,
    /// The process dies; what is committed survives, perhaps after a cleaner has been there.
    Restart,
}

const STEPS: [Step; 18] = [
    Step::Beat(0),
    Step::Beat(1),
    Step::Beat(STATIC),
    Step::Slow(0),
    Step::Unheard(0),
    Step::LostAppend(0),
    Step::Stale(0),
    Step::Ahead(1),
    Step::Leave(0),
    Step::LeaveStatic,
    Step::Return,
    Step::Classic,
    Step::Commit(0),
    Step::Wait(20),
    Step::Wait(46),
    Step::Grow,
    Step::Remake,
    Step::Restart,
];

/// What a client believes.
#[derive(Clone)]
struct Client {
    id: MemberId,
    instance: Option<GroupInstanceId>,
    epoch: i32,
    /// What it works on.
    owned: BTreeSet<Partition>,
    /// What it was told last that it may have.
    target: Option<BTreeSet<Partition>>,
    /// The next heartbeat says everything.
    full: bool,
    heard: Instant,
    /// Since when it knows that it has to let go of something, and has not said that it has.
    lets_go: Option<Instant>,
}

impl Client {
    fn new(id: &str, instance: Option<&str>) -> Self {
        Self {
            id: MemberId::new(id),
            instance: instance.map(GroupInstanceId::new),
            epoch: 0,
            owned: BTreeSet::new(),
            target: None,
            full: true,
            heard: Instant(0),
            lets_go: None,
        }
    }

    fn forget(&mut self) {
        self.lets_go = None;
        self.epoch = 0;
        self.owned.clear();
        self.target = None;
        self.full = true;
    }

    /// Lets go of what it shall not have any longer.
    fn let_go(&mut self) {
        if let Some(target) = &self.target {
            self.owned = self.owned.intersection(target).copied().collect();
        }
    }
}

#[derive(Clone)]
struct World {
    host: Host,
    clients: [Client; 3],
    classic: ClassicClient,
    /// Processes of the static member so far.
    processes: usize,
    /// How often the topic was made.
    version: u8,
    /// The topic is not what it was in the beginning.
    has_changed: bool,
    /// What is committed, as clients were told.
    offsets: BTreeMap<Partition, i64>,
    next_offset: i64,
}

/// A step that cannot happen now.
struct Impossible;

impl World {
    fn new() -> Self {
        let mut config = GroupConfig {
            initial_rebalance_delay: Duration::ZERO,
            offsets_retention: Duration::from_secs(30),
            offsets_check_interval: Duration::from_secs(10),
            ..GroupConfig::default()
        };
        config.consumer.session_timeout = SESSION;
        config.consumer.assignment_interval = Duration::ZERO;
        let mut host = Host::new(config);
        host.see_topics(TestTopics::of(&["t:2"]));
        Self {
            host,
            clients: [
                Client::new("a", None),
                Client::new("b", None),
                Client::new("s1", Some("s")),
            ],
            classic: ClassicClient::new(GROUP),
            processes: 1,
            version: 1,
            has_changed: false,
            offsets: BTreeMap::new(),
            next_offset: 1,
        }
    }

    fn topic(&self) -> (TopicId, u32) {
        self.host.topics.0[TOPIC]
    }

    fn step(&mut self, step: Step) -> Result<(), Impossible> {
        match step {
            Step::Beat(who) => self.beat(who),
            Step::Slow(who) => {
                let client = &self.clients[who];
                if client.epoch == 0 || client.full {
                    return Err(Impossible);
                }
                let replies = self.decide(self.heartbeat(who));
                self.hear(who, replies);
            }
            Step::Unheard(who) => {
                self.clients[who].let_go();
                self.decide(self.heartbeat_in_full(who));
                self.clients[who].full = true;
            }
            Step::LostAppend(who) => {
                let before = self.host.log.len();
                let hash = self.host.coordinator.hash();
                self.clients[who].let_go();
                let heartbeat = self.heartbeat_in_full(who);
                self.host.commits_at_once = false;
                let (_, replies) = self.host.decide(Command::ConsumerHeartbeat(heartbeat));
                self.host.commits_at_once = true;
                if self.host.log.len() == before {
                    return Err(Impossible);
                }
                assert!(replies.is_empty(), "M64: {replies:?} before it is kept");
                self.host.crash(before, false);
                assert_eq!(self.host.coordinator.hash(), hash, "G4: what was lost is");
                self.clients[who].full = true;
                self.classic.on_crash(self.host.now);
            }
            Step::Stale(who) | Step::Ahead(who) => {
                let client = &self.clients[who];
                let ahead = matches!(step, Step::Ahead(_));
                let epoch = if ahead {
                    client.epoch + 7
                } else {
                    client.epoch - 1
                };
                if client.epoch == 0 || epoch == 0 {
                    return Err(Impossible);
                }
                let mut heartbeat = self.heartbeat(who);
                heartbeat.epoch = MemberEpoch(epoch);
                let replies = self.decide(heartbeat);
                let [(_, Reply::ConsumerHeartbeat(Err(refused)))] = &replies[..] else {
                    panic!("{step:?} is fenced: {replies:?}");
                };
                let fenced = matches!(
                    refused.error,
                    ConsumerHeartbeatError::FencedMemberEpoch
                        | ConsumerHeartbeatError::UnknownMember
                        | ConsumerHeartbeatError::GroupNotFound
                );
                assert!(fenced, "{step:?} is fenced: {refused:?}");
                self.hear(who, replies);
            }
            Step::Leave(who) => self.leave(who, MemberEpoch::LEAVE)?,
            Step::LeaveStatic => self.leave(STATIC, MemberEpoch::LEAVE_STATIC)?,
            Step::Return => {
                self.processes += 1;
                let id = format!("s{}", self.processes);
                self.clients[STATIC] = Client::new(&id, Some("s"));
                self.beat(STATIC);
            }
            Step::Classic => self.act_classic()?,
            Step::Commit(who) => self.commit(who)?,
            Step::Wait(seconds) => self.wait(Duration::from_secs(seconds)),
            Step::Grow => {
                let (id, partitions) = self.topic();
                self.see(id, partitions + 1);
            }
            Step::Remake => {
                let (gone, _) = self.topic();
                self.version += 1;
                self.see(TestTopics::id(TOPIC, self.version), 2);
                let gone = TopicReference {
                    name: TopicName::new(TOPIC).expect("a name"),
                    id: gone,
                };
                self.host.input(|coordinator, moment| {
                    coordinator.on_topics_deleted(moment, std::slice::from_ref(&gone))
                });
                self.offsets.clear();
            }
            Step::Restart => {
                let hash = self.host.coordinator.hash();
                self.host.crash(self.host.log.len(), true);
                assert_eq!(self.host.coordinator.hash(), hash, "G4, M65: a load");
                self.classic.on_crash(self.host.now);
            }
        }
        self.prove(step);
        Ok(())
    }

    fn decide(&mut self, heartbeat: ConsumerHeartbeat) -> Vec<(Ticket, Reply)> {
        let (ticket, replies) = self.host.decide(Command::ConsumerHeartbeat(heartbeat));
        let (own, others) = replies.into_iter().partition(|(other, _)| *other == ticket);
        self.hear_classic(others);
        own
    }

    fn heartbeat(&self, who: usize) -> ConsumerHeartbeat {
        let client = &self.clients[who];
        ConsumerHeartbeat {
            group: GroupId::new(GROUP),
            member: client.id.clone(),
            member_id_required: true,
            epoch: MemberEpoch(client.epoch),
            instance: client.instance.clone(),
            rack: None,
            rebalance_timeout_ms: -1,
            client_id: "c".to_owned(),
            client_host: "/::1".to_owned(),
            topics: None,
            regex: None,
            assignor: None,
            owned: None,
            patience: HeartbeatPatience::Apart,
        }
    }

    fn heartbeat_in_full(&self, who: usize) -> ConsumerHeartbeat {
        let client = &self.clients[who];
        let mut owned: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in client.owned.iter().filter(|_| client.epoch > 0) {
            owned
                .entry(*topic)
                .or_default()
                .push(PartitionIndex(*partition));
        }
        let owned = owned.into_iter();
        let owned = owned.map(|(topic, partitions)| TopicPartitions { topic, partitions });
        let timeout = i32::try_from(REBALANCE.as_millis()).expect("short");
        ConsumerHeartbeat {
            rebalance_timeout_ms: timeout,
            topics: Some(vec![TOPIC.to_owned()]),
            owned: Some(owned.collect()),
            ..self.heartbeat(who)
        }
    }

    fn beat(&mut self, who: usize) {
        self.clients[who].let_go();
        let mut heartbeat = self.heartbeat_in_full(who);
        let client = &self.clients[who];
        if client.epoch > 0 && !client.full {
            heartbeat.rebalance_timeout_ms = -1;
            heartbeat.topics = None;
        }
        self.clients[who].lets_go = None;
        let replies = self.decide(heartbeat);
        self.hear(who, replies);
    }

    fn hear(&mut self, who: usize, replies: Vec<(Ticket, Reply)>) {
        let now = self.host.now;
        for (_, reply) in replies {
            let Reply::ConsumerHeartbeat(result) = reply else {
                panic!("it asked for a heartbeat: {reply:?}");
            };
            let client = &mut self.clients[who];
            match result {
                Ok(done) => {
                    client.heard = now;
                    client.on_told(done, now);
                }
                Err(refused) => match refused.error {
                    ConsumerHeartbeatError::UnreleasedInstance
                    | ConsumerHeartbeatError::GroupFull => {}
                    ConsumerHeartbeatError::FencedMemberEpoch
                    | ConsumerHeartbeatError::UnknownMember
                    | ConsumerHeartbeatError::FencedInstance
                    | ConsumerHeartbeatError::GroupNotFound => client.forget(),
                    other => panic!("the call was sound: {other:?}"),
                },
            }
        }
    }

    fn leave(&mut self, who: usize, epoch: MemberEpoch) -> Result<(), Impossible> {
        if self.clients[who].epoch == 0 {
            return Err(Impossible);
        }
        let mut heartbeat = self.heartbeat(who);
        heartbeat.epoch = epoch;
        self.clients[who].forget();
        let replies = self.decide(heartbeat);
        let is_kept = self.host.committed == self.host.log.len();
        let answers = usize::from(is_kept);
        assert_eq!(replies.len(), answers, "it is answered once it is kept");
        Ok(())
    }

    fn act_classic(&mut self) -> Result<(), Impossible> {
        let now = self.host.now;
        if !self.classic.alive {
            self.classic.start(now);
        }
        let Some(command) = self.classic.act_now(now) else {
            return Err(Impossible);
        };
        let (ticket, replies) = self.host.decide(command);
        self.classic.wait(ticket);
        self.hear_classic(replies);
        Ok(())
    }

    fn hear_classic(&mut self, replies: Vec<(Ticket, Reply)>) {
        let now = self.host.now;
        for (ticket, reply) in replies {
            self.classic.take(ticket, &reply, now, &self.host.topics);
        }
    }

    fn commit(&mut self, who: usize) -> Result<(), Impossible> {
        let client = &self.clients[who];
        let Some((id, partition)) = client.owned.first().copied() else {
            return Err(Impossible);
        };
        let offset = self.next_offset;
        self.next_offset += 1;
        let command = Command::CommitOffsets(CommitOffsets {
            group: GroupId::new(GROUP),
            member: Some(client.id.clone()),
            instance: client.instance.clone(),
            generation: Some(GenerationId(client.epoch)),
            understands_epochs: true,
            retention: None,
            topics: vec![CommitTopic {
                topic: TopicReference {
                    name: TopicName::new(TOPIC).expect("a name"),
                    id,
                },
                partitions: vec![CommitPartition {
                    partition: PartitionIndex(partition),
                    offset: Offset(offset),
                    leader_epoch: None,
                    metadata: String::new(),
                }],
            }],
        });
        let is_member = self.is_member(who);
        let (_, replies) = self.host.decide(command);
        let [(_, Reply::CommitOffsets(result))] = &replies[..] else {
            panic!("it is answered: {replies:?}");
        };
        if let Ok(topics) = result {
            assert!(is_member, "G2: a commit of nobody's: {replies:?}");
            let kept = topics[0].partitions[0].1.is_ok();
            if kept && id == self.topic().0 {
                self.offsets.insert((id, partition), offset);
            }
        }
        Ok(())
    }

    fn is_member(&self, who: usize) -> bool {
        let group = self.host.coordinator.groups.get(GROUP);
        let consumer = group.and_then(|group| group.consumer.as_ref());
        consumer.is_some_and(|group| group.members.contains_key(&self.clients[who].id))
    }

    fn see(&mut self, id: TopicId, partitions: u32) {
        self.has_changed = true;
        let topics = TestTopics(BTreeMap::from([(TOPIC.to_owned(), (id, partitions))]));
        let replies = self.host.see_topics(topics);
        self.hear_classic(replies);
    }

    /// Nobody says anything for a while. Who has heard nothing for too long stops working; all others
    /// have let go by the end of it of what they were told to.
    fn wait(&mut self, time: Duration) {
        let end = self.host.now.plus(time);
        for client in &mut self.clients {
            client.let_go();
            let since = client.lets_go.unwrap_or(client.heard).min(client.heard);
            if since.plus(PATIENCE) <= end {
                client.owned.clear();
                client.full = true;
            }
        }
        self.classic.lapse(end);
        let replies = self.host.advance(time);
        self.hear_classic(replies);
        // What was committed may have expired where nobody was a member to read it.
        let kept = self.kept_offsets();
        self.offsets.retain(|at, _| kept.contains_key(at));
    }

    fn kept_offsets(&self) -> BTreeMap<Partition, i64> {
        let group = self.host.coordinator.groups.get(GROUP);
        let topics = group.into_iter().flat_map(|group| group.offsets.values());
        let all = topics.flat_map(|partitions| {
            let partitions = partitions.iter();
            partitions.map(|(at, kept)| ((kept.topic_id, at.0), kept.offset.0))
        });
        all.collect()
    }

    /// G1: nobody works on what another one works on. G2: offsets are what clients were told.
    fn prove(&self, step: Step) {
        let mut owners = BTreeSet::new();
        let owned = self.clients.iter().flat_map(|client| client.owned.iter());
        for partition in owned.chain(&self.classic.owned) {
            assert!(
                owners.insert(*partition),
                "G1: two work on {partition:?} after {step:?}"
            );
        }
        let (id, _) = self.topic();
        let mut kept = self.kept_offsets();
        kept.retain(|(topic, _), _| *topic == id);
        assert_eq!(kept, self.offsets, "G2, M63: after {step:?}");
    }

    /// Whoever is there goes on: soon all of it is read, by one each (G5).
    fn settle(mut self) {
        let mut rests = false;
        for _ in 0..30 {
            for who in 0..self.clients.len() {
                if self.clients[who].epoch > 0 {
                    self.beat(who);
                }
            }
            if self.classic.alive {
                let _ = self.act_classic();
            }
            self.wait(Duration::from_secs(3));
            self.prove(Step::Wait(3));
            rests = self.is_at_rest();
            if rests {
                break;
            }
        }
        assert!(
            rests && self.host.waiting.is_empty(),
            "G5: it does not come to rest: {:?} {:?}",
            self.host.waiting,
            self.host.coordinator.groups
        );
        let hash = self.host.coordinator.hash();
        for log in [self.host.log.clone(), self.host.compacted()] {
            assert_eq!(self.host.rebuilt(&log).hash(), hash, "G4, M65: replayed");
        }
    }

    /// All that anybody is there to read is read.
    fn is_at_rest(&self) -> bool {
        let reads = self.clients.iter().any(|client| client.epoch > 0);
        if !reads && !self.classic.alive {
            return true;
        }
        let (id, partitions) = self.topic();
        let owned = self.clients.iter().flat_map(|client| client.owned.iter());
        let owned: BTreeSet<Partition> = owned.chain(&self.classic.owned).copied().collect();
        let mut all = (0..).take(partitions as usize).map(|at| (id, at));
        let group = self.host.coordinator.groups.get(GROUP);
        // Consumers of the classic protocol find out themselves that topics are others: here they do
        // not.
        let divides = group.is_some_and(|group| group.consumer.is_some());
        let all_read = all.all(|partition| owned.contains(&partition));
        let is_stable = group.map(Group::state) == Some(GroupState::Stable);
        let knows = divides || !self.has_changed;
        // Members of the classic protocol among themselves divide the work themselves, also where the
        // coordinator died before the group had become theirs.
        let is_theirs = reads || !divides;
        is_stable && is_theirs && (all_read || !knows && !owned.is_empty())
    }

    /// What can be left where the log ends inside of what a step decides, at the end of any batch: the
    /// clients have heard nothing of it.
    fn cut_inside(&self, step: Step) -> Vec<Self> {
        let before = self.host.log.len();
        let mut whole = self.clone();
        whole.host.commits_at_once = false;
        let written = match step {
            Step::Commit(_) | Step::LostAppend(_) | Step::Restart => return Vec::new(),
            Step::Stale(_) | Step::Ahead(_) => return Vec::new(),
            other => whole.step(other).is_ok(),
        };
        let end = whole.host.log.len();
        if !written || end == before {
            return Vec::new();
        }
        let cuts = whole.host.cuts.range(before..end).copied();
        let cuts = cuts.filter(|cut| *cut >= whole.host.committed);
        let both = cuts.flat_map(|cut| [(cut, false), (cut, true)]);
        let left = both.map(|(cut, compacted)| {
            let mut left = whole.clone();
            left.host.crash(cut, compacted);
            left.host.commits_at_once = true;
            for client in &mut left.clients {
                client.full = true;
            }
            left.classic.on_crash(left.host.now);
            let (id, _) = left.topic();
            left.offsets = left.kept_offsets();
            left.offsets.retain(|(topic, _), _| *topic == id);
            left
        });
        left.collect()
    }

    /// After a few steps, one that is cut anywhere: whatever is left of it, all come to rest.
    fn explore_cuts(&self, depth: u32, cuts: &mut u64, path: &mut Vec<Step>) {
        for step in STEPS {
            path.push(step);
            for left in self.cut_inside(step) {
                *cuts += 1;
                left.settle();
            }
            let mut next = self.clone();
            if depth > 0 && next.step(step).is_ok() {
                next.explore_cuts(depth - 1, cuts, path);
            }
            path.pop();
        }
    }

    fn explore(&self, depth: u32, ends: &mut u64, path: &mut Vec<Step>) {
        if depth == 0 {
            *ends += 1;
            self.clone().settle();
            return;
        }
        for step in STEPS {
            let mut next = self.clone();
            path.push(step);
            if next.step(step).is_ok() {
                next.explore(depth - 1, ends, path);
            }
            path.pop();
        }
    }
}

impl Client {
    fn on_told(&mut self, done: ConsumerHeartbeatDone, now: Instant) {
        assert!(
            done.epoch.0 >= self.epoch,
            "G3: {} is told {done:?}",
            self.id
        );
        assert_eq!(done.member, self.id, "it is answered as itself");
        self.epoch = done.epoch.0;
        self.full = false;
        let Some(given) = done.assignment else {
            return;
        };
        let given = given.into_iter().flat_map(|given| {
            let topic = given.topic;
            given.partitions.into_iter().map(move |at| (topic, at.0))
        });
        let given: BTreeSet<Partition> = given.collect();
        // What is new is begun only when what is old is done.
        if self.owned.is_subset(&given) {
            self.owned.clone_from(&given);
        } else {
            self.lets_go.get_or_insert(now);
        }
        self.target = Some(given);
    }
}

/// Explores all histories after a beginning, and says how many there were. A failure names its steps.
fn explore(beginning: &[Step], depth: u32) -> u64 {
    explore_with(beginning, depth, World::explore)
}

/// As before, but whatever is decided last is cut.
fn explore_cuts(beginning: &[Step], depth: u32) -> u64 {
    explore_with(beginning, depth, World::explore_cuts)
}

fn explore_with(
    beginning: &[Step],
    depth: u32,
    explore: fn(&World, u32, &mut u64, &mut Vec<Step>),
) -> u64 {
    let more = std::env::var("HISTORY_STEPS").map_or(0, |more| more.parse().expect("a number"));
    let depth = depth + more;
    let mut world = World::new();
    for step in beginning {
        assert!(world.step(*step).is_ok(), "it begins as meant: {step:?}");
    }
    let (mut ends, mut path) = (0, Vec::new());
    let explored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        explore(&world, depth, &mut ends, &mut path);
    }));
    assert!(explored.is_ok(), "after {beginning:?}: {path:?}");
    ends
}

#[test]
fn no_order_of_a_few_steps_breaks_a_group_that_begins() {
    let ends = explore(&[], DEPTH + 1);
    assert!(ends > 20_000, "few histories: {ends}");
}

#[test]
fn no_order_of_a_few_steps_breaks_a_group_at_rest() {
    use Step::{Beat, Commit};
    let ends = explore(
        &[Beat(0), Beat(STATIC), Beat(0), Beat(STATIC), Commit(0)],
        DEPTH,
    );
    assert!(ends > 1_500, "few histories: {ends}");
}

#[test]
fn no_order_of_a_few_steps_breaks_a_group_that_divides_its_work() {
    use Step::{Beat, Commit, Grow};
    // The third member waits for what the first has not let go of.
    let ends = explore(
        &[
            Beat(0),
            Grow,
            Beat(0),
            Commit(0),
            Beat(1),
            Beat(STATIC),
            Beat(0),
        ],
        DEPTH,
    );
    assert!(ends > 1_500, "few histories: {ends}");
}

#[test]
fn no_order_of_a_few_steps_breaks_a_group_with_a_member_that_lets_go_of_nothing() {
    use Step::{Beat, Slow, Wait};
    let slow = [Wait(20), Slow(0), Beat(STATIC), Wait(20), Beat(STATIC)];
    let beginning = [&[Beat(0), Beat(STATIC), Beat(0)][..], &slow].concat();
    let ends = explore(&beginning, DEPTH);
    assert!(ends > 1_500, "few histories: {ends}");
}

#[test]
fn no_order_of_a_few_steps_breaks_a_group_of_both_protocols() {
    use Step::{Beat, Classic};
    let ends = explore(
        &[Classic, Classic, Classic, Beat(0), Classic, Classic],
        DEPTH,
    );
    assert!(ends > 1_500, "few histories: {ends}");
}

#[test]
fn a_decision_of_which_the_first_batches_alone_are_kept_is_made_good() {
    use Step::{Beat, Classic, Commit, Grow, LeaveStatic};
    let beginnings: [&[Step]; 5] = [
        &[],
        &[Beat(0), Beat(1), Beat(0), Beat(1), Commit(0)],
        &[Beat(0), Grow, Beat(0), Beat(1), Beat(STATIC), Beat(0)],
        &[Beat(0), Beat(STATIC), Beat(0), Beat(STATIC), LeaveStatic],
        &[Classic, Classic, Classic, Beat(0), Classic, Classic],
    ];
    for beginning in beginnings {
        let cuts = explore_cuts(beginning, DEPTH - 2);
        assert!(cuts > 200, "few cuts after {beginning:?}: {cuts}");
    }
}
