//! What records hold: values that look like what services write, and keys. Pure; one seed, one
//! content.

use std::io::Write as _;

use crate::{schedule::Random, workload::Payload};

/// Fills `value` as `payload` says.
pub fn fill(payload: Payload, value: &mut [u8], random: &mut Random) {
    match payload {
        Payload::Json => fill_with_events(value, random),
        Payload::Random => {
            for part in value.chunks_mut(8) {
                let bits = random.bits().to_be_bytes();
                part.copy_from_slice(&bits[..part.len()]);
            }
        }
    }
}

/// Events as JSON, one after the other until `value` is full.
fn fill_with_events(value: &mut [u8], random: &mut Random) {
    const PAGES: [&str; 8] = [
        "/",
        "/cart",
        "/checkout",
        "/search",
        "/item",
        "/login",
        "/account",
        "/help",
    ];
    const COUNTRIES: [&str; 6] = ["DE", "FR", "US", "IN", "BR", "JP"];
    const KINDS: [&str; 4] = ["view", "click", "purchase", "error"];
    let mut rest = value;
    while !rest.is_empty() {
        let mut pick = |below: usize| (random.bits() % below as u64) as usize;
        let (kind, page) = (KINDS[pick(4)], PAGES[pick(8)]);
        let (country, user) = (COUNTRIES[pick(6)], pick(1 << 20));
        let (took, second, millisecond) = (pick(400), pick(60), pick(1000));
        let session = pick(1 << 32);
        let trace = random.bits();
        let event = format!(
            "{{\"event\":\"{kind}\",\"at\":\"2026-01-31T09:41:{second:02}.{millisecond:03}Z\",\
             \"user\":{user},\"session\":\"{session:08x}\",\"trace\":\"{trace:016x}\",\"page\":\"{page}\",\
             \"country\":\"{country}\",\"took_ms\":{took},\"version\":\"4.2.1\",\
             \"service\":\"storefront\"}}\n"
        );
        let size = event.len().min(rest.len());
        let (filled, left) = rest.split_at_mut(size);
        filled.copy_from_slice(&event.as_bytes()[..size]);
        rest = left;
    }
}

/// Writes one of `keys` different keys of digits.
pub fn choose_key(key: &mut [u8], keys: u64, random: &mut Random) {
    let number = random.bits() % keys.max(1);
    let width = key.len();
    let mut out = &mut *key;
    // Always fits: a workload whose digits would not has been refused.
    let _ = write!(out, "{number:0width$}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::Compression;
    use klamm_records::compress::Compressor;

    #[test]
    fn events_compress_to_about_a_quarter() {
        let mut random = Random::new(3);
        let mut bytes = Vec::new();
        while bytes.len() < 64 << 10 {
            let mut value = [0; 1024];
            fill(Payload::Json, &mut value, &mut random);
            bytes.extend_from_slice(&value);
        }
        for codec in [
            Compression::Lz4,
            Compression::Zstd,
            Compression::Snappy,
            Compression::Gzip,
        ] {
            let packed = Compressor::from(codec).compress(&bytes).len();
            let ratio = bytes.len() as f64 / packed as f64;
            assert!((2.8..7.0).contains(&ratio), "{codec:?}: {ratio:.2}");
        }
    }

    #[test]
    fn random_values_differ_and_fill_every_byte() {
        let mut random = Random::new(3);
        let (mut one, mut other) = ([0; 1001], [0; 1001]);
        fill(Payload::Random, &mut one, &mut random);
        fill(Payload::Random, &mut other, &mut random);
        assert_ne!(one, other);
        assert_ne!(one[993..], [0; 8]);
    }

    #[test]
    fn keys_are_digits_below_their_number() {
        let mut random = Random::new(3);
        for _ in 0..100 {
            let mut key = [0; 8];
            choose_key(&mut key, 50, &mut random);
            let text = std::str::from_utf8(&key).expect("digits");
            assert!(text.parse::<u64>().expect("a number") < 50, "{text}");
        }
    }
}
