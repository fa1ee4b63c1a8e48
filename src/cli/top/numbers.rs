//! The numbers of a page of metrics in the OpenMetrics text format. Pure.

use std::collections::BTreeMap;

/// Labels of a line, by name.
pub(super) type Labels = BTreeMap<String, String>;

/// Every line of some pages, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    lines: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Numbers {
    /// Adds the lines of a page; what is no line of a number is left out.
    pub(super) fn read(&mut self, page: &str) {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        for (name, labels, number) in lines.filter_map(parse) {
            self.lines.entry(name).or_default().push((labels, number));
        }
    }

    /// The lines of a name.
    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &(Labels, f64)> {
        self.lines.get(name).into_iter().flatten()
    }

    /// The sum of the lines of a name that have these labels.
    pub(super) fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| {
            let mut wanted = with.iter();
            wanted.all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
        };
        let lines = self.lines(name).filter(|(labels, _)| has(labels));
        lines.map(|(_, number)| number).sum()
    }

    /// The smallest number of the lines of a name; 0 of none.
    pub(super) fn least(&self, name: &str) -> f64 {
        let numbers = self.lines(name).map(|&(_, number)| number);
        numbers.reduce(f64::min).unwrap_or(0.0)
    }

    /// The values that a label has in the lines of a name, in order; whole numbers by their size.
    pub(super) fn values(&self, name: &str, label: &str) -> Vec<String> {
        let found = self.lines(name).filter_map(|(labels, _)| labels.get(label));
        let mut values: Vec<String> = found.cloned().collect();
        values.sort_by(|left, right| {
            let number = |text: &String| text.parse::<u64>().ok();
            (number(left), left).cmp(&(number(right), right))
        });
        values.dedup();
        values
    }

    /// The buckets of a histogram with these labels: upper ends and counts up to there.
    pub(super) fn buckets(&self, name: &str, with: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut ends: Vec<f64> = Vec::new();
        for text in self.values(&name, "le") {
            // Rust reads +Inf, too.
            ends.extend(text.parse::<f64>().ok());
        }
        ends.sort_by(f64::total_cmp);
        let count = |end: f64| {
            let is_end = |labels: &Labels| {
                let text = labels.get("le");
                text.and_then(|text| text.parse::<f64>().ok()) == Some(end)
            };
            let has = |labels: &Labels| {
                let mut wanted = with.iter();
                wanted.all(|(label, value)| labels.get(*label).is_some_and(|it| it == value))
            };
            let lines = self.lines(&name);
            let lines = lines.filter(|(labels, _)| is_end(labels) && has(labels));
            lines.map(|(_, number)| number).sum()
        };
        ends.into_iter().map(|end| (end, count(end))).collect()
    }
}

/// `name{label="value",…} number`.
fn parse(line: &str) -> Option<(String, Labels, f64)> {
    let (head, number) = line.rsplit_once(' ')?;
    let number = number.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some((head.to_owned(), Labels::new(), number));
    };
    let mut found = Labels::new();
    let mut rest = labels.strip_suffix('}')?;
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"")?;
        let (value, after) = value.split_once('"')?;
        found.insert(label.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some((name.to_owned(), found, number))
}

/// The time below which this share of the times between two collections lies, by buckets that are
/// counted up; within a bucket as if they lay evenly. `None` if there were no times.
pub(super) fn quantile(before: &[(f64, f64)], now: &[(f64, f64)], share: f64) -> Option<f64> {
    let earlier = |end: f64| {
        let found = before.iter().find(|&&(other, _)| other == end);
        found.map_or(0.0, |&(_, count)| count)
    };
    let counts: Vec<(f64, f64)> = now
        .iter()
        .map(|&(end, count)| (end, count - earlier(end)))
        .collect();
    let all = counts.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let wanted = all * share;
    let (mut low_end, mut low_count) = (0.0, 0.0);
    for (end, count) in counts {
        if count >= wanted {
            if end.is_infinite() {
                return Some(low_end);
            }
            let within = (count - low_count).max(f64::MIN_POSITIVE);
            return Some(low_end + (end - low_end) * (wanted - low_count) / within);
        }
        (low_end, low_count) = (end, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE a counter\n\
                        a_total{shard=\"0\",topic=\"x\"} 3\n\
                        a_total{shard=\"10\",topic=\"x\"} 4\n\
                        a_total{shard=\"2\"} 5.5\n\
                        plain 7\n\
                        t_bucket{le=\"0.001\"} 10\n\
                        t_bucket{le=\"0.002\"} 30\n\
                        t_bucket{le=\"+Inf\"} 40\n\
                        # EOF\n";

    #[test]
    fn lines_are_found_by_name_and_labels() {
        let mut numbers = Numbers::default();
        numbers.read(PAGE);
        assert_eq!(numbers.sum("a_total", &[]), 12.5);
        assert_eq!(numbers.sum("a_total", &[("topic", "x")]), 7.0);
        assert_eq!(numbers.sum("plain", &[]), 7.0);
        assert_eq!(numbers.sum("absent", &[]), 0.0);
        assert_eq!(numbers.values("a_total", "shard"), ["0", "2", "10"]);
        let buckets = [(0.001, 10.0), (0.002, 30.0), (f64::INFINITY, 40.0)];
        assert_eq!(numbers.buckets("t", &[]), buckets);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let now = [(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)];
        let before = [(1.0, 0.0), (2.0, 0.0), (f64::INFINITY, 0.0)];
        assert_eq!(quantile(&before, &now, 0.5), Some(1.5));
        assert_eq!(quantile(&before, &now, 0.25), Some(1.0));
        // What lies beyond the last end is told by that end.
        assert_eq!(quantile(&before, &now, 0.99), Some(2.0));
        assert_eq!(quantile(&now, &now, 0.5), None);
        assert_eq!(quantile(&[], &[], 0.5), None);
    }
}
