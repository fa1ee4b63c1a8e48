//! Big-endian fields at fixed places. The caller has checked the length before: a place outside
//! the slice is a bug of this crate, not of the bytes.

/// The `N` bytes at `at`.
#[inline]
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a place inside the slice")
}

/// Writes `field` at `at`. Its size is a constant, so that it is moved, not copied by a call.
#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: &[u8; N]) {
    let place = bytes[at..].first_chunk_mut();
    *place.expect("a place inside the slice") = *field;
}

/// The same for a field of any size.
pub(crate) fn put_bytes(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

macro_rules! readers {
    ($($name:ident: $number:ty),*) => {
        $(
            /// The big-endian number at `at`.
            #[inline]
            pub(crate) fn $name(bytes: &[u8], at: usize) -> $number {
                <$number>::from_be_bytes(bytes_at(bytes, at))
            }
        )*
    };
}

readers!(i16_at: i16, i32_at: i32, i64_at: i64, u32_at: u32, u64_at: u64);
