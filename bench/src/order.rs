//! Whether the batches of a log are those that were sent, each once and in their order. Fed with
//! stamps as they are read; every stream's numbers must rise by one in each partition.

use std::collections::HashMap;

use crate::stamp::Stamp;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begins {
    /// Before the run's first batch: number 0 must come first.
    AtFirst,
    /// Somewhere later: the first number seen is taken as it is.
    Anywhere,
}

/// Numbers seen by a reader.
#[derive(Clone, Debug)]
pub struct Order {
    run: u32,
    begins: Begins,
    /// The next number, by stream and partition.
    next: HashMap<(u32, usize), u64>,
    strangers: u64,
}

impl Order {
    /// Nothing seen of `run` yet.
    #[must_use]
    pub fn new(run: u32, begins: Begins) -> Self {
        Self {
            run,
            begins,
            next: HashMap::new(),
            strangers: 0,
        }
    }

    /// Takes the stamp of a batch in partition `place`.
    ///
    /// # Errors
    /// Words on what is wrong.
    pub fn see(&mut self, place: usize, stamp: &Stamp) -> Result<(), String> {
        if stamp.run != self.run {
            self.strangers += 1;
            return Ok(());
        }
        let key = (stamp.stream, place);
        let expected = match (self.next.get(&key), self.begins) {
            (Some(&next), _) => next,
            (None, Begins::AtFirst) => 0,
            (None, Begins::Anywhere) => stamp.number,
        };
        let (stream, number) = (stamp.stream, stamp.number);
        if number > expected {
            let text = format!("stream {stream}: lost, batch {number} comes where {expected} is");
            return Err(text);
        }
        if number < expected {
            let text = format!("stream {stream}: batch {number} comes again before {expected}");
            return Err(text);
        }
        self.next.insert(key, number + 1);
        Ok(())
    }

    /// Checks that all `sent` batches of a stream in a partition have been seen.
    ///
    /// # Errors
    /// Words on what is missing.
    pub fn ends(&self, stream: u32, place: usize, sent: u64) -> Result<(), String> {
        match (self.next.get(&(stream, place)), self.begins) {
            (Some(&next), _) if next != sent => Err(format!(
                "stream {stream}: {sent} batches sent, {next} there"
            )),
            (None, Begins::AtFirst) if sent > 0 => {
                Err(format!("stream {stream}: {sent} batches sent, none there"))
            }
            // What begins anywhere may begin behind a stream's last batch.
            _ => Ok(()),
        }
    }

    /// Batches of other runs that were passed over.
    #[must_use]
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(stream: u32, number: u64) -> Stamp {
        Stamp {
            run: 7,
            stream,
            number,
            intended_ns: 0,
        }
    }

    fn seen(begins: Begins, stamps: &[(u32, u64)]) -> Result<Order, String> {
        let mut order = Order::new(7, begins);
        for &(stream, number) in stamps {
            order.see(3, &stamp(stream, number))?;
        }
        Ok(order)
    }

    #[test]
    fn streams_count_apart_and_partitions_too() {
        let mut order = seen(Begins::AtFirst, &[(1, 0), (2, 0), (1, 1)]).expect("in order");
        order.see(4, &stamp(1, 0)).expect("another partition");
        order.ends(1, 3, 2).expect("both");
        order.ends(9, 3, 0).expect("nothing sent, nothing there");
    }

    #[test]
    fn lost_doubled_and_exchanged_batches_are_told_apart() {
        let told = |stamps: &[(u32, u64)]| seen(Begins::AtFirst, stamps).map(drop).expect_err("");
        assert!(told(&[(1, 0), (1, 2)]).contains("lost"));
        assert!(told(&[(1, 1)]).contains("lost"), "the first one");
        assert!(told(&[(1, 0), (1, 0)]).contains("again"));
        assert!(told(&[(1, 0), (1, 1), (1, 0)]).contains("again"));
        let order = seen(Begins::AtFirst, &[(1, 0)]).expect("one");
        assert!(
            order
                .ends(1, 3, 2)
                .expect_err("the last")
                .contains("2 batches sent, 1")
        );
        assert!(order.ends(2, 3, 1).expect_err("all").contains("none"));
    }

    #[test]
    fn reader_in_the_middle_takes_the_first_number_and_then_insists() {
        seen(Begins::Anywhere, &[(1, 5), (1, 6)]).expect("in order");
        assert!(seen(Begins::Anywhere, &[(1, 5), (1, 7)]).is_err());
    }

    #[test]
    fn other_runs_are_passed_over() {
        let mut order = Order::new(8, Begins::AtFirst);
        order.see(0, &stamp(1, 5)).expect("not ours");
        assert_eq!(order.strangers(), 1);
    }
}
