//! Runs `testdata/*.txt`: small quorums, led step by step. A file is a list of cases: command
//! lines, `----`, everything that the nodes wanted meanwhile, an empty line.
//! `UPDATE_EXPECT=1 cargo test -p klamm-raftlog` rewrites the answers; read the difference.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    AppendOutcome, Config, Entry, Generation, HardState, Index, Instant, Message, MessageBody,
    NodeId, Payload, Raft, Recovered, Snapshot, VoterChange, VoterSet,
};

enum Write {
    Hard(HardState),
    Snapshot(Snapshot),
    Truncate(Index),
    Append(Vec<Entry>, Generation),
}

#[derive(Default)]
struct Disk {
    hard: HardState,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
    first_voters: VoterSet,
    under_way: VecDeque<Write>,
}

#[derive(Default)]
struct Quorum {
    nodes: BTreeMap<NodeId, Raft>,
    disks: BTreeMap<NodeId, Disk>,
    network: VecDeque<Message>,
    now: Instant,
    out: String,
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().expect("a number")
}

fn node(word: &str) -> NodeId {
    NodeId(number(word))
}

fn text(message: &Message) -> String {
    let at = |position: crate::LogPosition| format!("{}@{}", position.index, position.term);
    let body = match &message.body {
        MessageBody::PreVote { last } => format!("pre-vote last {}", at(*last)),
        MessageBody::PreVoteReply { granted } => format!("pre-vote granted {granted}"),
        MessageBody::Vote { last, transfer } => {
            format!("vote last {} transfer {transfer}", at(*last))
        }
        MessageBody::VoteReply { granted } => format!("vote granted {granted}"),
        MessageBody::Append {
            previous,
            entries,
            commit,
        } => format!(
            "append after {} count {} commit {commit}",
            at(*previous),
            entries.len()
        ),
        MessageBody::AppendReply { outcome } => match outcome {
            AppendOutcome::Accepted { matched } => format!("accepted to {matched}"),
            AppendOutcome::Rejected { previous, hint } => {
                format!("rejected {previous} hint {hint}")
            }
        },
        MessageBody::Install { snapshot } => format!("snapshot at {}", at(snapshot.position)),
        MessageBody::CampaignNow => "campaign now".to_owned(),
    };
    format!(
        "{} -> {} term {}: {body}",
        message.from, message.to, message.term
    )
}

impl Quorum {
    fn say(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("a string");
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["start", id, voters] => {
                let voters = voters.split(',').filter(|word| *word != "-").map(node);
                let first_voters = VoterSet::new(voters);
                self.disks.entry(node(id)).or_default().first_voters = first_voters;
                self.start(node(id));
            }
            ["restart", id] => self.start(node(id)),
            ["crash", id] => {
                self.nodes.remove(&node(id));
                let disk = self.disks.get_mut(&node(id)).expect("started");
                disk.under_way.clear();
            }
            ["tick", id, ms] => {
                self.now = self.now.plus(Duration::from_millis(number(ms)));
                let now = self.now;
                self.input(node(id), |raft| raft.tick(now));
            }
            ["flush", id] => self.flush(node(id)),
            ["deliver"] => self.deliver(|_| true),
            ["deliver", from, to] => {
                let (from, to) = (node(from), node(to));
                self.deliver(|message| message.from == from && message.to == to);
            }
            ["drop"] => self.network.clear(),
            ["settle"] => self.settle(),
            ["propose", id, payload] => {
                let payload = Bytes::from((*payload).to_owned());
                self.ask(node(id), |raft| raft.propose(vec![payload]).err());
            }
            ["add", id, other] => {
                let change = VoterChange::Add(node(other));
                self.ask(node(id), |raft| raft.propose_voters(change).err());
            }
            ["remove", id, other] => {
                let change = VoterChange::Remove(node(other));
                self.ask(node(id), |raft| raft.propose_voters(change).err());
            }
            ["transfer", id, to] => {
                let to = node(to);
                self.ask(node(id), |raft| raft.transfer_leadership(to).err());
            }
            ["compact", id] => {
                self.input(node(id), |raft| {
                    assert!(raft.compact(raft.exposed_index(), Bytes::from_static(b"state")));
                });
                let snapshot = self.nodes[&node(id)].snapshot.clone();
                let disk = self.disks.get_mut(&node(id)).expect("started");
                let index = snapshot.as_ref().map(|kept| kept.position.index);
                disk.entries.retain(|entry| Some(entry.index) > index);
                disk.snapshot = snapshot;
            }
            ["show"] => self.show(),
            other => panic!("unknown command {other:?}"),
        }
    }

    fn start(&mut self, id: NodeId) {
        let disk = &self.disks[&id];
        let recovered = Recovered {
            hard_state: disk.hard,
            snapshot: disk.snapshot.clone(),
            first_voters: disk.first_voters.clone(),
            entries: disk.entries.clone(),
        };
        let raft = Raft::new(Config::new(id, 1), recovered, self.now).expect("a log");
        self.nodes.insert(id, raft);
        self.drain(id);
    }

    fn ask<E: std::fmt::Display>(&mut self, id: NodeId, ask: impl FnOnce(&mut Raft) -> Option<E>) {
        let raft = self.nodes.get_mut(&id).expect("started");
        if let Some(error) = ask(raft) {
            self.say(&format!("{id}: refused: {error}"));
        }
        self.drain(id);
    }

    fn input(&mut self, id: NodeId, input: impl FnOnce(&mut Raft)) {
        input(self.nodes.get_mut(&id).expect("started"));
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let ready = self.nodes.get_mut(&id).expect("started").ready();
        let disk = self.disks.get_mut(&id).expect("started");
        let mut lines = Vec::new();
        if let Some(hard) = ready.hard_state {
            lines.push(format!(
                "{id}: term {} vote {:?}",
                hard.term,
                hard.vote.map(|to| to.0)
            ));
            disk.under_way.push_back(Write::Hard(hard));
        }
        if let Some(snapshot) = ready.snapshot {
            lines.push(format!("{id}: install {}", snapshot.position.index));
            disk.under_way.push_back(Write::Snapshot(snapshot));
        }
        if let Some(index) = ready.truncate_after {
            lines.push(format!("{id}: truncate after {index}"));
            disk.under_way.push_back(Write::Truncate(index));
        }
        if let Some(append) = ready.append {
            for entry in &append.entries {
                let payload = match &entry.payload {
                    Payload::LeaderChange(node) => format!("leader {node}"),
                    Payload::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Payload::Voters(voters) => {
                        format!(
                            "voters {:?}",
                            voters.iter().map(|n| n.0).collect::<Vec<_>>()
                        )
                    }
                };
                lines.push(format!(
                    "{id}: append {}@{} {payload}",
                    entry.index, entry.term
                ));
            }
            disk.under_way
                .push_back(Write::Append(append.entries, append.generation));
        }
        for message in ready.messages {
            lines.push(text(&message));
            self.network.push_back(message);
        }
        if let Some(range) = ready.committed {
            lines.push(format!("{id}: committed {}..={}", range.first, range.last));
        }
        if let Some(change) = ready.role {
            let leader = change.leader.map(|node| node.0);
            lines.push(format!(
                "{id}: {:?} in term {}, leader {leader:?}",
                change.role, change.term
            ));
        }
        for line in lines {
            self.say(&line);
        }
    }

    fn flush(&mut self, id: NodeId) {
        loop {
            let disk = self.disks.get_mut(&id).expect("started");
            let Some(write) = disk.under_way.pop_front() else {
                return;
            };
            match write {
                Write::Hard(hard) => {
                    disk.hard = hard;
                    self.input(id, |raft| raft.on_vote_flushed(hard));
                }
                Write::Snapshot(snapshot) => {
                    let index = snapshot.position.index;
                    disk.entries.clear();
                    disk.snapshot = Some(snapshot);
                    self.input(id, |raft| raft.on_snapshot_flushed(index));
                }
                Write::Truncate(index) => disk.entries.retain(|entry| entry.index <= index),
                Write::Append(entries, generation) => {
                    let last = entries.last().expect("not empty").index;
                    disk.entries.extend(entries);
                    self.input(id, |raft| raft.on_flushed(last, generation));
                }
            }
        }
    }

    /// Delivers what is on its way now; answers wait for the next call.
    fn deliver(&mut self, wanted: impl Fn(&Message) -> bool) {
        let (due, later) = self.network.drain(..).partition(|message| wanted(message));
        self.network = later;
        let due: VecDeque<Message> = due;
        for message in due {
            let to = message.to;
            if let Some(raft) = self.nodes.get_mut(&to) {
                if let Err(error) = raft.step(message) {
                    self.say(&format!("{to}: refused: {error}"));
                }
                self.drain(to);
            }
        }
    }

    /// Delivers and flushes until nothing moves, without saying how.
    fn settle(&mut self) {
        let said = self.out.len();
        for _ in 0..100 {
            self.deliver(|_| true);
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.flush(id);
            }
        }
        assert!(self.network.is_empty(), "the quorum does not settle");
        self.out.truncate(said);
    }

    fn show(&mut self) {
        let lines: Vec<_> = self
            .nodes
            .values()
            .map(|raft| {
                format!(
                    "{}: {:?} in term {}, leader {:?}, {}..{}@{} commit {} voters {:?}",
                    raft.node(),
                    raft.role(),
                    raft.term(),
                    raft.leader().map(|node| node.0),
                    raft.base().index,
                    raft.last().index,
                    raft.last().term,
                    raft.commit_index(),
                    raft.voters().iter().map(|node| node.0).collect::<Vec<_>>(),
                )
            })
            .collect();
        for line in lines {
            self.say(&line);
        }
    }
}

fn rerun(script: &str) -> String {
    let mut quorum = Quorum::default();
    let mut out = String::new();
    for case in script
        .split("\n\n")
        .map(str::trim)
        .filter(|case| !case.is_empty())
    {
        let commands = case.split("\n----").next().unwrap_or(case);
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            quorum.run(line);
        }
        let said = std::mem::take(&mut quorum.out);
        write!(out, "{commands}\n----\n{said}\n").expect("a string");
    }
    out
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/testdata")
        .join(file);
    let script = std::fs::read_to_string(&path).expect("the script is readable");
    let found = rerun(&script);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).expect("the script is writable");
        return;
    }
    assert!(
        script == found,
        "{file} expects other answers; UPDATE_EXPECT=1 rewrites it. Found:\n{found}"
    );
}

#[test]
fn a_quorum_of_one_leads_and_commits_by_its_own_flush() {
    check("quorum_of_one.txt");
}

#[test]
fn three_voters_elect_replicate_and_commit() {
    check("three_voters.txt");
}

#[test]
fn a_leader_cut_off_resigns_and_its_unfinished_entries_are_cut() {
    check("cut_off_leader.txt");
}

#[test]
fn voters_come_and_go_one_at_a_time() {
    check("voters.txt");
}

#[test]
fn a_follower_behind_the_snapshot_is_sent_it() {
    check("snapshot.txt");
}
