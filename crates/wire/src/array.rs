//! Arrays read in place: the bytes of a checked array and an exact-size iterator over them.

use std::{fmt, iter::FusedIterator, marker::PhantomData};

use crate::reader::Reader;

/// Something that can be read from a [`Reader`]; implemented by every view and array element.
pub trait Element<'a>: Sized {
    /// Size in bytes where it is the same in every version.
    const FIXED_SIZE: Option<usize> = None;

    /// Reads one value; a fault is kept by the reader.
    fn read(r: &mut Reader<'a>) -> Self;
}

macro_rules! elements {
    ($($kind:ty, $method:ident, $size:expr;)*) => {$(
        impl<'a> Element<'a> for $kind {
            const FIXED_SIZE: Option<usize> = $size;
            fn read(r: &mut Reader<'a>) -> Self {
                r.$method()
            }
        }
    )*};
}

elements! {
    bool, bool, Some(1);
    i8, i8, Some(1);
    i16, i16, Some(2);
    u16, u16, Some(2);
    i32, i32, Some(4);
    i64, i64, Some(8);
    f64, f64, Some(8);
    [u8; 16], uuid, Some(16);
    &'a str, string, None;
    &'a [u8], bytes, None;
}

/// An array inside a frame, already checked. Copying it copies no elements.
pub struct Array<'a, T> {
    bytes: &'a [u8],
    count: usize,
    version: i16,
    flexible: bool,
    element: PhantomData<T>,
}

impl<'a, T> Array<'a, T> {
    /// An array without elements.
    pub const EMPTY: Self = Self {
        bytes: &[],
        count: 0,
        version: 0,
        flexible: false,
        element: PhantomData,
    };

    // Invariant: `bytes` are exactly `count` elements that were walked without fault.
    pub(crate) fn new(bytes: &'a [u8], count: usize, version: i16, flexible: bool) -> Self {
        Self {
            bytes,
            count,
            version,
            flexible,
            element: PhantomData,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True where there is no element.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a, T: Element<'a>> Array<'a, T> {
    /// The elements in order, each read when it is asked for.
    pub fn iter(&self) -> ArrayIter<'a, T> {
        ArrayIter {
            reader: Reader::new(self.bytes, self.version, self.flexible),
            left: self.count,
            element: PhantomData,
        }
    }
}

impl<T> Clone for Array<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Array<'_, T> {}

impl<T> fmt::Debug for Array<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} items, {} bytes]", self.count, self.bytes.len())
    }
}

impl<'a, T: Element<'a>> IntoIterator for Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Element<'a>> IntoIterator for &Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator over an [`Array`].
#[derive(Debug)]
pub struct ArrayIter<'a, T> {
    reader: Reader<'a>,
    left: usize,
    element: PhantomData<T>,
}

impl<'a, T: Element<'a>> Iterator for ArrayIter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let element = T::read(&mut self.reader);
        assert!(
            self.reader.failure().is_none(),
            "a checked array reads without fault"
        );
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for ArrayIter<'a, T> {}
impl<'a, T: Element<'a>> FusedIterator for ArrayIter<'a, T> {}
