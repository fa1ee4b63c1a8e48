//! The nearest known name to a mistyped one, by edit distance. Pure.

/// The name of `known` that differs least from `typed`, if it is near enough to be meant.
#[must_use]
pub(super) fn nearest_name<'a>(
    typed: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('_', ".");
    // A third of the letters may be wrong, but two always may, and never more than six.
    let distance_max = (typed.len() / 3).clamp(2, 6);
    known
        .filter(|name| name.len().abs_diff(typed.len()) <= distance_max)
        .map(|name| (edit_distance(&typed, name), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other
/// (optimal string alignment), over bytes.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let width = to.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, &left) in from.iter().enumerate() {
        let mut current = vec![row + 1; width];
        for (column, &right) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(left != right);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && left == to[column - 1] && from[row - 1] == right;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_meant_name() {
        let known = ["log.retention.ms", "log.retention.bytes", "num.partitions"];
        let nearest = |typed| nearest_name(typed, known.iter().copied());
        assert_eq!(nearest("log.retension.ms"), Some("log.retention.ms"));
        assert_eq!(nearest("num.partition"), Some("num.partitions"));
        assert_eq!(nearest("num_partitions"), Some("num.partitions"));
        assert_eq!(nearest("nmu.partitions"), Some("num.partitions"));
        assert_eq!(nearest("zookeeper.connect"), None);
    }

    #[test]
    fn edit_distance_counts_a_swap_of_neighbours_once() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
        assert_eq!(edit_distance("acb", "abc"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
