//! Big-endian fields at fixed places. The caller has checked the length before: a place outside
//! the slice is a bug of this crate, not of the bytes.

/// The `N` bytes at `at`.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Writes `field` at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

macro_rules! readers {
    ($($name:ident: $number:ty),*) => {
        $(
            /// The big-endian number at `at`.
            pub(crate) fn $name(bytes: &[u8], at: usize) -> $number {
                <$number>::from_be_bytes(bytes_at(bytes, at))
            }
        )*
    };
}

readers!(i16_at: i16, i32_at: i32, i64_at: i64, u32_at: u32, u64_at: u64);
