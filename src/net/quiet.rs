//! Keeps a flood of nonsense out of the trace: of each kind of line the first few are written at
//! once, then one a tick that says how many were not. Pure; `front.rs` owns one for each core and
//! tells it the ticks.

use std::collections::BTreeMap;

/// Lines of one kind that are written at once after a quiet time.
const AT_ONCE: u32 = 5;

/// What was written of one kind, and what was not.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Lines that may still be written at once; one more with each tick.
    allowed: u32,
    /// Lines that were not written since the last tick.
    suppressed: u64,
}

/// Counts lines by kind. Kinds are few and named in the code, never taken from peers.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    kinds: BTreeMap<&'static str, Kind>,
}

impl Quiet {
    /// True if a line of this kind may be written now; else it counts as suppressed.
    pub(crate) fn admit(&mut self, kind: &'static str) -> bool {
        let kind = self.kinds.entry(kind).or_insert(Kind {
            allowed: AT_ONCE,
            suppressed: 0,
        });
        if kind.allowed > 0 {
            kind.allowed -= 1;
            return true;
        }
        kind.suppressed += 1;
        false
    }

    /// A tick passed: how many lines of which kinds were suppressed since the last.
    pub(crate) fn tick(&mut self) -> Vec<(&'static str, u64)> {
        let mut suppressed = Vec::new();
        for (&name, kind) in &mut self.kinds {
            if kind.suppressed > 0 {
                suppressed.push((name, std::mem::take(&mut kind.suppressed)));
            } else {
                kind.allowed = AT_ONCE.min(kind.allowed + 1);
            }
        }
        suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_the_first_lines_and_then_one_a_tick_with_the_count() {
        let mut quiet = Quiet::default();
        let written = (0..1000).filter(|_| quiet.admit("frame")).count();
        assert_eq!(written, 5);
        assert!(quiet.admit("header"), "kinds do not share");
        assert_eq!(quiet.tick(), [("frame", 995)]);
        for _ in 0..3 {
            let written = (0..1000).filter(|_| quiet.admit("frame")).count();
            assert_eq!(written, 0);
            assert_eq!(quiet.tick(), [("frame", 1000)]);
        }
    }

    #[test]
    fn quiet_ticks_let_lines_be_written_at_once_again() {
        let mut quiet = Quiet::default();
        while quiet.admit("frame") {}
        assert_eq!(quiet.tick(), [("frame", 1)]);
        assert_eq!(quiet.tick(), []);
        assert!(quiet.admit("frame") && !quiet.admit("frame"));
        assert_eq!(quiet.tick(), [("frame", 1)]);
        for _ in 0..100 {
            assert_eq!(quiet.tick(), []);
        }
        let written = (0..1000).filter(|_| quiet.admit("frame")).count();
        assert_eq!(written, 5);
    }
}
