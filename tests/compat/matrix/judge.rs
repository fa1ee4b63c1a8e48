//! The judge of every scenario: what members said of themselves and what the broker noted of the
//! group, held against each other. It knows no client and no scenario.

use std::collections::{BTreeMap, BTreeSet};

use super::events::{Event, Span};
use super::notes::{Note, Owner};

/// What is judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// All that ever lived, each process for itself.
    pub(crate) members: Vec<Said>,
    /// What the broker noted of the group.
    pub(crate) notes: Vec<Note>,
    /// Where each partition ends.
    pub(crate) ends: Vec<i64>,
    /// Committed offsets of partitions as the broker told them, in the order of the answers; the
    /// last answer came when all was over.
    pub(crate) seen: Vec<BTreeMap<i32, i64>>,
}

/// What one process said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The name of its client, which no other process has.
    pub(crate) name: String,
    /// Its static name, under which several processes are one member; its own name if it has none.
    pub(crate) owner: String,
    pub(crate) events: Vec<Event>,
}

/// Everything that is wrong, as sentences, of each kind in the order in which it happened; none where all is well.
pub(crate) fn faults(history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    find_lost_records(history, &mut faults);
    find_two_readers(history, &mut faults);
    find_commits_not_kept(history, &mut faults);
    find_answers_that_went_back(history, &mut faults);
    find_work_not_done(history, &mut faults);
    Ledger::new(&history.members).follow(&history.notes, &mut faults);
    faults
}

fn spans(said: &Said) -> impl Iterator<Item = &Span> {
    said.events.iter().filter_map(|event| match event {
        Event::Read(span) => Some(span),
        _ => None,
    })
}

/// Every record is processed by somebody.
fn find_lost_records(history: &History, faults: &mut Vec<String>) {
    for (partition, &end) in (0_i32..).zip(&history.ends) {
        let read = history.members.iter().flat_map(spans);
        let mut read: Vec<_> = read.filter(|span| span.partition == partition).collect();
        read.sort_by_key(|span| span.first);
        let mut next = 0;
        for span in read {
            if span.first > next {
                faults.push(format!(
                    "lost: partition {partition} from {next} to before {} was read by nobody",
                    span.first
                ));
            }
            next = next.max(span.end);
        }
        if next < end {
            faults.push(format!(
                "lost: partition {partition} from {next} to before {end} was read by nobody"
            ));
        }
        if next > end {
            faults.push(format!(
                "invented: partition {partition} ends at {end}, but was read to {next}"
            ));
        }
    }
}

/// No partition is read by two members in one generation, where clients tell theirs.
fn find_two_readers(history: &History, faults: &mut Vec<String>) {
    let mut readers: BTreeMap<(i32, i32), &str> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for said in &history.members {
        for span in spans(said) {
            let Some(generation) = span.generation else {
                continue;
            };
            let key = (generation, span.partition);
            let first = *readers.entry(key).or_insert(&said.owner);
            if first != said.owner && told.insert((key, &said.owner)) {
                faults.push(format!(
                    "two owners: partition {} was read by {first} and by {} in generation {generation}",
                    span.partition, said.owner
                ));
            }
        }
    }
}

/// What a member was told is committed, is.
fn find_commits_not_kept(history: &History, faults: &mut Vec<String>) {
    let kept: BTreeSet<(i32, i64, &str)> = history
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::Offset {
                partition,
                offset,
                by,
            } => Some((*partition, *offset, by.as_str())),
            _ => None,
        })
        .collect();
    for said in &history.members {
        for event in &said.events {
            let Event::Commit {
                partition,
                offset,
                error: None,
            } = event
            else {
                continue;
            };
            if !kept.contains(&(*partition, *offset, said.name.as_str())) {
                faults.push(format!(
                    "commit lost: {} was told that {offset} of partition {partition} is committed, and nothing of it is kept",
                    said.name
                ));
            }
        }
    }
}

/// Committed offsets never go back from one answer of the broker to the next.
fn find_answers_that_went_back(history: &History, faults: &mut Vec<String>) {
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    for (number, answer) in history.seen.iter().enumerate() {
        for (&partition, &before) in &highest {
            let now = answer.get(&partition).copied();
            if now.is_none_or(|now| now < before) {
                faults.push(format!(
                    "answer went back: {before} was committed of partition {partition}, then answer {number} said {now:?}"
                ));
            }
        }
        highest.extend(answer);
    }
}

/// In the end all is read and committed, and no more than that.
fn find_work_not_done(history: &History, faults: &mut Vec<String>) {
    let committed = history.seen.last();
    for (partition, &end) in (0_i32..).zip(&history.ends) {
        let found = committed.and_then(|offsets| offsets.get(&partition));
        if end > 0 && found != Some(&end) {
            faults.push(format!(
                "not done: partition {partition} ends at {end}, and {found:?} is committed"
            ));
        }
    }
}

/// Who owns what by the broker's notes, followed note by note.
#[derive(Default)]
struct Ledger<'a> {
    /// Owners by the names of processes.
    processes: BTreeMap<&'a str, &'a str>,
    /// Partitions by owner, of the round that is kept.
    round: Option<BTreeMap<String, BTreeSet<i32>>>,
    /// Who had them last, of partitions that the round gives to nobody.
    giving_up: BTreeMap<i32, String>,
    /// Owners by the ids of members of the consumer protocol.
    owners: BTreeMap<String, String>,
    /// Partitions by the ids of such members.
    has: BTreeMap<String, BTreeSet<i32>>,
    epochs: BTreeMap<String, i32>,
    /// The highest that a member was told: generations of the classic protocol go on where the
    /// epochs of members end.
    generation: i32,
    committed: BTreeMap<i32, i64>,
}

impl<'a> Ledger<'a> {
    fn new(members: &'a [Said]) -> Self {
        let names = members.iter();
        Self {
            processes: names
                .map(|said| (said.name.as_str(), said.owner.as_str()))
                .collect(),
            ..Self::default()
        }
    }

    fn follow(&mut self, notes: &[Note], faults: &mut Vec<String>) {
        for note in notes {
            match note {
                Note::Offset {
                    partition,
                    offset,
                    by,
                } => self.commit(*partition, *offset, by, faults),
                Note::Round { generation, owners } => {
                    self.grow(*generation, faults);
                    self.begin_round(*generation, owners, faults);
                }
                Note::NoRound => self.round = None,
                Note::Epoch(_) => {}
                Note::Said { member, owner } => {
                    self.owners.insert(member.clone(), owner.clone());
                }
                Note::Has {
                    member,
                    epoch,
                    partitions,
                } => {
                    let before = self.epochs.insert(member.clone(), *epoch);
                    // One that died and came again under its static name begins at less than zero.
                    if before.is_some_and(|before| before > *epoch && *epoch > 0) {
                        faults.push(format!(
                            "epoch went back: member {member} went from {before:?} to {epoch}"
                        ));
                    }
                    self.generation = self.generation.max(*epoch);
                    self.has.insert(member.clone(), partitions.clone());
                    let what = format!("epoch {epoch} of {member}");
                    find_two_owners(&what, &self.has, faults);
                }
                Note::HasNothing { member } => {
                    self.has.remove(member);
                    self.epochs.remove(member);
                }
            }
        }
    }

    fn grow(&mut self, generation: i32, faults: &mut Vec<String>) {
        if generation < self.generation {
            faults.push(format!(
                "generation went back: from {} to {generation}",
                self.generation
            ));
        }
        self.generation = generation;
    }

    /// In a cooperative group a partition on its way has no owner for a round: who had it commits
    /// what it has done, and gives it up.
    fn begin_round(&mut self, generation: i32, owners: &[Owner], faults: &mut Vec<String>) {
        let mut round: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for owner in owners {
            let of = round.entry(owner.name.clone()).or_default();
            of.extend(&owner.partitions);
        }
        find_two_owners(&format!("generation {generation}"), &round, faults);
        let before = self.round.take().unwrap_or_default();
        for (owner, partitions) in before {
            self.giving_up
                .extend(partitions.into_iter().map(|one| (one, owner.clone())));
        }
        self.giving_up.retain(|partition, owner| {
            let is_owned = round.values().any(|of| of.contains(partition));
            !is_owned && round.contains_key(owner)
        });
        self.round = Some(round);
    }

    fn owner_of(&self, partition: i32) -> Option<&str> {
        if let Some(round) = &self.round {
            let mut owners = round.iter();
            let found = owners.find(|(_, partitions)| partitions.contains(&partition));
            let found = found.map(|(owner, _)| owner);
            let found = found.or_else(|| self.giving_up.get(&partition));
            return found.map(String::as_str);
        }
        let mut owners = self.has.iter();
        let (member, _) = owners.find(|(_, partitions)| partitions.contains(&partition))?;
        self.owners.get(member).map(String::as_str)
    }

    fn commit(&mut self, partition: i32, offset: i64, by: &str, faults: &mut Vec<String>) {
        let owner = self.owner_of(partition);
        if owner != self.processes.get(by).copied() || owner.is_none() {
            faults.push(format!(
                "commit of another: {by} committed {offset} of partition {partition}, which was {}'s",
                owner.unwrap_or("nobody")
            ));
        }
        let before = self.committed.insert(partition, offset);
        if before.is_some_and(|before| before > offset) {
            faults.push(format!(
                "commit went back: partition {partition} from {before:?} to {offset}, by {by}"
            ));
        }
    }
}

fn find_two_owners(what: &str, owners: &BTreeMap<String, BTreeSet<i32>>, faults: &mut Vec<String>) {
    let mut first: BTreeMap<i32, &str> = BTreeMap::new();
    for (owner, partitions) in owners {
        for &partition in partitions {
            if let Some(other) = first.insert(partition, owner) {
                faults.push(format!(
                    "two owners: {what} gives partition {partition} to {other} and to {owner}"
                ));
            }
        }
    }
}
