//! A request as it goes into a socket: a few bytes of its own (correlation id, stamps, checksums)
//! between long runs that it shares with every other request made from the same template.

use std::{io::IoSlice, ops::Range, rc::Rc};

/// Bytes of a frame up to the end of its correlation id: size, key, version, id.
pub const HEAD_BYTES: usize = 12;

/// A stretch of own bytes and the shared run that follows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Where the stretch ends in the own bytes.
    pub own_end: usize,
    /// What follows it, in the shared bytes.
    pub shared: Range<usize>,
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Frame {
    own: Vec<u8>,
    shared: Rc<[u8]>,
    cuts: Rc<[Cut]>,
}

impl Frame {
    /// A request that shares nothing; it begins with its size.
    #[must_use]
    pub fn whole(own: Vec<u8>) -> Self {
        assert!(own.len() >= HEAD_BYTES, "a request has a head");
        let nothing: Rc<[u8]> = Rc::from([]);
        let cut = Cut {
            own_end: own.len(),
            shared: 0..0,
        };
        Self {
            own,
            shared: nothing,
            cuts: Rc::from([cut]),
        }
    }

    /// A request of own stretches between runs of `shared`.
    #[must_use]
    pub fn cut(own: Vec<u8>, shared: Rc<[u8]>, cuts: Rc<[Cut]>) -> Self {
        assert!(own.len() >= HEAD_BYTES, "the head is a request's own");
        let ends_match = cuts.last().is_some_and(|cut| cut.own_end == own.len());
        assert!(ends_match, "the cuts use all own bytes");
        Self { own, shared, cuts }
    }

    /// Bytes of the request.
    #[must_use]
    pub fn size(&self) -> usize {
        self.own.len() + self.cuts.iter().map(|cut| cut.shared.len()).sum::<usize>()
    }

    /// Writes the correlation id in its place.
    pub fn correlate(&mut self, correlation_id: i32) {
        self.own[8..HEAD_BYTES].copy_from_slice(&correlation_id.to_be_bytes());
    }

    /// The pieces behind the first `written` bytes.
    pub fn pieces(&self, written: usize) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = written;
        let mut own_start = 0;
        self.cuts
            .iter()
            .flat_map(move |cut| {
                let own = &self.own[own_start..cut.own_end];
                own_start = cut.own_end;
                [own, &self.shared[cut.shared.clone()]]
            })
            .filter_map(move |piece| {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                let rest = &piece[skipped..];
                (!rest.is_empty()).then(|| IoSlice::new(rest))
            })
    }

    /// All bytes in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces(0).flat_map(|piece| piece.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_frame_from_wherever_writing_stopped() {
        let cuts: Rc<[Cut]> = Rc::from([
            Cut {
                own_end: 12,
                shared: 2..5,
            },
            Cut {
                own_end: 14,
                shared: 5..5,
            },
        ]);
        let mut frame = Frame::cut((0..14).collect(), Rc::from([90, 91, 92, 93, 94]), cuts);
        frame.correlate(0x0102_0304);
        let expected = [0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 92, 93, 94, 12, 13];
        assert_eq!(frame.to_vec(), expected);
        assert_eq!(frame.size(), expected.len());
        for written in 0..=expected.len() {
            let rest: Vec<u8> = frame.pieces(written).flat_map(|p| p.to_vec()).collect();
            assert_eq!(rest, expected[written..], "after {written}");
        }
    }
}
