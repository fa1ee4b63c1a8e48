//! What administrators ask: names of groups, what is in them, and that they be deleted.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use super::api::{
    DeleteGroupError, DescribedGroup, DescribedMember, GroupState, GroupType, List, ListedGroup,
    ListedGroups,
};
use super::group::Group;
use super::names::GroupId;
use super::notes::Happened;
use super::timers::disarm;
use super::turn::{Turn, text};
use crate::kit::Record;
use crate::limits::{ANSWER_BYTES, ANSWER_GROUPS_MAX};
use crate::record::group_key;

/// Groups that a list asks for, as many as one answer may have.
pub(super) fn list(groups: &BTreeMap<GroupId, Group>, list: &List) -> ListedGroups {
    let mut answer = ListedGroups::default();
    let mut bytes = 0;
    let begin = match &list.from {
        Some(from) => Bound::Included(from),
        None => Bound::Unbounded,
    };
    let found = groups.range::<GroupId, _>((begin, Bound::Unbounded));
    for (looks, (id, group)) in found.enumerate() {
        if looks >= ANSWER_GROUPS_MAX || bytes >= ANSWER_BYTES {
            answer.next = Some(id.clone());
            break;
        }
        let listed = listed(id, group, list);
        bytes += listed.as_ref().map_or(0, |listed| {
            size_of::<ListedGroup>() + id.as_str().len() + listed.protocol_type.len()
        });
        answer.groups.extend(listed);
    }
    answer
}

/// A group in a list, if the list asks for such ones.
fn listed(id: &GroupId, group: &Group, list: &List) -> Option<ListedGroup> {
    let state = group.state();
    let group_type = match group.consumer {
        Some(_) => GroupType::Consumer,
        None => GroupType::Classic,
    };
    let states = list.states.as_ref();
    let types = list.types.as_ref();
    let fits = states.is_none_or(|states| states.contains(&state))
        && types.is_none_or(|types| types.contains(&group_type));
    fits.then(|| ListedGroup {
        group: id.clone(),
        protocol_type: group.protocol_type().to_owned(),
        state,
        group_type,
    })
}

/// What the description of a group takes at most.
pub(super) fn bytes_of(group: &Group) -> usize {
    let members = group.round.iter().flat_map(|round| &round.members);
    let members = members.map(|(id, member)| {
        let instance = member.instance.as_ref();
        let instance = instance.map_or(0, |instance| instance.as_str().len());
        let names = member.client_id.len() + member.client_host.len();
        size_of::<DescribedMember>() + id.as_str().len() + instance + names
    });
    let kept = group.kept.as_ref().map_or(0, |kept| kept.value().len());
    size_of::<DescribedGroup>() + kept + members.sum::<usize>()
}

/// A group, described; metadata and assignments only while they go together.
pub(super) fn described(id: &GroupId, group: Option<&Group>) -> DescribedGroup {
    let is_consumer = group.is_some_and(|group| group.consumer.is_some());
    let Some(group) = group.filter(|_| !is_consumer) else {
        return DescribedGroup {
            group: id.clone(),
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
            is_consumer,
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
        is_consumer,
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
        let consumer = group.consumer.as_ref();
        let parts = consumer.map_or(0, |consumer| consumer.record_count());
        let records = group.offset_count() + usize::from(group.kept.is_some()) + parts;
        if self.decision.records.len() + records <= records_max {
            self.forget_all(id, group);
        } else {
            self.forgetting.condemn(id);
            condemned.push_back(id.clone());
        }
        if group.kept.is_some() {
            self.bury_group(id);
        }
        if let Some(consumer) = &group.consumer {
            self.bury_consumer_group(id, consumer);
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
