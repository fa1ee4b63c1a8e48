//! The checksum of a batch whose first bytes change with every send, without touching the rest:
//! CRC is affine, so `crc(head + rest)` follows from `crc(head)` by one 32 x 32 bit matrix and one
//! constant that depend on the rest alone. Made once per batch; used for every send.

use klamm_records::checksum::{crc32c, crc32c_extend};

/// What the unchanging rest of some bytes does to the checksum of what stands before it.
#[derive(Clone, Debug)]
pub struct Seal {
    columns: [u32; 32],
    of_nothing: u32,
}

impl Seal {
    /// The seal of `rest`.
    #[must_use]
    pub fn new(rest: &[u8]) -> Self {
        let of_nothing = crc32c_extend(0, rest);
        let mut columns = [0; 32];
        for (bit, column) in columns.iter_mut().enumerate() {
            *column = crc32c_extend(1 << bit, rest) ^ of_nothing;
        }
        Self {
            columns,
            of_nothing,
        }
    }

    /// CRC-32C of `head` followed by the rest.
    #[must_use]
    pub fn checksum(&self, head: &[u8]) -> u32 {
        let mut of_head = crc32c(head);
        let mut checksum = self.of_nothing;
        while of_head != 0 {
            checksum ^= self.columns[of_head.trailing_zeros() as usize];
            of_head &= of_head - 1;
        }
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Random;

    #[test]
    fn sealed_checksum_is_that_of_all_bytes() {
        let mut random = Random::new(5);
        for length in [0, 1, 7, 64, 1000, 65_536] {
            let rest: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            let seal = Seal::new(&rest);
            for _ in 0..20 {
                let head: Vec<u8> = (0..90).map(|_| random.bits() as u8).collect();
                let all = [head.clone(), rest.clone()].concat();
                assert_eq!(seal.checksum(&head), crc32c(&all), "rest of {length}");
            }
        }
    }
}
