//! Numbers into the OpenMetrics text that Prometheus reads, by the table of metrics. Pure.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{NodeMetrics, ShardMetrics, TimeHistogram};
use super::metrics_table::{METRICS, Metric, Reading};

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An exemplar's labels; we attach none.
type NoLabels = [(&'static str, u64); 0];

/// The text of one collection.
///
/// # Errors
/// The encoder refused a value; it never does so for a `String`.
pub(super) fn render(metrics: NodeMetrics) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collection(metrics)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collection(NodeMetrics);

impl Collector for Collection {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_info(&mut encoder, &self.0)?;
        for metric in METRICS {
            encode_metric(&mut encoder, metric, &self.0)?;
        }
        Ok(())
    }
}

fn encode_info(encoder: &mut DescriptorEncoder<'_>, node: &NodeMetrics) -> fmt::Result {
    let labels = [
        ("version", node.node.version.clone()),
        ("node_id", node.node.node_id.to_string()),
    ];
    encoder
        .encode_descriptor("klamm_build", "Version and node.", None, MetricType::Info)?
        .encode_info(&labels)
}

fn encode_metric(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    node: &NodeMetrics,
) -> fmt::Result {
    let kind = match metric.reading {
        Reading::Counter(_) | Reading::ShardCounter(_) => MetricType::Counter,
        Reading::ShardTimes(_) => MetricType::Histogram,
        Reading::Gauge(_) | Reading::ShardGauge(_) | Reading::Controller(_) | Reading::Node(_) => {
            MetricType::Gauge
        }
    };
    let sum = |read: fn(&ShardMetrics) -> u64| node.shards.iter().map(read).sum::<u64>();
    let controller = node
        .shards
        .iter()
        .find_map(|shard| shard.controller.as_ref());
    if matches!(metric.reading, Reading::Controller(_)) && controller.is_none() {
        return Ok(());
    }
    let mut lines = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    match metric.reading {
        Reading::Counter(read) => {
            lines.encode_counter::<NoLabels, u64, f64>(&sum(read), None)?;
        }
        Reading::Gauge(read) => lines.encode_gauge(&gauge(sum(read)))?,
        Reading::Node(read) => lines.encode_gauge(&gauge(read(node)))?,
        Reading::Controller(read) => {
            if let Some(controller) = controller {
                lines.encode_gauge(&gauge(read(controller)))?;
            }
        }
        Reading::ShardCounter(read) => {
            for shard in &node.shards {
                lines
                    .encode_family(&label(shard))?
                    .encode_counter::<NoLabels, u64, f64>(&read(shard), None)?;
            }
        }
        Reading::ShardGauge(read) => {
            for shard in &node.shards {
                lines
                    .encode_family(&label(shard))?
                    .encode_gauge(&gauge(read(shard)))?;
            }
        }
        Reading::ShardTimes(read) => {
            for shard in &node.shards {
                let times = read(shard);
                lines
                    .encode_family(&label(shard))?
                    .encode_histogram::<NoLabels>(
                        seconds(times.sum_us),
                        times.count(),
                        &buckets(times),
                        None,
                    )?;
            }
        }
    }
    Ok(())
}

fn label(shard: &ShardMetrics) -> [(&'static str, u16); 1] {
    [("shard", shard.shard)]
}

/// The encoder's gauges are signed.
fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Buckets with upper ends in seconds; the encoder adds them up and expects a last one without end.
fn buckets(times: &TimeHistogram) -> Vec<(f64, u64)> {
    let bounded = times.buckets.iter();
    let bounded = bounded.map(|&(upper_us, count)| (seconds(upper_us), count));
    bounded.chain([(f64::MAX, times.beyond)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{ControllerMetrics, NodeFacts};
    use super::*;

    fn node() -> NodeMetrics {
        let shard = |shard: u16, messages_in: u64| ShardMetrics {
            shard,
            messages_in,
            tail_bytes: 7,
            wal_flush_time: TimeHistogram {
                sum_us: 2500,
                buckets: vec![(1000, 1), (2000, 1)],
                beyond: 1,
            },
            ..ShardMetrics::default()
        };
        NodeMetrics {
            node: NodeFacts {
                version: "1.2.3".to_owned(),
                node_id: 4,
                shards: 3,
                started_ms: 5000,
                disk_free_bytes: 600,
                disk_bytes: 1000,
            },
            shards: vec![shard(0, 10), shard(1, 20)],
        }
    }

    #[track_caller]
    fn shows(text: &str, line: &str) {
        assert!(
            text.lines().any(|one| one == line),
            "{line} is not in\n{text}"
        );
    }

    #[test]
    fn names_of_kafkas_dashboards_show_sums_over_the_shards() {
        let text = render(node()).expect("renders");
        shows(&text, "kafka_server_brokertopicmetrics_messagesin_total 30");
        shows(
            &text,
            "# TYPE kafka_server_brokertopicmetrics_messagesin counter",
        );
        shows(
            &text,
            "# HELP kafka_server_brokertopicmetrics_messagesin Records appended by clients.",
        );
        shows(&text, "klamm_shards 3");
        shows(&text, "klamm_shards_answering 2");
        shows(&text, "klamm_build_info{version=\"1.2.3\",node_id=\"4\"} 1");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_shards_own_numbers_bear_its_label() {
        let text = render(node()).expect("renders");
        shows(&text, "klamm_shard_tail_bytes{shard=\"1\"} 7");
        shows(
            &text,
            "klamm_wal_flush_seconds_bucket{le=\"0.001\",shard=\"0\"} 1",
        );
        shows(
            &text,
            "klamm_wal_flush_seconds_bucket{le=\"0.002\",shard=\"0\"} 2",
        );
        shows(
            &text,
            "klamm_wal_flush_seconds_bucket{le=\"+Inf\",shard=\"0\"} 3",
        );
        shows(&text, "klamm_wal_flush_seconds_count{shard=\"0\"} 3");
        shows(&text, "klamm_wal_flush_seconds_sum{shard=\"0\"} 0.0025");
    }

    #[test]
    fn the_controllers_numbers_are_absent_until_a_shard_hosts_it() {
        let mut node = node();
        let name = "kafka_controller_kafkacontroller_globaltopiccount";
        assert!(!render(node.clone()).expect("renders").contains(name));
        node.shards[1].controller = Some(ControllerMetrics {
            active: true,
            topics: 6,
            ..ControllerMetrics::default()
        });
        let text = render(node).expect("renders");
        shows(&text, &format!("{name} 6"));
        shows(
            &text,
            "kafka_controller_kafkacontroller_activecontrollercount 1",
        );
    }

    #[test]
    fn every_metric_of_the_table_is_shown_in_its_kind() {
        let mut node = node();
        node.shards[0].controller = Some(ControllerMetrics::default());
        let text = render(node).expect("renders");
        for metric in METRICS {
            let (_, kind, _) = metric.shown();
            shows(&text, &format!("# TYPE {} {kind}", metric.name));
        }
    }
}
