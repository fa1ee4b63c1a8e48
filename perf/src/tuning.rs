//! Kafka's settings by measurement: a short sweep over its thread counts, then over the garbage
//! collectors of its Java machine, with Kafka alone under a scenario's load.

use serde::Serialize;

use crate::quantity::Quantity;

/// What is varied.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Choice {
    /// `num.network.threads`; Kafka's default where absent.
    pub network_threads: Option<usize>,
    /// `num.io.threads`; Kafka's default where absent.
    pub io_threads: Option<usize>,
    /// Options of the Java machine that choose its collector.
    pub collector: String,
}

/// Collectors that are tried after threads.
const COLLECTORS: [&str; 3] = ["-XX:+UseG1GC", "-XX:+UseParallelGC", "-XX:+UseZGC"];

impl Choice {
    /// Kafka's default threads with a collector.
    #[must_use]
    pub fn default_with(collector: &str) -> Self {
        Self {
            network_threads: None,
            io_threads: None,
            collector: collector.to_owned(),
        }
    }

    /// The thread counts to try, with the collector of `self`: few, Kafka's own, one a core.
    #[must_use]
    pub fn thread_counts(&self, cores: usize) -> Vec<Self> {
        let mut counts = vec![(2, 2), (3, 8)];
        if !counts.contains(&(cores, cores)) {
            counts.push((cores, cores));
        }
        let with = |(network, io)| Self {
            network_threads: Some(network),
            io_threads: Some(io),
            ..self.clone()
        };
        counts.into_iter().map(with).collect()
    }

    /// The other collectors to try, with the threads of `self`.
    #[must_use]
    pub fn other_collectors(&self) -> Vec<Self> {
        let others = COLLECTORS.iter().filter(|&&other| other != self.collector);
        let with = |collector: &&str| Self {
            collector: (*collector).to_owned(),
            ..self.clone()
        };
        others.map(with).collect()
    }

    /// Lines of server.properties.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        let network = self
            .network_threads
            .map(|count| format!("num.network.threads={count}"));
        let io = self
            .io_threads
            .map(|count| format!("num.io.threads={count}"));
        network.into_iter().chain(io).collect()
    }

    /// The choice in words.
    #[must_use]
    pub fn words(&self) -> String {
        let count =
            |count: Option<usize>| count.map_or_else(|| "default".to_owned(), |n| n.to_string());
        format!(
            "{} network and {} io threads, {}",
            count(self.network_threads),
            count(self.io_threads),
            self.collector
        )
    }
}

/// A choice that was tried, and how it did.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The choice.
    pub choice: Choice,
    /// Kafka's figure; `None` where it did not run to the end.
    pub figure: Option<f64>,
}

/// A sweep and its winner.
#[derive(Clone, Debug, Serialize)]
pub struct Tuning {
    /// What was better.
    pub quantity: Quantity,
    /// All trials in their order.
    pub trials: Vec<Trial>,
    /// The best.
    pub best: Choice,
}

impl Tuning {
    /// The best of trials by a quantity; `fallback` where none ran to the end.
    #[must_use]
    pub fn of(quantity: Quantity, trials: Vec<Trial>, fallback: &Choice) -> Self {
        let figures = trials.iter().filter_map(|trial| {
            let figure = trial.figure.filter(|figure| figure.is_finite())?;
            let cost = if quantity.is_better_high() {
                -figure
            } else {
                figure
            };
            Some((cost, &trial.choice))
        });
        // Of equals the first: the one nearer to the default.
        let best = figures.min_by(|(one, _), (other, _)| one.total_cmp(other));
        let best = best.map_or_else(|| fallback.clone(), |(_, choice)| choice.clone());
        Self {
            quantity,
            trials,
            best,
        }
    }

    /// What was tried, and why the winner won.
    #[must_use]
    pub fn words(&self) -> String {
        let tried: Vec<String> = self
            .trials
            .iter()
            .map(|trial| {
                let figure = trial
                    .figure
                    .map_or_else(|| "failed".to_owned(), |figure| format!("{figure:.3}"));
                format!("{}: {figure}", trial.choice.words())
            })
            .collect();
        let sense = if self.quantity.is_better_high() {
            "highest"
        } else {
            "lowest"
        };
        format!(
            "Kafka's settings by trial, in {}: {}. The {sense} won: {}.",
            self.quantity.words(),
            tried.join("; "),
            self.best.words()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(figures: &[Option<f64>]) -> Vec<Trial> {
        let choices = Choice::default_with(COLLECTORS[0]).thread_counts(1);
        let pairs = choices.into_iter().zip(figures);
        pairs
            .map(|(choice, &figure)| Trial { choice, figure })
            .collect()
    }

    #[test]
    fn best_is_the_lowest_cost_or_the_highest_rate_that_ran() {
        let fallback = Choice::default_with(COLLECTORS[0]);
        let figures = [Some(3.0), Some(2.0), None];
        let by = |quantity| {
            Tuning::of(quantity, trials(&figures), &fallback)
                .best
                .io_threads
        };
        assert_eq!(by(Quantity::CpuPerRequest), Some(8));
        assert_eq!(by(Quantity::RequestRate), Some(2));
        let none = Tuning::of(Quantity::Median, trials(&[None, None, None]), &fallback);
        assert_eq!(none.best, fallback);
    }

    #[test]
    fn trials_differ_and_are_named() {
        let first = Choice::default_with(COLLECTORS[0]);
        assert_eq!(
            first.thread_counts(2).len(),
            2,
            "one a core is among the others"
        );
        assert_eq!(first.thread_counts(1).len(), 3);
        assert_eq!(first.other_collectors().len(), 2);
        let tuning = Tuning::of(
            Quantity::CpuPerRequest,
            trials(&[Some(3.0), Some(2.0), None]),
            &first,
        );
        let words = tuning.words();
        assert!(
            words.contains("1 network and 1 io threads, -XX:+UseG1GC: failed"),
            "{words}"
        );
        assert!(
            words.ends_with("won: 3 network and 8 io threads, -XX:+UseG1GC."),
            "{words}"
        );
        assert_eq!(
            tuning.best.settings(),
            ["num.network.threads=3", "num.io.threads=8"]
        );
    }
}
