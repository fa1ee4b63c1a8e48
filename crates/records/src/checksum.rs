//! The one checksum of batches, write-ahead log and checkpoint: CRC-32C (Castagnoli). Kept behind
//! this file so that the crate beneath can be exchanged by measurement.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C of what `checksum` covers followed by `bytes`.
#[must_use]
pub fn crc32c_extend(checksum: u32, bytes: &[u8]) -> u32 {
    let state = u64::from(!checksum);
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, state);
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_extend(crc32c(b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_second_implementation_agrees_at_every_length_and_place() {
        let bytes: Vec<u8> = (0..9000_u32)
            .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8)
            .collect();
        let lengths = (0..700).chain([1023, 1024, 1025, 4095, 4097, 8191, 8937]);
        for length in lengths {
            let bytes = &bytes[length % 63..][..length];
            let expected = crc32c::crc32c(bytes);
            assert_eq!(crc32c(bytes), expected, "{length} bytes");
            let (first, rest) = bytes.split_at(length / 3);
            assert_eq!(
                crc32c_extend(crc32c(first), rest),
                expected,
                "{length} bytes"
            );
        }
    }
}
