//! The timer of a group: when the host is to come back to it.

use klamm_model::Instant;

use super::group::Group;
use super::names::GroupId;
use super::round::Round;
use super::turn::{TimerKey, Turn};
use crate::kit::Timer;

/// Leaves the round with its group, unless nothing is left of it, and sets its timer.
pub(super) fn put_back(
    turn: &mut Turn<'_>,
    id: &GroupId,
    group: &mut Group,
    mut round: Box<Round>,
) {
    if !round.is_void() {
        arm(turn, id, &mut round);
        group.round = Some(round);
    } else if round.armed.is_some() {
        disarm(turn, id);
    }
}

/// Takes back the timer of a group that has no round any longer.
pub(super) fn disarm(turn: &mut Turn<'_>, id: &GroupId) {
    let key = TimerKey::Group(id.clone());
    turn.decision.timers.push(Timer { key, at: None });
}

/// Sets the timer of a group, if something is due before it fires. One that would fire too early is
/// left as it is: a sign of life costs no timer.
pub(super) fn arm(turn: &mut Turn<'_>, id: &GroupId, round: &mut Round) {
    arm_at(turn, id, &mut round.wanted, &mut round.armed);
}

pub(super) fn arm_at(
    turn: &mut Turn<'_>,
    id: &GroupId,
    wanted: &mut Option<Instant>,
    armed: &mut Option<Instant>,
) {
    let Some(wanted) = wanted.take() else {
        return;
    };
    if armed.is_none_or(|armed| wanted < armed) {
        *armed = Some(wanted);
        let key = TimerKey::Group(id.clone());
        let at = Some(wanted);
        turn.decision.timers.push(Timer { key, at });
    }
}
