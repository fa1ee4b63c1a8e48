//! What a scenario is judged by: quantities of a window, and the goals that the scorecard sets for
//! them.

use serde::{Deserialize, Serialize};

use crate::{arguments::Class, load::Totals, row::Window};

/// A quantity of a window. The words are those of scenarios, evidence and tables.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Quantity {
    /// Processor seconds a GiB of batches, as they travel.
    #[serde(rename = "cpu-s/GiB")]
    CpuPerGibibyte,
    /// Processor seconds a GiB of records before compression.
    #[serde(rename = "cpu-s/uncompressed GiB")]
    CpuPerUncompressedGibibyte,
    /// Processor microseconds a request.
    #[serde(rename = "cpu-us/request")]
    CpuPerRequest,
    /// Cores that the broker uses.
    #[serde(rename = "cores")]
    Cores,
    /// Requests answered a second; more is better.
    #[serde(rename = "requests/s")]
    RequestRate,
    /// Median latency, in microseconds: end to end where there are consumers.
    #[serde(rename = "p50 us")]
    Median,
    /// Latency that one of a hundred exceeds.
    #[serde(rename = "p99 us")]
    Hundredth,
    /// Latency that one of a thousand exceeds.
    #[serde(rename = "p99.9 us")]
    Thousandth,
    /// The same beside readers that catch up, over that of the quiet load before.
    #[serde(rename = "p99.9 / quiet p99.9")]
    ThousandthOverQuiet,
    /// Seconds until readers have caught up.
    #[serde(rename = "s to catch up")]
    CatchUpTime,
    /// Seconds of the measured part.
    #[serde(rename = "s")]
    Time,
    /// Seconds until what was created is deleted.
    #[serde(rename = "s to delete")]
    DeletionTime,
    /// Processor seconds of the measured part.
    #[serde(rename = "cpu-s")]
    Cpu,
    /// For how long a partition of a group had no reader, in milliseconds: the longest.
    #[serde(rename = "ms without a reader")]
    Gap,
    /// Memory of the broker's process, in MiB, whatever it keeps in it.
    #[serde(rename = "MiB resident")]
    Resident,
    /// Memory that the broker has gained since the row began, in KiB a connection.
    #[serde(rename = "KiB/connection")]
    MemoryPerConnection,
    /// The same a partition.
    #[serde(rename = "KiB/partition")]
    MemoryPerPartition,
}

impl Quantity {
    /// What a scenario of this mode is judged by where it does not say.
    #[must_use]
    pub fn of_mode(mode: &str) -> Self {
        match mode {
            "produce" | "fetch" => Self::CpuPerGibibyte,
            _ => Self::CpuPerRequest,
        }
    }

    /// The quantity in words, as scenarios and evidence write it.
    ///
    /// # Panics
    /// Never: a variant without fields becomes a string.
    #[must_use]
    pub fn words(self) -> String {
        let value = serde_json::to_value(self).expect("a name becomes JSON");
        value.as_str().unwrap_or_default().to_owned()
    }

    /// True where the larger figure is the better one.
    #[must_use]
    pub const fn is_better_high(self) -> bool {
        matches!(self, Self::RequestRate)
    }

    /// True where only readers that catch up tell it.
    #[must_use]
    pub const fn needs_catch_up(self) -> bool {
        matches!(self, Self::CatchUpTime | Self::ThousandthOverQuiet)
    }

    /// True where it is memory, which strangers on the processors do not touch.
    #[must_use]
    pub const fn is_memory(self) -> bool {
        matches!(
            self,
            Self::Resident | Self::MemoryPerConnection | Self::MemoryPerPartition
        )
    }

    /// How much better klamm's figure is than Kafka's; above one, klamm is better.
    #[must_use]
    pub fn ratio(self, kafka: f64, klamm: f64) -> f64 {
        if self.is_better_high() {
            klamm / kafka
        } else {
            kafka / klamm
        }
    }

    /// Processor time for the work of `totals`, where the quantity is a cost of processor time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn cost(self, cpu_ns: u64, totals: &Totals) -> f64 {
        let seconds = cpu_ns as f64 / 1e9;
        match self {
            Self::CpuPerRequest => seconds * 1e6 / totals.requests.max(1) as f64,
            _ => seconds / (totals.bytes.max(1) as f64 / f64::from(1 << 30)),
        }
    }

    /// The figure of a window; not a number where the window cannot tell.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn of(self, window: &Window) -> f64 {
        let number = |path: &str| {
            let found = window.result.pointer(path);
            found
                .and_then(serde_json::Value::as_f64)
                .unwrap_or(f64::NAN)
        };
        // Writeback runs in kernel threads and belongs to the broker that caused it.
        let cpu_ns = window.broker_cpu_ns + window.kernel_cpu_ns;
        let seconds = window.totals.elapsed_ns as f64 / 1e9;
        let latency = |quantile| window.latencies.microseconds(quantile);
        match self {
            Self::CpuPerGibibyte | Self::CpuPerRequest => self.cost(cpu_ns, &window.totals),
            Self::CpuPerUncompressedGibibyte => {
                let record = number("/workload/record-bytes") + number("/workload/key-bytes");
                let bytes = window.totals.records as f64 * record;
                cpu_ns as f64 / 1e9 / (bytes / f64::from(1 << 30))
            }
            Self::Cores => window.broker_cpu_ns as f64 / 1e9 / seconds,
            Self::RequestRate => window.totals.requests as f64 / seconds,
            Self::Median => latency(0.5),
            Self::Hundredth => latency(0.99),
            Self::Thousandth => latency(0.999),
            Self::ThousandthOverQuiet => {
                let quiet = number("/catch_up/quiet_end_to_end_us/p999");
                latency(0.999) / quiet
            }
            Self::CatchUpTime => number("/catch_up/seconds"),
            Self::Time => seconds,
            Self::DeletionTime => number("/deleted_in_seconds"),
            Self::Cpu => cpu_ns as f64 / 1e9,
            Self::Gap => number("/groups/0/gap_ms_max"),
            Self::Resident => window.resident_kib.0 as f64 / 1024.0,
            Self::MemoryPerConnection => window.gained_kib as f64 / number("/workload/connections"),
            Self::MemoryPerPartition => {
                let partitions = number("/workload/partitions") * number("/workload/topics");
                window.gained_kib as f64 / partitions
            }
        }
    }
}

/// A quantity that a scenario is judged by, and what the scorecard wants of it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// The quantity.
    pub quantity: Quantity,
    /// The class in which it is judged; both where absent.
    #[serde(default)]
    pub class: Option<Class>,
    /// The ratio that klamm should reach at least.
    #[serde(default)]
    pub ratio: Option<f64>,
    /// The figure that klamm should stay below.
    #[serde(default)]
    pub most: Option<f64>,
}

impl Goal {
    /// A quantity that is shown without a goal.
    #[must_use]
    pub const fn none(quantity: Quantity) -> Self {
        Self {
            quantity,
            class: None,
            ratio: None,
            most: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{brokers::Kind, quantiles::Quantiles};

    fn window() -> Window {
        Window {
            totals: Totals {
                requests: 1000,
                records: 1 << 20,
                bytes: 1 << 29,
                elapsed_ns: 2_000_000_000,
                ..Totals::default()
            },
            broker_cpu_ns: 900_000_000,
            kernel_cpu_ns: 100_000_000,
            gained_kib: 4000,
            latencies: Quantiles::of((1..=1000).map(|us| (us * 1000, 1))),
            result: serde_json::json!({
                "workload": {"record-bytes": 2048, "key-bytes": 0, "connections": 100,
                    "topics": 4, "partitions": 5},
                "groups": [{"gap_ms_max": 12.5}],
                "catch_up": {"seconds": 7.5, "quiet_end_to_end_us": {"p999": 333.0}},
            }),
            ..Window::empty(Kind::Klamm, 0)
        }
    }

    #[test]
    fn quantities_have_their_units() {
        let close = |quantity: Quantity, wanted: f64| {
            let found = quantity.of(&window());
            assert!((found - wanted).abs() < 1e-6, "{quantity:?}: {found}");
        };
        close(Quantity::CpuPerGibibyte, 2.0);
        close(Quantity::CpuPerUncompressedGibibyte, 0.5);
        close(Quantity::CpuPerRequest, 1000.0);
        close(Quantity::Cores, 0.45);
        close(Quantity::RequestRate, 500.0);
        close(Quantity::Median, 500.0);
        close(Quantity::Thousandth, 999.0);
        close(Quantity::ThousandthOverQuiet, 3.0);
        close(Quantity::CatchUpTime, 7.5);
        close(Quantity::Time, 2.0);
        close(Quantity::Cpu, 1.0);
        close(Quantity::Gap, 12.5);
        close(Quantity::MemoryPerConnection, 40.0);
        close(Quantity::MemoryPerPartition, 200.0);
        assert!(Quantity::DeletionTime.of(&window()).is_nan());
    }

    #[test]
    fn more_requests_and_less_cost_are_both_better() {
        assert_eq!(Quantity::RequestRate.ratio(10.0, 200.0), 20.0);
        assert_eq!(Quantity::CpuPerRequest.ratio(200.0, 10.0), 20.0);
    }

    #[test]
    fn words_of_a_quantity_are_those_of_a_scenario() {
        let text = "quantity = 'p99.9 us'\nclass = 'written'\nratio = 15";
        let goal: Goal = toml::from_str(text).expect("a goal");
        assert_eq!(goal.quantity, Quantity::Thousandth);
        assert_eq!(goal.quantity.words(), "p99.9 us");
        assert_eq!((goal.class, goal.ratio), (Some(Class::Written), Some(15.0)));
    }
}
