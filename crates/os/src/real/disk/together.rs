//! Many blocking operations on the disk at a time, for boot: a disk takes about as long for ten
//! flushes that it gets together as for one.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most threads at a time.
const THREADS_MAX: usize = 16;

/// Does `work` for each item, many at a time, and waits for all of them. After the first error no
/// more are begun; that error is given with its item. Blocks.
///
/// # Errors
/// The first one; other items may be done or not.
pub fn together<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> io::Result<()> + Sync,
) -> Result<(), (&T, io::Error)> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let lane = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert((item, error));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(THREADS_MAX) {
            // Where no thread can be had, this one does the work alone.
            if std::thread::Builder::new()
                .spawn_scoped(scope, lane)
                .is_err()
            {
                break;
            }
        }
        lane();
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_item_is_done_once() {
        for count in [0, 1, 2, 15, 16, 17, 300] {
            let items: Vec<_> = (0..count).collect();
            let done = Mutex::new(Vec::new());
            together(&items, |&item| {
                done.lock().expect("no lane panics").push(item);
                Ok(())
            })
            .expect("no item fails");
            let done = done.into_inner().expect("no lane panics");
            assert_eq!(done.len(), count);
            assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), count);
        }
    }

    #[test]
    fn first_error_is_given_with_its_item() {
        let items: Vec<_> = (0..1000).collect();
        let failed = together(&items, |&item| {
            let fails = item == 3;
            if fails {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        });
        let (item, error) = failed.expect_err("one fails");
        assert_eq!((*item, error.kind()), (3, io::ErrorKind::StorageFull));
    }
}
