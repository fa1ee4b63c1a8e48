//! Which partition of `__consumer_offsets` coordinates a group, as Kafka has it.

use crate::PartitionIndex;

/// Java's `String.hashCode`, of UTF-16 units.
fn java_hash(text: &str) -> i32 {
    let units = text.encode_utf16();
    units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The partition of a group among that many (`Utils.abs` of its hash); `None` of none.
#[must_use]
pub fn partition_of_group(group: &str, partitions: usize) -> Option<PartitionIndex> {
    let partitions = i32::try_from(partitions).ok().filter(|&count| count > 0)?;
    let hash = java_hash(group).checked_abs().unwrap_or(0);
    Some(PartitionIndex(hash % partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_spread_as_javas_hash_spreads_them() {
        // The values are those of Java's own `hashCode`.
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("flights", -771_814_909),
            ("gruppe-\u{fc}-\u{1f680}", -1_164_021_338),
            ("polygenelubricants", i32::MIN),
        ] {
            assert_eq!(java_hash(text), hash, "{text}");
        }
        let extreme = partition_of_group("polygenelubricants", 50);
        assert_eq!(extreme, Some(PartitionIndex(0)));
        assert_eq!(partition_of_group("flights", 50), Some(PartitionIndex(9)));
        assert_eq!(partition_of_group("flights", 0), None);
    }
}
