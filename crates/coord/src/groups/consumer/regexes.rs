//! Regular expressions of topics: which names match is found out here, in time linear in the names,
//! a slice at a time, and kept. Afterwards only names that come or go are looked at.
//!
//! The syntax is that of the crate `regex`, where bytes are letters: what Kafka's RE2/J reads, but
//! for `\Q...\E`, octal escapes and classes of Unicode (names of topics are ASCII). Names must match as a
//! whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{Instant, TopicName};
use regex::bytes::{Regex, RegexBuilder};

use super::super::Coordinator;
use super::super::api::Reply;
use super::super::names::{GroupId, MemberId};
use super::super::turn::TimerKey;
use super::Plan;
use super::api::{ConsumerHeartbeatError, ConsumerHeartbeatRefused};
use super::draft::Draft;
use super::group::{ConsumerGroup, Resolved};
use super::heartbeat::{Asked, is_due, refusal};
use super::view::TopicsView;
use crate::kit::{Decision, Moment, Timer};
use crate::limits::{
    REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX, REGEX_LOOKS_MAX, REGEXES_MAX, SWEEP_PAUSE,
};

/// What compiling one costs, in looks at names.
const COMPILING_LOOKS: usize = 500;

/// The same for each byte of its text.
const COMPILING_LOOKS_PER_BYTE: usize = 20;

/// Most names that are looked at before a member is answered.
const REGEX_LOOKS_NOW: usize = 2_000;

/// For how long changes of names are gathered.
const CHANGES_PAUSE: Duration = Duration::from_secs(1);

/// Most changes that wait for one expression; where there are more all names are looked at.
const CHANGES_MAX: usize = 8;

/// Reads a regular expression.
fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > REGEX_BYTES_MAX {
        return Err(format!("longer than {REGEX_BYTES_MAX} bytes"));
    }
    let build = |text: &str| {
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            })
    };
    // By itself first: it must not end the parentheses that are put around it.
    build(text)?;
    build(&format!(r"\A(?:{text})\z"))
}

/// Refuses what is none.
fn check(text: &str) -> Result<Regex, ConsumerHeartbeatRefused> {
    compile(text).map_err(|why| {
        let shown: String = text.chars().take(200).collect();
        let message =
            format!("SubscribedTopicRegex `{shown}` is not a valid regular expression: {why}.");
        refusal(ConsumerHeartbeatError::InvalidRegularExpression, message)
    })
}

/// Reads an expression that is new to a group, if it takes one more.
pub(super) fn check_new(
    group: &ConsumerGroup,
    regex: Option<&Arc<str>>,
) -> Result<Option<Regex>, ConsumerHeartbeatRefused> {
    let Some(regex) = regex.filter(|regex| !group.expressed.contains_key(*regex)) else {
        return Ok(None);
    };
    if group.expressed.len() >= REGEXES_MAX {
        let message = format!("The group has {REGEXES_MAX} regular expressions already.");
        let error = ConsumerHeartbeatError::InvalidRegularExpression;
        return Err(refusal(error, message));
    }
    check(regex).map(Some)
}

/// Names that are still to be held against expressions. Soft: begun anew after a start.
#[derive(Clone, Debug)]
pub(in crate::groups) struct Searches {
    /// Each once, in the order in which they are looked at.
    queue: VecDeque<Subject>,
    scopes: BTreeMap<Subject, Scope>,
    /// When all names are looked at anew for all expressions, where there are any.
    refresh_at: Option<Instant>,
    armed: Option<Instant>,
}

/// One expression of one group.
type Subject = (GroupId, Arc<str>);

/// Which names are looked at.
#[derive(Clone, Debug, Default)]
struct Scope {
    /// All, where it is begun.
    all: Option<All>,
    /// Those that have changed, after that.
    changed: Vec<Arc<[TopicName]>>,
}

/// All names, from the one after this on.
#[derive(Clone, Debug, Default)]
struct All {
    after: Option<TopicName>,
    found: Vec<Arc<str>>,
}

impl Searches {
    pub(in crate::groups) const fn none() -> Self {
        Self {
            queue: VecDeque::new(),
            scopes: BTreeMap::new(),
            refresh_at: None,
            armed: None,
        }
    }

    /// There is an expression: it is looked at anew by then, if not sooner.
    pub(super) fn refresh_by(&mut self, at: Instant) {
        self.refresh_at.get_or_insert(at);
    }

    /// Whether all names are to be looked at for an expression.
    fn is_pending(&self, group: &GroupId, regex: &Arc<str>) -> bool {
        let scope = self.scopes.get(&(group.clone(), regex.clone()));
        scope.is_some_and(|scope| scope.all.is_some())
    }

    fn scope(&mut self, group: &GroupId, regex: &Arc<str>) -> &mut Scope {
        let subject = (group.clone(), regex.clone());
        if !self.scopes.contains_key(&subject) {
            self.queue.push_back(subject.clone());
        }
        self.scopes.entry(subject).or_default()
    }

    /// All names are to be looked at.
    fn add_all(&mut self, group: &GroupId, regex: &Arc<str>) {
        *self.scope(group, regex) = Scope {
            all: Some(All::default()),
            changed: Vec::new(),
        };
    }

    /// These names are to be looked at.
    fn add_changed(&mut self, group: &GroupId, regex: &Arc<str>, names: &Arc<[TopicName]>) {
        let scope = self.scope(group, regex);
        match &scope.all {
            // It has not begun, so it will come by these.
            Some(All { after: None, .. }) => {}
            Some(_) | None => scope.changed.push(names.clone()),
        }
        if scope.changed.len() > CHANGES_MAX {
            self.add_all(group, regex);
        }
    }

    /// The next one, taken out.
    fn take(&mut self) -> Option<(Subject, Scope)> {
        let subject = self.queue.pop_front()?;
        let scope = self.scopes.remove(&subject).unwrap_or_default();
        Some((subject, scope))
    }

    /// It goes on with this one.
    fn put_back(&mut self, subject: Subject, scope: Scope) {
        self.queue.push_front(subject.clone());
        self.scopes.insert(subject, scope);
    }
}

/// What a slice of a search came to.
enum Slice {
    /// There are more names.
    Unfinished,
    /// These match.
    Found(Vec<Arc<str>>),
}

impl Asked<'_> {
    /// Finds out which topics a member's expression matches, if nobody has. Returns whether that is
    /// known now and was not before, and whether it takes longer.
    pub(super) fn resolve(
        &self,
        draft: &mut Draft<'_>,
        group: &ConsumerGroup,
        id: &MemberId,
        compiled: Option<Regex>,
    ) -> Result<[bool; 2], ConsumerHeartbeatRefused> {
        let said = draft.member(id.as_str()).map(|member| &member.said);
        let regex = said.and_then(|said| said.regex.clone());
        let Some(regex) = regex.filter(|regex| draft.resolution(regex).is_none()) else {
            return Ok([false, false]);
        };
        if group.too_broad.contains(&regex) {
            let message = "SubscribedTopicRegex matches more topics than can be kept.";
            let error = ConsumerHeartbeatError::InvalidRegularExpression;
            return Err(refusal(error, message));
        }
        if self.searches.is_pending(draft.group_id(), &regex) {
            return Ok([false, true]);
        }
        // As in Kafka: topics that are named do not wait for those that match, and come first.
        if said.is_some_and(|said| !said.topics.is_empty()) {
            return Ok([false, true]);
        }
        // One that others gave before is looked for already, or again by the timer.
        let (Some(view), Some(compiled)) = (self.view, compiled) else {
            return Ok([false, true]);
        };
        let mut after = None;
        let mut found = Vec::new();
        let most = REGEX_LOOKS_NOW;
        let Slice::Found(topics) = look(view, &compiled, &mut after, &mut found, most) else {
            return Ok([false, true]);
        };
        draft.resolve(&regex, self.resolved(topics));
        Ok([true, false])
    }

    fn resolved(&self, topics: Vec<Arc<str>>) -> Resolved {
        Resolved {
            topics: topics.into(),
            version: i64::try_from(self.version).unwrap_or(i64::MAX),
            at: self.moment.wall,
        }
    }
}

/// Holds some names against an expression.
fn look(
    view: &Arc<dyn TopicsView>,
    regex: &Regex,
    after: &mut Option<TopicName>,
    found: &mut Vec<Arc<str>>,
    most: usize,
) -> Slice {
    let mut looks = 0;
    let mut last = None;
    let from = after.as_ref().map(TopicName::as_str);
    view.names_after(from, most, &mut |name| {
        looks += 1;
        if regex.is_match(name.as_str().as_bytes()) {
            found.push(name.as_str().into());
        }
        last = Some(name.clone());
    });
    if looks < most {
        return Slice::Found(std::mem::take(found));
    }
    *after = last;
    Slice::Unfinished
}

impl Coordinator {
    /// All names are to be looked at for an expression of a group.
    pub(super) fn search(&mut self, group: &GroupId, regex: &Arc<str>) {
        if !self.searches.is_pending(group, regex) {
            self.searches.add_all(group, regex);
        }
    }

    /// After a start, and from time to time: what was found may not be so any longer.
    pub(in crate::groups) fn search_all(&mut self, moment: Moment) {
        for (id, group) in &self.groups {
            let consumer = group.consumer.iter();
            for regex in consumer.flat_map(|consumer| consumer.expressed.keys()) {
                self.searches.add_all(id, regex);
            }
        }
        let interval = self.config.consumer.regex_refresh_interval;
        let is_any = !self.searches.queue.is_empty();
        self.searches.refresh_at = is_any.then(|| moment.now.plus(interval));
    }

    /// Names have come or gone.
    pub(super) fn search_changed(&mut self, changed: &[TopicName]) {
        let names: Arc<[TopicName]> = changed.into();
        for (id, group) in &mut self.groups {
            let Some(consumer) = group.consumer.as_mut() else {
                continue;
            };
            for regex in consumer.expressed.keys() {
                if consumer.too_broad.remove(regex) {
                    self.searches.add_all(id, regex);
                } else {
                    self.searches.add_changed(id, regex, &names);
                }
            }
            consumer.too_broad.clear();
        }
    }

    /// Asks for the timer of searches, if there is something to be searched for, now or later.
    pub(in crate::groups) fn arm_searches(
        &mut self,
        moment: Moment,
        decision: &mut Decision<Reply, TimerKey>,
    ) {
        let next = self.searches.queue.front();
        let next = next.and_then(|subject| self.searches.scopes.get(subject));
        // Where names have only come and gone, more may be about to: all are looked at together.
        let pause = if next.is_some_and(|scope| scope.all.is_some()) {
            SWEEP_PAUSE
        } else {
            CHANGES_PAUSE
        };
        let next = next.map(|_| moment.now.plus(pause));
        let Some(at) = next.into_iter().chain(self.searches.refresh_at).min() else {
            return;
        };
        if self.searches.armed.is_none_or(|armed| at < armed) {
            self.searches.armed = Some(at);
            decision.timers.push(Timer {
                key: TimerKey::Regexes,
                at: Some(at),
            });
        }
    }

    /// Searches go on, as far as one decision goes; each group is decided about once in it.
    pub(in crate::groups) fn on_searches_due(
        &mut self,
        moment: Moment,
    ) -> Decision<Reply, TimerKey> {
        self.searches.armed = None;
        if is_due(self.searches.refresh_at, moment.now) {
            self.search_all(moment);
        }
        let mut decision = Decision::nothing();
        let mut decided: BTreeSet<GroupId> = BTreeSet::new();
        let mut looks = 0;
        while looks < REGEX_LOOKS_MAX
            && let Some((subject, scope)) = self.searches.take()
        {
            if decided.contains(&subject.0) {
                self.searches.put_back(subject, scope);
                break;
            }
            looks += COMPILING_LOOKS + COMPILING_LOOKS_PER_BYTE * subject.1.len();
            looks += match &scope.all {
                Some(_) => REGEX_LOOKS_MAX,
                None => scope.changed.iter().map(|names| names.len()).sum(),
            };
            let group = subject.0.clone();
            if let Some(plan) = self.search_on(moment, subject, scope) {
                decided.insert(group.clone());
                let more = self.carry(moment, &group, None, plan, false);
                decision.records.extend(more.records);
                decision.timers.extend(more.timers);
                decision.held();
                // What a group is told anew is written as a whole: one of them in a decision.
                break;
            }
        }
        self.arm_searches(moment, &mut decision);
        decision
    }

    /// One slice of a search: what follows for the group, once it is at its end.
    fn search_on(&mut self, moment: Moment, subject: Subject, mut scope: Scope) -> Option<Plan> {
        let (id, regex) = &subject;
        let group = self.groups.get(id);
        let group = group.and_then(|group| group.consumer.as_deref())?;
        let view = self.surroundings.view.as_ref()?;
        if !group.expressed.contains_key(regex) {
            return None;
        }
        let compiled = compile(regex).ok()?;
        let before = group.regexes.get(regex);
        let mut topics: BTreeSet<Arc<str>> = match &mut scope.all {
            None => before?.topics.iter().cloned().collect(),
            Some(All { after, found }) => {
                match look(view, &compiled, after, found, REGEX_LOOKS_MAX) {
                    Slice::Found(topics) => topics.into_iter().collect(),
                    Slice::Unfinished => {
                        self.searches.put_back(subject, scope);
                        return None;
                    }
                }
            }
        };
        for name in scope.changed.iter().flat_map(|names| names.iter()) {
            let name = name.as_str();
            if view.by_name(name).is_none() {
                topics.remove(name);
            } else if compiled.is_match(name.as_bytes()) {
                topics.insert(name.into());
            }
        }
        let topics: Vec<Arc<str>> = topics.into_iter().collect();
        if before.is_some_and(|before| *before.topics == *topics) {
            return None;
        }
        let asked = self.asked(moment, id);
        let mut draft = Draft::new(id, group, asked.view);
        draft.resolve(regex, asked.resolved(topics));
        draft.bump();
        if asked.check_room(&draft).is_err() {
            // More than a record takes: nobody gets what nobody can write down.
            let group = self.groups.get_mut(id);
            let group = group.and_then(|group| group.consumer.as_mut())?;
            group.too_broad.insert(regex.clone());
            return None;
        }
        let wait = asked.wait_to_divide(draft.target_at());
        let mut plan = Plan::of(draft, Some(wait.max(SWEEP_PAUSE)));
        plan.checked = true;
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_whole_and_in_linear_time() {
        let matches = |text: &str, name: &str| {
            compile(text)
                .expect("a regular expression")
                .is_match(name.as_bytes())
        };
        assert!(matches("fl.*", "flights"));
        assert!(!matches("fl", "flights"));
        assert!(
            matches("a|flights", "flights"),
            "alternatives are one whole"
        );
        assert!(!matches("a|b", "ab"));
        assert!(matches(r"(?i)FLIGHTS-\d+", "flights-7"));
        assert!(!matches(r"(a*)*b", &"a".repeat(249)));
        for broken in ["(", "a)|(b", "[z-a]", r"(?<=a)b", r"(a)\1"] {
            let refused = check(broken).expect_err("none");
            assert_eq!(
                refused.error,
                ConsumerHeartbeatError::InvalidRegularExpression,
                "{broken}"
            );
        }
        assert!(check(&"a".repeat(REGEX_BYTES_MAX + 1)).is_err());
        assert!(check("(((a{100}){100}){100}){100}").is_err(), "too large");
    }
}
