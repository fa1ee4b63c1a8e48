//! Where the time of requests goes, by API: waiting for their turn, at work, waiting for what the
//! answer depends on, and being sent. Each request's moments travel with it; a core counts them in
//! buckets once its answer is sent.
//!
//! ```text
//!  arrived        begun         placed            ready                       sent
//!  |    queue     |     log     |       wait       |  behind others  | send    |
//! ```

use std::cell::RefCell;

use klamm_os::clock;
use klamm_shard::{Stock, Times, TimesTaken};
use klamm_wire::ApiKey;

/// When things happened to one request, in nanoseconds of the monotonic clock. Each moment is at
/// least the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// Number of the API.
    key: i16,
    /// Its last byte was read.
    arrived: u64,
    /// Work on it began.
    begun: u64,
    /// All was done that needs no waiting: a Produce has its place in the logs.
    placed: u64,
    /// The answer was complete.
    ready: u64,
}

impl Moments {
    /// Of a request whose work has not begun.
    pub(crate) const fn arrived(key: i16, arrived: u64) -> Self {
        Self {
            key,
            arrived,
            begun: arrived,
            placed: arrived,
            ready: arrived,
        }
    }

    pub(crate) const fn begin(&mut self, now: u64) {
        self.begun = now;
        self.placed = now;
    }

    pub(crate) const fn place(&mut self, now: u64) {
        self.placed = now;
    }

    pub(crate) const fn complete(&mut self, now: u64) {
        self.ready = now;
    }
}

/// Times of the requests of one API, by part.
#[derive(Debug)]
struct ApiTimes {
    key: ApiKey,
    queue: Times,
    log: Times,
    wait: Times,
    behind: Times,
    send: Times,
    total: Times,
}

/// The same as they were at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ApiTimesTaken {
    pub(crate) key: ApiKey,
    pub(crate) queue: TimesTaken,
    pub(crate) log: TimesTaken,
    pub(crate) wait: TimesTaken,
    pub(crate) behind: TimesTaken,
    pub(crate) send: TimesTaken,
    pub(crate) total: TimesTaken,
}

/// Times of the requests of one core.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// By number of the API; `None` until it is asked for.
    apis: RefCell<Vec<Option<Box<ApiTimes>>>>,
    /// What connections collect between two sends.
    spares: Stock<Vec<Moments>>,
}

impl Latencies {
    /// A list for answers that are about to be sent.
    pub(crate) fn take(&self) -> Vec<Moments> {
        self.spares.take()
    }

    /// The answers have left, if they did.
    pub(crate) fn sent(&self, answers: Vec<Moments>, have_left: bool) {
        if let Some(last) = answers.last().filter(|_| have_left) {
            self.count(&answers, last.ready, clock::monotonic_ns());
        }
        if answers.capacity() > 0 {
            self.spares.give(answers);
        }
    }

    /// `sending` is when the kernel was given the first byte.
    fn count(&self, answers: &[Moments], sending: u64, sent: u64) {
        let mut apis = self.apis.borrow_mut();
        for moments in answers {
            let Some(key) = ApiKey::from_number(moments.key) else {
                continue;
            };
            let number = usize::try_from(moments.key).unwrap_or(0);
            if apis.len() <= number {
                apis.resize_with(number + 1, || None);
            }
            let times = apis[number].get_or_insert_with(|| Box::new(ApiTimes::of(key)));
            times.queue.add_ns(between(moments.arrived, moments.begun));
            times.log.add_ns(between(moments.begun, moments.placed));
            times.wait.add_ns(between(moments.placed, moments.ready));
            times.behind.add_ns(between(moments.ready, sending));
            times.send.add_ns(between(sending, sent));
            times.total.add_ns(between(moments.arrived, sent));
        }
    }

    /// Every API that was asked for, by number.
    pub(crate) fn taken(&self) -> Vec<ApiTimesTaken> {
        let apis = self.apis.borrow();
        apis.iter().flatten().map(|times| times.taken()).collect()
    }
}

impl ApiTimes {
    fn of(key: ApiKey) -> Self {
        Self {
            key,
            queue: Times::coarse(),
            log: Times::coarse(),
            wait: Times::coarse(),
            behind: Times::coarse(),
            send: Times::coarse(),
            total: Times::coarse(),
        }
    }

    fn taken(&self) -> ApiTimesTaken {
        ApiTimesTaken {
            key: self.key,
            queue: self.queue.taken(),
            log: self.log.taken(),
            wait: self.wait.taken(),
            behind: self.behind.taken(),
            send: self.send.taken(),
            total: self.total.taken(),
        }
    }
}

const fn between(earlier: u64, later: u64) -> u64 {
    later.saturating_sub(earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_request_add_up_to_its_total() {
        let latencies = Latencies::default();
        let mut first = Moments::arrived(ApiKey::Produce.number(), 1_000_000);
        first.begin(1_002_000);
        first.place(1_005_000);
        first.complete(1_012_000);
        let mut second = Moments::arrived(ApiKey::Fetch.number(), 1_000_000);
        second.complete(1_020_000);
        latencies.count(&[first, second], 1_020_000, 1_030_000);
        let taken = latencies.taken();
        assert_eq!(taken.len(), 2);
        let produce = &taken[0];
        assert_eq!(produce.key, ApiKey::Produce);
        let parts = [
            &produce.queue,
            &produce.log,
            &produce.wait,
            &produce.behind,
            &produce.send,
        ];
        assert_eq!(parts.map(|times| times.sum_us), [2, 3, 7, 8, 10]);
        assert_eq!(produce.total.sum_us, 30);
        assert_eq!(taken[1].key, ApiKey::Fetch);
        assert_eq!(taken[1].wait.sum_us, 20);
    }

    #[test]
    fn nothing_sent_counts_nothing() {
        let latencies = Latencies::default();
        latencies.sent(vec![Moments::arrived(0, 5)], false);
        latencies.sent(latencies.take(), true);
        assert!(latencies.taken().is_empty());
    }
}
