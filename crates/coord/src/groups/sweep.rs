//! Offsets that nobody used for too long, and groups that have nothing left: looked for now and then,
//! a slice at a time.

use std::ops::Bound;

use klamm_model::WallTime;

use super::Coordinator;
use super::api::Reply;
use super::turn::TimerKey;
use crate::kit::{Decision, Moment};
use crate::limits::{SWEEP_LOOKS_MAX, SWEEP_PAUSE, WALL_CLOCK_DOUBT};

impl Coordinator {
    /// Lets go of offsets that nobody used for too long, and of groups that have nothing left: as
    /// much as one decision may, and the rest soon after it.
    pub(super) fn sweep(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        let interval = self.config.offsets_check_interval;
        let wall = self.believe(moment);
        let moment = Moment { wall, ..moment };
        let from = self.swept.take();
        let records_max = self.tombstones_max;
        let mut reached = None;
        let decision = self.alone(moment, |turn, groups| {
            let begin = from.map_or(Bound::Unbounded, Bound::Included);
            let mut looks = 0;
            for (id, group) in groups.range((begin, Bound::Unbounded)) {
                if looks >= SWEEP_LOOKS_MAX {
                    reached = Some(id.clone());
                    break;
                }
                looks += 1 + group.offset_count();
                let none_left = turn.expire(id, group, records_max);
                if turn.decision.records.len() >= records_max {
                    // Perhaps in the middle of this one.
                    reached = Some(id.clone());
                    break;
                }
                // A round is there as long as ids are given out, too.
                if none_left && group.kept.is_some() && group.round.is_none() {
                    turn.bury_group(id);
                }
                if let Some(consumer) = &group.consumer
                    && none_left
                    && consumer.is_empty()
                {
                    turn.bury_consumer_group(id, consumer);
                }
            }
            let wait = if reached.is_some() {
                SWEEP_PAUSE
            } else {
                interval
            };
            turn.set_timer(TimerKey::Sweep, wait);
        });
        self.swept = reached;
        decision
    }

    /// The time by the wall, but for a clock that jumps ahead: since the last sweep no more is
    /// believed to have passed than twice what has, until the clock has said the same for a day. So
    /// a wrong one can be set right before everything has expired.
    fn believe(&mut self, moment: Moment) -> WallTime {
        let likely = self.believed.map_or(moment.wall, |(at, wall)| {
            let passed = moment.now.since(at).as_millis().saturating_mul(2);
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            WallTime(wall.0.saturating_add(passed))
        });
        let since = *self.doubted.get_or_insert(moment.now);
        let mut wall = moment.wall;
        if wall <= likely || moment.now.since(since) >= WALL_CLOCK_DOUBT {
            self.doubted = None;
        } else {
            wall = likely;
        }
        self.believed = Some((moment.now, wall));
        wall
    }
}
