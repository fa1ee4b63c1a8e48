//! Looks at how far the groups of this core are behind: slices of their offsets are asked of the
//! cores that have the logs, by letters as all questions are; all groups in turn, slowly, and one at
//! once where somebody asks. The engine keeps what was seen.

use std::time::Duration;

use klamm_engine::GroupReport;
use klamm_engine::api::{Call, LogFactsCall, LogFactsQuestion, Reply};
use klamm_engine::coord::lag::{GroupLag, LagRules, LogFacts, Look};
use klamm_engine::coord::{GroupHead, GroupId, History, MembersRoom};
use klamm_model::Instant;
use klamm_os::{clock, exec};

use crate::probe::Probe;
use crate::shards::{Core, Plan, Shards};

/// Offsets that are asked of at once.
const SLICE_OFFSETS: usize = 256;

/// A look at all groups rests so many times as long as it worked: it takes no more than this part of
/// the core, however many groups there are.
const REST: u32 = 400;

/// The least that it rests after a slice.
const REST_MIN: Duration = Duration::from_millis(1);

/// What one slice may cost the cores with the logs: batches read from disk, and bytes unpacked in
/// one go.
#[derive(Clone, Copy)]
struct Allowance {
    reads_max: usize,
    unpacked_bytes_max: usize,
}

/// Of the look at all groups.
const SLOW: Allowance = Allowance {
    reads_max: 4,
    unpacked_bytes_max: 256 << 10,
};

/// Of a look at one group.
const THOROUGH: Allowance = Allowance {
    reads_max: 64,
    unpacked_bytes_max: 1 << 20,
};

impl Shards {
    /// What logs are as seen from offsets, in the order of the questions.
    async fn log_facts(
        &self,
        questions: Vec<LogFactsQuestion>,
        allowance: Allowance,
    ) -> Vec<Option<LogFacts>> {
        if questions.is_empty() {
            return Vec::new();
        }
        let plan = Plan::of(self.core.shards, &questions, |question| question.partition);
        let calls = plan.split(questions, |home, questions| {
            let call = LogFactsCall {
                questions,
                reads_max: allowance.reads_max,
                unpacked_bytes_max: allowance.unpacked_bytes_max,
            };
            self.begin(home, Call::LogFacts(call))
        });
        plan.join(calls, |reply| match reply {
            Reply::LogFacts(facts) => facts,
            _ => Vec::new(),
        })
        .await
    }

    /// Looks at all groups of this core, again and again.
    pub(crate) async fn watch_lags(self) {
        let pause = self.core.engine.borrow().lag_options().pause;
        loop {
            exec::sleep(pause).await;
            self.look_at_all().await;
        }
    }

    async fn look_at_all(&self) {
        let began = Instant(clock::monotonic_ns());
        let mut from = None;
        let mut look: Option<(GroupId, Look)> = None;
        loop {
            let start = clock::monotonic_ns();
            let slice = self
                .core
                .engine
                .borrow()
                .lag_slice(from.as_ref(), SLICE_OFFSETS);
            let Some(mut slice) = slice else { break };
            let questions = slice.take_questions();
            let offsets = questions.len() as u64;
            let mut worked = clock::monotonic_ns() - start;
            let facts = self.log_facts(questions, SLOW).await;
            let start = clock::monotonic_ns();
            let next = {
                let mut engine = self.core.engine.borrow_mut();
                engine.take_lags(Core::now(), slice, facts, &mut look)
            };
            worked += clock::monotonic_ns() - start;
            Probe::count(&self.core.probe.lag_offsets, offsets);
            Probe::count(&self.core.probe.lag_ns, worked);
            exec::sleep((Duration::from_nanos(worked) * REST).max(REST_MIN)).await;
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.core.engine.borrow_mut().end_look(began);
        Probe::count(&self.core.probe.lag_looks, 1);
    }

    /// Looks at one group now. False if it is not here.
    pub async fn look_at_group(&self, group: &str) -> bool {
        let mut after = None;
        let mut look: Option<(GroupId, Look)> = None;
        loop {
            let slice =
                self.core
                    .engine
                    .borrow()
                    .lag_slice_of(group, after.as_ref(), SLICE_OFFSETS);
            let Some((mut slice, next)) = slice else {
                return false;
            };
            let facts = self.log_facts(slice.take_questions(), THOROUGH).await;
            {
                let mut engine = self.core.engine.borrow_mut();
                engine.take_lags(Core::now(), slice, facts, &mut look);
            }
            match next {
                Some(next) => after = Some(next),
                None => return true,
            }
            exec::yield_now().await;
        }
    }

    /// Shows the groups of this core behind a name, in the order of names, with what was seen of
    /// each, as long as `show` wants another.
    pub fn show_groups(
        &self,
        after: Option<&str>,
        mut show: impl FnMut(&GroupId, &GroupHead, Option<&GroupLag>, &LagRules) -> bool,
    ) {
        let engine = self.core.engine.borrow();
        let rules = engine.lags().rules();
        for (id, head, lag) in engine.groups_after(after) {
            if !show(id, &head, lag, rules) {
                break;
            }
        }
    }

    /// What is known of a group; `None` if it is not on this core.
    #[must_use]
    pub fn report_group(&self, group: &str, room: MembersRoom) -> Option<GroupReport> {
        self.core.engine.borrow().report_group(group, room)
    }

    /// True if some group coordinator of this core is still reading its log.
    #[must_use]
    pub fn loads_groups(&self) -> bool {
        self.core.engine.borrow().loads_groups()
    }

    /// By what verdicts are given.
    #[must_use]
    pub fn lag_rules(&self) -> LagRules {
        self.core.engine.borrow().lag_options().rules
    }

    /// Shows what happened to a group lately; `None` if this core remembers nothing of it.
    pub fn history_of<T>(&self, group: &str, show: impl FnOnce(&History) -> T) -> Option<T> {
        self.core.engine.borrow().history_of(group).map(show)
    }
}
