//! What administrators ask: names of groups, what is in them, and that they be deleted.

use std::collections::VecDeque;

use bytes::Bytes;

use super::api::{
    DeleteGroupError, DescribedGroup, DescribedMember, GroupState, GroupType, List, ListedGroup,
};
use super::disarm;
use super::group::Group;
use super::names::GroupId;
use super::notes::Happened;
use super::turn::{Turn, text};
use crate::kit::Record;
use crate::record::group_key;

/// A group in a list, if the list asks for such ones.
pub(super) fn listed(id: &GroupId, group: &Group, list: &List) -> Option<ListedGroup> {
    let fits = |asked: &[String], word: &str| {
        asked.is_empty() || asked.iter().any(|asked| asked.eq_ignore_ascii_case(word))
    };
    let state = group.state();
    let group_type = GroupType::Classic;
    (fits(&list.states, state.as_str()) && fits(&list.types, group_type.as_str())).then(|| {
        ListedGroup {
            group: id.clone(),
            protocol_type: group.protocol_type().to_owned(),
            state,
            group_type,
        }
    })
}

/// A group, described; metadata and assignments only while they go together.
pub(super) fn described(id: &GroupId, group: Option<&Group>) -> DescribedGroup {
    let Some(group) = group else {
        return DescribedGroup {
            group: id.clone(),
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        };
    };
    let state = group.state();
    let stable = state == GroupState::Stable;
    let mut members: Vec<DescribedMember> = Vec::new();
    let mut protocol = String::new();
    if let Some(round) = &group.round {
        members.extend(round.members.iter().map(|(id, member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            metadata: Bytes::new(),
            assignment: Bytes::new(),
        }));
        if stable {
            protocol = text(round.protocol.as_ref());
        }
    }
    if stable && let Some(kept) = &group.kept {
        for kept in kept.members() {
            let place = members.binary_search_by(|member| member.member.as_str().cmp(kept.member));
            if let Ok(place) = place {
                members[place].metadata = Bytes::copy_from_slice(kept.subscription);
                members[place].assignment = Bytes::copy_from_slice(kept.assignment);
            }
        }
    }
    DescribedGroup {
        group: id.clone(),
        state,
        protocol_type: group.protocol_type().to_owned(),
        protocol,
        members,
    }
}

impl Turn<'_> {
    /// Deletes a group without members, with its offsets. Where these are more than one decision
    /// takes, `condemned` gets the group, and they are forgotten later.
    pub(super) fn delete_group(
        &mut self,
        id: &GroupId,
        group: Option<&mut Group>,
        records_max: usize,
        condemned: &mut VecDeque<GroupId>,
    ) -> Result<(), DeleteGroupError> {
        let group = group.ok_or(DeleteGroupError::GroupNotFound)?;
        if group.state() != GroupState::Empty {
            return Err(DeleteGroupError::NonEmptyGroup);
        }
        // Ids that were given out are good no longer.
        let round = group.round.take();
        if round.is_some_and(|round| round.armed.is_some()) {
            disarm(self, id);
        }
        let records = group.offset_count() + usize::from(group.kept.is_some());
        if self.decision.records.len() + records <= records_max {
            self.forget_all(id, group);
        } else {
            self.forgetting.condemn(id);
            condemned.push_back(id.clone());
        }
        if group.kept.is_some() {
            self.bury_group(id);
        }
        Ok(())
    }

    /// The log shall keep nothing of a group but its offsets.
    pub(super) fn bury_group(&mut self, id: &GroupId) {
        self.notes.push(id, Happened::Deleted);
        self.decision.records.push(Record {
            key: group_key(id.as_str()),
            value: None,
        });
    }
}
