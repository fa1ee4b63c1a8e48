//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): two keys of records that fall
//! together would cost one of them its latest value, so the hash is wide, and keyed with something
//! that no producer can know.

/// What the hash is keyed with; drawn anew by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub u128);

/// The hash of a record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash {
    /// The first eight bytes of the output.
    pub low: u64,
    /// The last eight.
    pub high: u64,
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline(always)]
    const fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    const fn squeeze(&mut self) -> u64 {
        self.round();
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }
}

/// Hashes a record's key.
#[must_use]
#[inline]
pub fn hash_of(key: HashKey, bytes: &[u8]) -> KeyHash {
    let (first, second) = (key.0 as u64, (key.0 >> 64) as u64);
    let mut state = State([
        first ^ 0x736f_6d65_7073_6575,
        second ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        first ^ 0x6c79_6765_6e65_7261,
        second ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    state.absorb(u64::from_le_bytes(last));
    state.0[2] ^= 0xee;
    let low = state.squeeze();
    state.0[1] ^= 0xdd;
    let high = state.squeeze();
    KeyHash { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vectors of the reference implementation: key 00 to 0f, input 00 to n - 1.
    #[test]
    fn the_hash_is_siphash_2_4_128() {
        let key = HashKey(u128::from_le_bytes(std::array::from_fn(|at| at as u8)));
        let expected = [
            "a3817f04ba25a8e66df67214c7550293",
            "da87c1d86b99af44347659119b22fc45",
            "8177228da4a45dc7fca38bdef60affe4",
            "9c70b60c5267a94e5f33b6b02985ed51",
        ];
        for (length, expected) in expected.into_iter().enumerate() {
            let input: Vec<u8> = (0..length as u8).collect();
            let hash = hash_of(key, &input);
            let bytes = [hash.low.to_le_bytes(), hash.high.to_le_bytes()].concat();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, expected, "of {length} bytes");
        }
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let key = HashKey(7);
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                assert!(seen.insert(hash_of(key, &bytes)), "{at} of {length}");
            }
            assert!(
                seen.insert(hash_of(key, &vec![0; length])),
                "{length} zeros"
            );
        }
    }
}
