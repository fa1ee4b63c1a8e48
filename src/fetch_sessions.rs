//! Incremental fetch sessions of one core (KIP-227): what each reader reads, so that it need not
//! say it again, and what it was told, so that it need not hear it again. A pure table with a
//! ceiling; `now` is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_model::{Instant, Random};

use crate::handlers::TopicKey;

/// A session that was not used for this long may make room for another.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// Partitions of one session; a reader of more gets no session.
pub(crate) const SESSION_PARTITIONS_MAX: usize = 100_000;

/// Partitions of all sessions of a node, as far as one large reader on each core still finds room.
/// Each costs about 250 bytes.
const PARTITIONS_MAX: usize = 400_000;

/// What the sessions of one core may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionLimits {
    /// Sessions.
    pub(crate) slots: usize,
    /// Partitions of all of them.
    pub(crate) partitions: usize,
}

impl SessionLimits {
    /// The share of one core of `max.incremental.fetch.session.cache.slots`.
    pub(crate) fn of_core(slots: usize, core: usize, cores: usize) -> Self {
        let cores = cores.max(1);
        Self {
            // Slots that do not divide evenly go to the first cores.
            slots: slots / cores + usize::from(core < slots % cores),
            partitions: (PARTITIONS_MAX / cores).max(SESSION_PARTITIONS_MAX),
        }
    }
}

/// The epoch of a request that wants no session, or no longer.
const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// "No session" on the wire.
pub(crate) const NO_SESSION: i32 = 0;

/// A partition as the reader names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionKey {
    pub(crate) topic: TopicKey,
    pub(crate) index: i32,
}

/// What the reader wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) last_epoch: i32,
    pub(crate) bytes_max: i32,
}

/// What a request says about sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    /// The request names topics by id.
    pub(crate) by_id: bool,
}

/// Why a session cannot go on. The reader begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// No such session (`FETCH_SESSION_ID_NOT_FOUND`).
    Unknown,
    /// Not the next request of the session (`INVALID_FETCH_SESSION_EPOCH`).
    Epoch,
    /// The session names topics the other way (`FETCH_SESSION_TOPIC_ID_ERROR`).
    TopicIds,
}

/// How a request relates to sessions, from its begin to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// None.
    Sessionless,
    /// Every partition was named; the answer may begin a session.
    Full {
        /// The request names topics by id.
        by_id: bool,
    },
    /// The request named what changed.
    Incremental {
        /// The session.
        id: i32,
        /// Its epoch once this request is answered.
        epoch: i32,
    },
}

/// What a partition was answered, as far as sessions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) failed: bool,
    pub(crate) diverged: bool,
    pub(crate) record_bytes: usize,
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    wish: Wish,
    /// As told last; -1 where it must be told again.
    high_watermark: i64,
    log_start: i64,
}

impl Cached {
    const fn new(wish: Wish) -> Self {
        Self {
            wish,
            high_watermark: -1,
            log_start: -1,
        }
    }

    /// Notes what is told; true if it is worth telling.
    fn note(&mut self, told: &Told) -> bool {
        let changed =
            self.high_watermark != told.high_watermark || self.log_start != told.log_start;
        self.high_watermark = told.high_watermark;
        self.log_start = told.log_start;
        if told.failed || told.diverged {
            // Told again until it is over, and once more then.
            self.high_watermark = -1;
        }
        changed || told.failed || told.diverged || told.record_bytes > 0
    }
}

#[derive(Debug)]
struct Session {
    by_id: bool,
    epoch: i32,
    created: Instant,
    used: Instant,
    /// Partitions in the order in which they get their share of the next answer.
    order: BTreeMap<u64, (PartitionKey, Cached)>,
    places: BTreeMap<PartitionKey, u64>,
    next_place: u64,
}

impl Session {
    fn put(&mut self, key: PartitionKey, wish: Wish) {
        if let Some(place) = self.places.get(&key)
            && let Some((_, cached)) = self.order.get_mut(place)
        {
            cached.wish = wish;
            return;
        }
        self.places.insert(key.clone(), self.next_place);
        self.order.insert(self.next_place, (key, Cached::new(wish)));
        self.next_place += 1;
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// What was served goes to the end, so that each partition has its turn.
    fn rotate(&mut self, key: &PartitionKey) {
        if self.order.len() < 2 {
            return;
        }
        if let Some(place) = self.places.get_mut(key)
            && let Some(entry) = self.order.remove(place)
        {
            *place = self.next_place;
            self.order.insert(self.next_place, entry);
            self.next_place += 1;
        }
    }

    fn cached(&mut self, key: &PartitionKey) -> Option<&mut Cached> {
        let place = self.places.get(key)?;
        self.order.get_mut(place).map(|(_, cached)| cached)
    }

    fn wishes(&self) -> impl Iterator<Item = (PartitionKey, Wish)> {
        self.order
            .values()
            .map(|(key, cached)| (key.clone(), cached.wish))
    }
}

/// The sessions of one core.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    limits: SessionLimits,
    sessions: BTreeMap<i32, Session>,
    /// Of all sessions.
    partitions: usize,
    random: Random,
    evicted: u64,
}

impl FetchSessions {
    /// An empty table under these limits; `seed` makes the sessions' ids hard to guess.
    pub(crate) const fn new(limits: SessionLimits, seed: u64) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            partitions: 0,
            random: Random::new(seed),
            evicted: 0,
        }
    }

    /// Sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Partitions that all sessions remember together.
    pub(crate) const fn partitions(&self) -> usize {
        self.partitions
    }

    /// Sessions that made room for others so far.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Begins a request: how it relates to sessions. `wishes` are what it names, and then all that
    /// it wants, in order.
    ///
    /// # Errors
    /// The session cannot go on.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        request: SessionRequest,
        wishes: &mut Vec<(PartitionKey, Wish)>,
        forgotten: &[PartitionKey],
    ) -> Result<Relation, SessionError> {
        let SessionRequest { id, epoch, by_id } = request;
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            // A full request ends the session that it names.
            self.remove(id);
            return Ok(if epoch == FINAL_EPOCH || has_illegal_topic(wishes) {
                Relation::Sessionless
            } else {
                Relation::Full { by_id }
            });
        }
        let session = self.sessions.get_mut(&id).ok_or(SessionError::Unknown)?;
        if session.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::TopicIds);
        }
        let is_strange = has_illegal_topic(wishes);
        let before = session.order.len();
        for (key, wish) in wishes.drain(..) {
            session.put(key, wish);
        }
        for key in forgotten {
            session.forget(key);
        }
        let size = session.order.len();
        session.epoch = next_epoch(epoch);
        session.used = now;
        self.partitions = self.partitions - before + size;
        if size == 0 {
            self.remove(id);
            return Ok(Relation::Sessionless);
        }
        if is_strange || (size > before && !(self.fits(size) && self.make_room(now, 0, 0))) {
            // It grew beyond what there is: the reader begins again, and gets no session then.
            self.remove(id);
            return Err(SessionError::Unknown);
        }
        let session = self.sessions.get_mut(&id).ok_or(SessionError::Unknown)?;
        wishes.extend(session.wishes());
        Ok(Relation::Incremental {
            id,
            epoch: session.epoch,
        })
    }

    /// Ends a request: notes what is told, and gives the session of the answer; `named` becomes
    /// which of its partitions are worth telling.
    ///
    /// # Errors
    /// The session went on without this request, or made room for another.
    pub(crate) fn finish<'p>(
        &mut self,
        now: Instant,
        relation: Relation,
        answers: impl ExactSizeIterator<Item = (&'p PartitionKey, &'p Wish, Told)>,
        named: &mut Vec<bool>,
    ) -> Result<i32, SessionError> {
        named.clear();
        match relation {
            Relation::Sessionless => {
                named.resize(answers.len(), true);
                Ok(NO_SESSION)
            }
            Relation::Full { by_id } => {
                named.resize(answers.len(), true);
                Ok(self.create(now, by_id, answers))
            }
            Relation::Incremental { id, epoch } => {
                let session = self.sessions.get_mut(&id).ok_or(SessionError::Unknown)?;
                if session.epoch != epoch {
                    return Err(SessionError::Epoch);
                }
                // What is served goes behind everything else, in its own order.
                for (key, _, told) in answers {
                    named.push(session.cached(key).is_none_or(|cached| cached.note(&told)));
                    if told.record_bytes > 0 {
                        session.rotate(key);
                    }
                }
                Ok(id)
            }
        }
    }

    /// Ends a request that is told nothing now: its session, as it is.
    ///
    /// # Errors
    /// The session went on without this request, or made room for another.
    pub(crate) fn go_on(&self, relation: Relation) -> Result<i32, SessionError> {
        match relation {
            Relation::Sessionless | Relation::Full { .. } => Ok(NO_SESSION),
            Relation::Incremental { id, epoch } => {
                let session = self.sessions.get(&id).ok_or(SessionError::Unknown)?;
                if session.epoch == epoch {
                    Ok(id)
                } else {
                    Err(SessionError::Epoch)
                }
            }
        }
    }

    /// A new session for what was just told, or [`NO_SESSION`] if there is no room for it.
    fn create<'p>(
        &mut self,
        now: Instant,
        by_id: bool,
        answers: impl ExactSizeIterator<Item = (&'p PartitionKey, &'p Wish, Told)>,
    ) -> i32 {
        let size = answers.len();
        if size == 0 || !self.fits(size) || !self.make_room(now, 1, size) {
            return NO_SESSION;
        }
        let mut session = Session {
            by_id,
            epoch: next_epoch(INITIAL_EPOCH),
            created: now,
            used: now,
            order: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        };
        for (key, wish, told) in answers {
            session.put(key.clone(), *wish);
            if let Some(cached) = session.cached(key) {
                cached.note(&told);
            }
        }
        let id = self.fresh_id();
        self.partitions += session.order.len();
        self.sessions.insert(id, session);
        id
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.order.len();
        }
    }

    /// True if one session may have this size.
    fn fits(&self, size: usize) -> bool {
        size <= SESSION_PARTITIONS_MAX.min(self.limits.partitions)
    }

    /// Makes room for so many new sessions and partitions; false, and nobody has to go, if there is
    /// none.
    ///
    /// Kafka's rule for slots: a session that nobody used for two minutes goes first; otherwise one
    /// that is two minutes old goes if it is smaller than the newcomer. Kafka has no rule for
    /// partitions; for those only what nobody uses has to go, however many sessions that takes: a
    /// large newcomer must not end many small readers.
    fn make_room(&mut self, now: Instant, sessions: usize, partitions: usize) -> bool {
        let lacks_slot = self.sessions.len() + sessions > self.limits.slots;
        let held = self.partitions + partitions;
        let mut excess = held.saturating_sub(self.limits.partitions);
        if !lacks_slot && excess == 0 {
            return true;
        }
        let mut stale: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| now.since(session.used) > STALE_AFTER)
            .map(|(&id, session)| (session.used, id, session.order.len()))
            .collect();
        stale.sort_unstable();
        let mut victims = Vec::new();
        for (_, id, size) in stale {
            if excess == 0 && !(lacks_slot && victims.is_empty()) {
                break;
            }
            excess = excess.saturating_sub(size);
            victims.push(id);
        }
        if victims.is_empty() && lacks_slot {
            let grown = self.sessions.iter();
            let grown = grown.filter(|(_, session)| now.since(session.created) > STALE_AFTER);
            let smallest = grown.min_by_key(|(_, session)| session.order.len());
            let smaller = smallest.filter(|(_, session)| session.order.len() < partitions);
            let Some((&id, session)) = smaller else {
                return false;
            };
            excess = excess.saturating_sub(session.order.len());
            victims.push(id);
        }
        if excess > 0 {
            return false;
        }
        self.evicted += victims.len() as u64;
        for id in victims {
            self.remove(id);
        }
        true
    }

    fn fresh_id(&mut self) -> i32 {
        loop {
            // An id is positive: 31 bits.
            let id = (self.random.next() >> 33) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

/// True if a topic's name cannot be one. Such names may be long, and no session remembers them.
fn has_illegal_topic(wishes: &[(PartitionKey, Wish)]) -> bool {
    wishes
        .iter()
        .any(|(key, _)| matches!(key.topic, TopicKey::Illegal(_)))
}

const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use klamm_model::TopicName;

    use super::*;

    const START: Instant = Instant(0);
    const FULL: SessionRequest = SessionRequest {
        id: 0,
        epoch: 0,
        by_id: false,
    };
    const QUIET: Told = Told {
        failed: false,
        diverged: false,
        record_bytes: 0,
        high_watermark: 10,
        log_start: 0,
    };

    fn limits(slots: usize, partitions: usize) -> SessionLimits {
        SessionLimits { slots, partitions }
    }

    fn key(index: i32) -> PartitionKey {
        let topic = TopicKey::Name(TopicName::new("t").expect("legal"));
        PartitionKey { topic, index }
    }

    fn wish(offset: i64) -> Wish {
        Wish {
            offset,
            leader_epoch: -1,
            last_epoch: -1,
            bytes_max: 100,
        }
    }

    fn wishes(indexes: &[i32]) -> Vec<(PartitionKey, Wish)> {
        indexes.iter().map(|&index| (key(index), wish(0))).collect()
    }

    fn after(seconds: u64) -> Instant {
        START.plus(Duration::from_secs(seconds))
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Finished {
        id: i32,
        named: Vec<bool>,
    }

    fn finish(
        sessions: &mut FetchSessions,
        now: Instant,
        relation: Relation,
        wishes: &[(PartitionKey, Wish)],
        told: impl Fn(i32) -> Told,
    ) -> Result<Finished, SessionError> {
        let answers = wishes
            .iter()
            .map(|(key, wish)| (key, wish, told(key.index)));
        let mut named = Vec::new();
        let id = sessions.finish(now, relation, answers, &mut named)?;
        Ok(Finished { id, named })
    }

    fn begin(
        sessions: &mut FetchSessions,
        now: Instant,
        request: SessionRequest,
        mut wishes: Vec<(PartitionKey, Wish)>,
        forgotten: &[PartitionKey],
    ) -> Result<(Relation, Vec<(PartitionKey, Wish)>), SessionError> {
        let relation = sessions.begin(now, request, &mut wishes, forgotten)?;
        Ok((relation, wishes))
    }

    /// Begins a session over these partitions; its id.
    fn open(sessions: &mut FetchSessions, now: Instant, indexes: &[i32]) -> i32 {
        let (relation, all) =
            begin(sessions, now, FULL, wishes(indexes), &[]).expect("a full request");
        finish(sessions, now, relation, &all, |_| QUIET)
            .expect("a full request")
            .id
    }

    fn next(
        sessions: &mut FetchSessions,
        id: i32,
        epoch: i32,
        told: impl Fn(i32) -> Told,
    ) -> Result<(Vec<i32>, Vec<i32>), SessionError> {
        let request = SessionRequest {
            id,
            epoch,
            by_id: false,
        };
        let (relation, all) = begin(sessions, START, request, Vec::new(), &[])?;
        let finished = finish(sessions, START, relation, &all, told)?;
        let order: Vec<i32> = all.iter().map(|(key, _)| key.index).collect();
        let named = order
            .iter()
            .zip(&finished.named)
            .filter(|(_, named)| **named);
        let named = named.map(|(index, _)| *index).collect();
        Ok((order, named))
    }

    #[test]
    fn a_session_names_only_what_changed() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0, 1, 2]);
        assert!(id > 0);
        let moved = |index| Told {
            high_watermark: 10 + i64::from(index == 1),
            ..QUIET
        };
        let (_, named) = next(&mut sessions, id, 1, moved).expect("in order");
        assert_eq!(named, [1]);
        let (_, named) = next(&mut sessions, id, 2, moved).expect("in order");
        assert!(named.is_empty());
    }

    #[test]
    fn an_error_is_told_until_it_is_over_and_its_end_is_told_too() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0]);
        let failed = |_| Told {
            failed: true,
            high_watermark: -1,
            log_start: -1,
            ..QUIET
        };
        assert_eq!(next(&mut sessions, id, 1, failed).expect("in order").1, [0]);
        assert_eq!(next(&mut sessions, id, 2, failed).expect("in order").1, [0]);
        assert_eq!(
            next(&mut sessions, id, 3, |_| QUIET).expect("in order").1,
            [0]
        );
        assert!(
            next(&mut sessions, id, 4, |_| QUIET)
                .expect("in order")
                .1
                .is_empty()
        );
    }

    #[test]
    fn partitions_that_were_served_go_to_the_end() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0, 1, 2]);
        let data = |index| Told {
            record_bytes: usize::from(index == 0),
            ..QUIET
        };
        assert_eq!(
            next(&mut sessions, id, 1, data).expect("in order").0,
            [0, 1, 2]
        );
        assert_eq!(
            next(&mut sessions, id, 2, data).expect("in order").0,
            [1, 2, 0]
        );
    }

    #[test]
    fn only_the_next_epoch_of_a_known_session_is_served() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0]);
        assert_eq!(
            next(&mut sessions, id, 2, |_| QUIET),
            Err(SessionError::Epoch)
        );
        assert_eq!(
            next(&mut sessions, id + 1, 1, |_| QUIET),
            Err(SessionError::Unknown)
        );
        let by_id = SessionRequest {
            id,
            epoch: 1,
            by_id: true,
        };
        let refused = begin(&mut sessions, START, by_id, Vec::new(), &[]);
        assert_eq!(refused, Err(SessionError::TopicIds));
        assert!(next(&mut sessions, id, 1, |_| QUIET).is_ok());
        assert_eq!(
            next(&mut sessions, id, 1, |_| QUIET),
            Err(SessionError::Epoch)
        );
    }

    #[test]
    fn a_repeated_request_cannot_answer_for_its_successor() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0]);
        let ask = |epoch| SessionRequest {
            id,
            epoch,
            by_id: false,
        };
        let (slow, all) = begin(&mut sessions, START, ask(1), Vec::new(), &[]).expect("in order");
        begin(&mut sessions, START, ask(2), Vec::new(), &[]).expect("in order");
        let late = finish(&mut sessions, START, slow, &all, |_| QUIET);
        assert_eq!(late, Err(SessionError::Epoch));
    }

    #[test]
    fn wishes_are_added_changed_and_forgotten() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0, 1]);
        let request = SessionRequest {
            id,
            epoch: 1,
            by_id: false,
        };
        let changed = vec![(key(1), wish(7)), (key(2), wish(8))];
        let (_, all) = begin(&mut sessions, START, request, changed, &[key(0)]).expect("in order");
        assert_eq!(all, [(key(1), wish(7)), (key(2), wish(8))]);
    }

    #[test]
    fn a_session_ends_with_its_last_partition_or_by_a_full_request() {
        let mut sessions = FetchSessions::new(limits(2, 100), 1);
        let id = open(&mut sessions, START, &[0]);
        let request = SessionRequest {
            id,
            epoch: 1,
            by_id: false,
        };
        let ended = begin(&mut sessions, START, request, Vec::new(), &[key(0)]);
        assert_eq!(ended, Ok((Relation::Sessionless, Vec::new())));
        assert_eq!(sessions.len(), 0);

        let id = open(&mut sessions, START, &[0]);
        let last = SessionRequest {
            id,
            epoch: -1,
            by_id: false,
        };
        begin(&mut sessions, START, last, wishes(&[0]), &[]).expect("a full request");
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn a_full_table_gives_no_session_until_one_is_stale() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let first = open(&mut sessions, START, &[0]);
        assert_ne!(first, NO_SESSION);
        assert_eq!(open(&mut sessions, after(60), &[0]), NO_SESSION);
        assert_ne!(open(&mut sessions, after(121), &[0]), NO_SESSION);
        assert_eq!((sessions.len(), sessions.evicted()), (1, 1));
        assert_eq!(
            next(&mut sessions, first, 1, |_| QUIET),
            Err(SessionError::Unknown)
        );
    }

    #[test]
    fn a_larger_reader_displaces_a_smaller_one_that_is_old_enough() {
        let mut sessions = FetchSessions::new(limits(1, 100), 1);
        let id = open(&mut sessions, START, &[0, 1]);
        let used = SessionRequest {
            id,
            epoch: 1,
            by_id: false,
        };
        begin(&mut sessions, after(100), used, Vec::new(), &[]).expect("in order");
        assert_eq!(open(&mut sessions, after(110), &[0, 1, 2]), NO_SESSION);
        assert_eq!(open(&mut sessions, after(130), &[0, 1]), NO_SESSION);
        assert_ne!(open(&mut sessions, after(130), &[0, 1, 2]), NO_SESSION);
    }

    #[test]
    fn partitions_of_all_sessions_have_a_ceiling_that_only_what_is_stale_yields_to() {
        let mut sessions = FetchSessions::new(limits(10, 5), 1);
        let first = open(&mut sessions, START, &[0, 1]);
        let second = open(&mut sessions, after(10), &[0, 1]);
        assert_ne!((first, second), (NO_SESSION, NO_SESSION));
        assert_eq!(open(&mut sessions, after(20), &[0, 1]), NO_SESSION);
        assert_ne!(open(&mut sessions, after(20), &[0]), NO_SESSION);
        assert_eq!(sessions.partitions(), 5);
        // The first is stale now and not enough, so it stays for as long.
        assert_eq!(open(&mut sessions, after(125), &[0, 1, 2]), NO_SESSION);
        assert_eq!((sessions.len(), sessions.evicted()), (3, 0));
        assert_ne!(open(&mut sessions, after(135), &[0, 1, 2]), NO_SESSION);
        assert_eq!((sessions.len(), sessions.evicted()), (2, 2));
        assert_eq!(sessions.partitions(), 4);
        assert_eq!(
            open(&mut sessions, after(135), &[0, 1, 2, 3, 4, 5]),
            NO_SESSION
        );
    }

    #[test]
    fn a_session_that_grows_beyond_the_ceiling_ends_and_leaves_its_room() {
        let mut sessions = FetchSessions::new(limits(10, 5), 1);
        let id = open(&mut sessions, START, &[0, 1]);
        open(&mut sessions, START, &[0, 1]);
        let more = |epoch| SessionRequest {
            id,
            epoch,
            by_id: false,
        };
        begin(&mut sessions, START, more(1), wishes(&[2]), &[]).expect("there is room");
        assert_eq!(sessions.partitions(), 5);
        let refused = begin(&mut sessions, START, more(2), wishes(&[3]), &[]);
        assert_eq!(refused, Err(SessionError::Unknown));
        assert_eq!((sessions.len(), sessions.partitions()), (1, 2));
    }

    #[test]
    fn names_that_cannot_be_topics_are_not_remembered() {
        let mut sessions = FetchSessions::new(limits(10, 5), 1);
        let strange = || {
            let topic = TopicKey::Illegal("/".repeat(30_000).into());
            vec![(PartitionKey { topic, index: 0 }, wish(0))]
        };
        let (relation, _) = begin(&mut sessions, START, FULL, strange(), &[]).expect("is answered");
        assert_eq!(relation, Relation::Sessionless);
        let id = open(&mut sessions, START, &[0]);
        let more = SessionRequest {
            id,
            epoch: 1,
            by_id: false,
        };
        let refused = begin(&mut sessions, START, more, strange(), &[]);
        assert_eq!(refused, Err(SessionError::Unknown));
        assert_eq!((sessions.len(), sessions.partitions()), (0, 0));
    }

    #[test]
    fn every_core_has_room_for_one_large_reader() {
        for cores in [1, 2, 3, 64] {
            let all: Vec<_> = (0..cores)
                .map(|core| SessionLimits::of_core(1000, core, cores))
                .collect();
            assert_eq!(all.iter().map(|one| one.slots).sum::<usize>(), 1000);
            assert!(
                all.iter()
                    .all(|one| one.partitions >= SESSION_PARTITIONS_MAX)
            );
        }
    }

    #[test]
    fn a_table_without_slots_gives_no_session() {
        let mut sessions = FetchSessions::new(limits(0, 100), 1);
        assert_eq!(open(&mut sessions, START, &[0]), NO_SESSION);
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!(next_epoch(i32::MAX), 1);
        assert_eq!(next_epoch(0), 1);
    }
}
