//! Deterministic source of arbitrary field values. The seed is the whole state at the start.

use std::borrow::Cow;

use klamm_model::Random;

use crate::Records;

pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn items<T: Sample>(&mut self, version: i16) -> Vec<T> {
        (0..self.below(4))
            .map(|_| T::sample(self, version))
            .collect()
    }

    fn length(&mut self) -> usize {
        // Now and then beyond one byte of varint.
        if self.below(16) == 0 {
            120 + self.below(20)
        } else {
            self.below(9)
        }
    }
}

/// An arbitrary value that a version can express.
pub(crate) trait Sample {
    fn sample(dice: &mut Dice, version: i16) -> Self;
}

macro_rules! samples {
    ($($kind:ty, $dice:ident => $value:expr;)*) => {$(
        impl Sample for $kind {
            fn sample($dice: &mut Dice, _version: i16) -> Self {
                $value
            }
        }
    )*};
}

samples! {
    bool, dice => dice.coin();
    i8, dice => dice.next() as i8;
    i16, dice => dice.next() as i16;
    u16, dice => dice.next() as u16;
    i32, dice => dice.next() as i32;
    i64, dice => dice.next() as i64;
    f64, dice => f64::from(dice.next() as i32) / 8.0;
    [u8; 16], dice => u128::from(dice.next()).pow(2).to_be_bytes();
    Cow<'static, str>, dice => {
        let letters = ['a', 'Z', '.', 'ß', '→', '🦀'];
        let length = dice.length();
        Cow::Owned((0..length).map(|_| letters[dice.below(letters.len())]).collect())
    };
    Cow<'static, [u8]>, dice => {
        let length = dice.length();
        Cow::Owned((0..length).map(|_| dice.next() as u8).collect())
    };
    Records, dice => {
        let mut records = Self::default();
        for _ in 0..dice.below(3) {
            records.push(Cow::<'static, [u8]>::sample(dice, 0).into_owned().into());
        }
        records
    };
}
