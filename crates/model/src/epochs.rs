//! Versions of roles. Never bare: each epoch has a type of its own.

use std::fmt;

macro_rules! epoch {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $number);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

epoch! {
    /// Reign number of a partition's leader. Stamped into every batch at append.
    LeaderEpoch(i32)
}
epoch! {
    /// Version of a partition's registration in the metadata.
    PartitionEpoch(i32)
}
epoch! {
    /// Incarnation of a registered broker.
    BrokerEpoch(i64)
}
