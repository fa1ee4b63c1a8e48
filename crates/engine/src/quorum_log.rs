//! The quorum's log and state as bytes: one record per Raft entry in `__cluster_metadata-0`, and
//! the file with term and vote.

use bytes::Bytes;
use klamm_model::{LeaderEpoch, Offset};
use klamm_raftlog::{Entry, HardState, Index, NodeId, Payload, Term, VoterSet};
use klamm_records::batch::Record;

/// Where term and vote lie, relative to the data folder.
pub(crate) const QUORUM_STATE_PATH: &str = "__cluster_metadata-0/quorum-state";

/// Its name in the folder of the metadata: what this node voted, and in which term.
pub const QUORUM_STATE_FILE: &str = "quorum-state";

const KIND_DATA: u8 = 0;
const KIND_LEADER_CHANGE: u8 = 1;
const KIND_VOTERS: u8 = 2;

/// Offset of an entry: indexes count from 1, offsets from 0.
pub(crate) fn offset_of(index: Index) -> Offset {
    let offset = index
        .0
        .checked_sub(1)
        .and_then(|offset| i64::try_from(offset).ok());
    Offset(offset.expect("indexes of entries count from 1 and fit"))
}

/// Offset after an entry; 0 for the position before the first.
pub(crate) fn end_of(index: Index) -> Offset {
    Offset(i64::try_from(index.0).expect("indexes fit"))
}

/// The leader epoch under which a term's entries are stored.
pub(crate) fn epoch_of(term: Term) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(term.0).expect("terms fit the wire's int32"))
}

/// Key and value of an entry's record.
pub(crate) fn encode_entry(payload: &Payload) -> ([u8; 1], Bytes) {
    match payload {
        Payload::Data(bytes) => ([KIND_DATA], bytes.clone()),
        Payload::LeaderChange(node) => (
            [KIND_LEADER_CHANGE],
            Bytes::copy_from_slice(&node.0.to_be_bytes()),
        ),
        Payload::Voters(voters) => {
            let bytes: Vec<u8> = voters
                .iter()
                .flat_map(|node| node.0.to_be_bytes())
                .collect();
            ([KIND_VOTERS], bytes.into())
        }
    }
}

/// The entry that a record holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode_entry(record: &Record, epoch: LeaderEpoch) -> Result<Entry, String> {
    let offset = record.offset;
    let value = record
        .value
        .clone()
        .ok_or_else(|| format!("no value at offset {offset}"))?;
    let nodes = || -> Option<Vec<NodeId>> {
        let (words, rest) = value.as_chunks::<4>();
        rest.is_empty().then(|| {
            words
                .iter()
                .map(|word| NodeId(i32::from_be_bytes(*word)))
                .collect()
        })
    };
    let payload = match record.key.as_deref() {
        Some(&[KIND_DATA]) => Some(Payload::Data(value.clone())),
        Some(&[KIND_LEADER_CHANGE]) => nodes()
            .filter(|nodes| nodes.len() == 1)
            .map(|nodes| Payload::LeaderChange(nodes[0])),
        Some(&[KIND_VOTERS]) => nodes().map(|nodes| Payload::Voters(VoterSet::new(nodes))),
        _ => None,
    };
    let payload = payload.ok_or_else(|| format!("unknown entry at offset {offset}"))?;
    let index = u64::try_from(offset.0).map_err(|_| format!("negative offset {offset}"))? + 1;
    let term = u32::try_from(epoch.0).map_err(|_| format!("negative epoch at offset {offset}"))?;
    Ok(Entry {
        index: Index(index),
        term: Term(term),
        payload,
    })
}

/// Term and vote as text.
pub(crate) fn format_state(state: HardState) -> String {
    let vote = state
        .vote
        .map_or_else(|| "none".to_owned(), |node| node.0.to_string());
    format!("version: 0\nterm: {}\nvote: {vote}\n", state.term.0)
}

/// Term and vote from text.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_state(text: &str) -> Result<HardState, String> {
    let mut lines = text.lines();
    let mut field = |name: &str| {
        lines
            .next()
            .and_then(|line| line.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix(": "))
            .ok_or_else(|| format!("expected '{name}: …' in {QUORUM_STATE_PATH}"))
    };
    match field("version")? {
        "0" => {}
        other => {
            return Err(format!(
                "expected version 0 in {QUORUM_STATE_PATH}, found {other}"
            ));
        }
    }
    let term = field("term")?
        .parse()
        .map_err(|_| "expected a number as term".to_owned())?;
    let vote = match field("vote")? {
        "none" => None,
        node => Some(NodeId(
            node.parse()
                .map_err(|_| "expected a node id as vote".to_owned())?,
        )),
    };
    Ok(HardState {
        term: Term(term),
        vote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_and_vote_survive_the_file() {
        for vote in [None, Some(NodeId(7))] {
            let state = HardState {
                term: Term(9),
                vote,
            };
            assert_eq!(parse_state(&format_state(state)), Ok(state));
        }
        assert!(parse_state("version: 1\nterm: 1\nvote: none\n").is_err());
        assert!(parse_state("").is_err());
    }
}
