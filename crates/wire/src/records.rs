//! Record bytes of one partition, held by reference while a message waits to be encoded.

use bytes::Bytes;

/// Record batches as a list of shared slices; what they mean is another room's business.
/// One slice, the usual case, takes no list.
#[derive(Clone, Debug, Default)]
pub struct Records(Slices);

#[derive(Clone, Debug, Default)]
enum Slices {
    #[default]
    None,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Records {
    /// Copies `bytes`.
    pub fn copied(bytes: &[u8]) -> Self {
        Self::from(Bytes::copy_from_slice(bytes))
    }

    /// Appends a slice without copying it.
    pub fn push(&mut self, slice: Bytes) {
        self.0 = match std::mem::take(&mut self.0) {
            Slices::None => Slices::One(slice),
            Slices::One(first) => Slices::Many(vec![first, slice]),
            Slices::Many(mut slices) => {
                slices.push(slice);
                Slices::Many(slices)
            }
        };
    }

    /// The slices in order.
    pub fn slices(&self) -> &[Bytes] {
        match &self.0 {
            Slices::None => &[],
            Slices::One(slice) => std::slice::from_ref(slice),
            Slices::Many(slices) => slices,
        }
    }

    /// The list of several slices, for its memory; empty where there was none.
    pub fn into_list(self) -> Vec<Bytes> {
        match self.0 {
            Slices::None | Slices::One(_) => Vec::new(),
            Slices::Many(slices) => slices,
        }
    }

    /// Sum of all slices in bytes.
    pub fn len(&self) -> usize {
        self.slices().iter().map(Bytes::len).sum()
    }

    /// True where there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Records {
    fn from(slice: Bytes) -> Self {
        Self(Slices::One(slice))
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(slices: Vec<Bytes>) -> Self {
        Self(Slices::Many(slices))
    }
}

/// Equal where the joined bytes are, however they are sliced.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.slices().iter(), other.slices().iter());
        left.flat_map(|slice| slice.iter())
            .eq(right.flat_map(|slice| slice.iter()))
    }
}
