//! Zigzag varints as records hold them. Bits beyond the number's width are dropped, as Kafka's
//! `ByteUtils` drops them; a number that goes on beyond its last byte is refused.

/// Appends `value`.
pub(crate) fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends `value`.
pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Decodes the zigzag form.
pub(crate) const fn signed_i32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Decodes the zigzag form.
pub(crate) const fn signed_i64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
