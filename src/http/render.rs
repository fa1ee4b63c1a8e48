//! Numbers into the OpenMetrics text that Prometheus reads, by the table of metrics. Pure.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{NodeMetrics, RequestTimes, ShardMetrics};
use super::metrics_table::{Metric, Reading, RequestPart, metrics};
use super::times::TimeHistogram;
use super::window::Observed;

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An exemplar's labels; we attach none.
pub(super) type NoLabels = [(&'static str, u64); 0];

/// Those that Kafka shows, as the JMX exporter's usual rules name them.
const QUANTILES: [(&str, f64); 6] = [
    ("0.50", 0.5),
    ("0.75", 0.75),
    ("0.95", 0.95),
    ("0.98", 0.98),
    ("0.99", 0.99),
    ("0.999", 0.999),
];

/// Upper ends of the buckets of requests, in microseconds.
const REQUEST_ENDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// The parts of a request, by the label that they have.
const PARTS: [(&str, RequestPart); 6] = [
    ("queue", |times| &times.queue),
    ("log", |times| &times.log),
    ("wait", |times| &times.wait),
    ("behind", |times| &times.behind),
    ("send", |times| &times.send),
    ("total", |times| &times.total),
];

/// The text of one collection.
///
/// # Errors
/// The encoder refused a value; it never does so for a `String`.
pub(super) fn render(observed: Observed) -> Result<String, fmt::Error> {
    encode_all(Collection(observed))
}

/// The text of what a collector has.
pub(super) fn encode_all(collector: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collection(Observed);

impl Collector for Collection {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_info(&mut encoder, &self.0.now)?;
        for metric in metrics() {
            if is_known(metric, &self.0.now) {
                encode_metric(&mut encoder, metric, &self.0)?;
            }
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

/// The first shard's answer to something that one shard alone knows.
fn known<T>(node: &NodeMetrics, read: impl Fn(&ShardMetrics) -> Option<T>) -> Option<T> {
    node.shards.iter().find_map(read)
}

/// False if who knows it did not answer.
fn is_known(metric: &Metric, node: &NodeMetrics) -> bool {
    match metric.reading {
        Reading::Controller(_) => known(node, |shard| shard.controller).is_some(),
        Reading::Replication(_) => known(node, |shard| shard.replication).is_some(),
        Reading::Quorum(_) | Reading::RaftState => known(node, |shard| shard.quorum).is_some(),
        _ => true,
    }
}

fn encode_metric(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    observed: &Observed,
) -> fmt::Result {
    let node = &observed.now;
    let kind = match metric.shown().1 {
        "counter" => MetricType::Counter,
        "histogram" => MetricType::Histogram,
        "unknown" => MetricType::Unknown,
        _ => MetricType::Gauge,
    };
    let sum = |read: fn(&ShardMetrics) -> u64| node.shards.iter().map(read).sum::<u64>();
    let mut lines = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    match metric.reading {
        Reading::Counter(read) => counter(&mut lines, sum(read)),
        Reading::Gauge(read) => lines.encode_gauge(&gauge(sum(read))),
        Reading::Node(read) => lines.encode_gauge(&gauge(read(node))),
        Reading::Folder(read) => node.node.folders.iter().try_for_each(|folder| {
            let label = [("logdirectory", folder.path.as_str())];
            lines
                .encode_family(&label)?
                .encode_gauge(&gauge(read(folder)))
        }),
        Reading::Always(number) => lines.encode_gauge(&gauge(number)),
        Reading::AlwaysCounter(number) => counter(&mut lines, number),
        Reading::ProcessSeconds(read) => {
            let seconds = read(&node.node.process) as f64 / 100.0;
            lines.encode_counter::<NoLabels, f64, f64>(&seconds, None)
        }
        Reading::Recent(read) => lines.encode_gauge(&read(observed)),
        Reading::Count(read) => lines.encode_gauge(&gauge(node.times(read).count())),
        Reading::Controller(read) => match known(node, |shard| shard.controller) {
            Some(controller) => lines.encode_gauge(&gauge(read(&controller))),
            None => Ok(()),
        },
        Reading::Replication(read) => match known(node, |shard| shard.replication) {
            Some(replication) => lines.encode_gauge(&gauge(read(&replication))),
            None => Ok(()),
        },
        Reading::Quorum(read) => match known(node, |shard| shard.quorum) {
            Some(quorum) => lines.encode_gauge(&read(&quorum)),
            None => Ok(()),
        },
        Reading::RaftState => match known(node, |shard| shard.quorum) {
            Some(quorum) => {
                let state = if quorum.leads { "leader" } else { "follower" };
                let labels = [("current_state", state)];
                lines.encode_family(&labels)?.encode_gauge(&1_i64)
            }
            None => Ok(()),
        },
        Reading::ShardCounter(_)
        | Reading::ShardSeconds(_)
        | Reading::ShardGauge(_)
        | Reading::ShardTimes(..) => {
            let mut shards = node.shards.iter();
            shards.try_for_each(|shard| encode_shard(&mut lines, metric.reading, shard))
        }
        Reading::Quantiles(read) => {
            let recent = node.times(read).since(&observed.before.times(read));
            quantiles(&mut lines, None, &recent)
        }
        Reading::RequestCounter(_)
        | Reading::RequestQuantiles(_)
        | Reading::RequestCount(_)
        | Reading::RequestSeconds => encode_requests(&mut lines, metric.reading, observed),
    }
}

/// One shard's lines.
fn encode_shard(
    lines: &mut MetricEncoder<'_>,
    reading: Reading,
    shard: &ShardMetrics,
) -> fmt::Result {
    let label = [("shard", shard.shard)];
    let mut lines = lines.encode_family(&label)?;
    match reading {
        Reading::ShardCounter(read) => counter(&mut lines, read(shard)),
        Reading::ShardSeconds(read) => {
            lines.encode_counter::<NoLabels, f64, f64>(&seconds(read(shard)), None)
        }
        Reading::ShardGauge(read) => lines.encode_gauge(&gauge(read(shard))),
        Reading::ShardTimes(read, ends) => histogram(&mut lines, read(shard), ends),
        _ => Ok(()),
    }
}

/// The lines of all APIs that were asked for.
fn encode_requests(
    lines: &mut MetricEncoder<'_>,
    reading: Reading,
    observed: &Observed,
) -> fmt::Result {
    let is_recent = matches!(reading, Reading::RequestQuantiles(_));
    let requests = match is_recent {
        true => observed.recent_requests(),
        false => observed.now.requests(),
    };
    for times in &requests {
        if matches!(reading, Reading::RequestSeconds) {
            encode_parts(lines, times)?;
            continue;
        }
        for name in names_of(times.api) {
            let label = [("request", name)];
            match reading {
                Reading::RequestCounter(read) => {
                    counter(&mut lines.encode_family(&label)?, read(times))?;
                }
                Reading::RequestCount(part) => {
                    let count = gauge(part(times).count());
                    lines.encode_family(&label)?.encode_gauge(&count)?;
                }
                Reading::RequestQuantiles(part) => quantiles(lines, Some(name), part(times))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn encode_parts(lines: &mut MetricEncoder<'_>, times: &RequestTimes) -> fmt::Result {
    for (part, read) in PARTS {
        let labels = [("request", times.api), ("part", part)];
        let mut lines = lines.encode_family(&labels)?;
        histogram(&mut lines, read(times), REQUEST_ENDS_US)?;
    }
    Ok(())
}

/// Kafka counts the fetches of consumers once more under a name of their own; here all are theirs.
fn names_of(api: &'static str) -> impl Iterator<Item = &'static str> {
    let more = (api == "Fetch").then_some("FetchConsumer");
    std::iter::once(api).chain(more)
}

/// One line for each quantile, in milliseconds; none without times.
fn quantiles(
    lines: &mut MetricEncoder<'_>,
    request: Option<&'static str>,
    times: &TimeHistogram,
) -> fmt::Result {
    for (shown, share) in QUANTILES {
        let Some(us) = times.quantile_us(share) else {
            return Ok(());
        };
        let ms = us as f64 / 1e3;
        match request {
            Some(request) => {
                let labels = [("request", request), ("quantile", shown)];
                lines.encode_family(&labels)?.encode_gauge(&ms)?;
            }
            None => {
                let labels = [("quantile", shown)];
                lines.encode_family(&labels)?.encode_gauge(&ms)?;
            }
        }
    }
    Ok(())
}

/// Buckets with upper ends in seconds; the encoder adds them up and expects a last one without end.
fn histogram(lines: &mut MetricEncoder<'_>, times: &TimeHistogram, ends_us: &[u64]) -> fmt::Result {
    let (bounded, beyond) = times.on_scale(ends_us);
    let bounded = bounded.into_iter();
    let bounded = bounded.map(|(end_us, count)| (seconds(end_us), count));
    let buckets: Vec<(f64, u64)> = bounded.chain([(f64::MAX, beyond)]).collect();
    let (sum, count) = (seconds(times.sum_us), times.count());
    lines.encode_histogram::<NoLabels>(sum, count, &buckets, None)
}

pub(super) fn counter(lines: &mut MetricEncoder<'_>, number: u64) -> fmt::Result {
    lines.encode_counter::<NoLabels, u64, f64>(&number, None)
}

/// The encoder's gauges are signed.
pub(super) fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::metrics::{
        ControllerMetrics, FolderFacts, NodeFacts, ProcessFacts, QuorumMetrics, ReplicationMetrics,
    };
    use super::*;

    fn node() -> NodeMetrics {
        let shard = |shard: u16, messages_in: u64| ShardMetrics {
            shard,
            messages_in,
            tail_bytes: 7,
            wal_flush_time: TimeHistogram {
                sum_us: 2500,
                buckets: vec![(900, 1), (2000, 1), (3_000_000, 1)],
            },
            ..ShardMetrics::default()
        };
        NodeMetrics {
            node: NodeFacts {
                version: "1.2.3".to_owned(),
                node_id: 4,
                shards: 3,
                started_ms: 5000,
                ready: true,
                process: ProcessFacts {
                    cpu_hundredths: 250,
                    ..ProcessFacts::default()
                },
                folders: vec![FolderFacts {
                    path: "/data".to_owned(),
                    disk_free_bytes: 600,
                    disk_bytes: 1000,
                }],
            },
            shards: vec![shard(0, 10), shard(1, 20)],
        }
    }

    /// The collection seen against nothing.
    fn page(now: NodeMetrics) -> String {
        page_since(now, NodeMetrics::default())
    }

    fn page_since(now: NodeMetrics, before: NodeMetrics) -> String {
        let between = Duration::from_secs(10);
        let observed = Observed {
            now,
            before,
            between,
        };
        render(observed).expect("renders")
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
        let text = page(node());
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
        let text = page(node());
        shows(&text, "klamm_shard_tail_bytes{shard=\"1\"} 7");
        shows(
            &text,
            "klamm_wal_flush_seconds_bucket{le=\"0.001\",shard=\"0\"} 1",
        );
        shows(
            &text,
            "klamm_wal_flush_seconds_bucket{le=\"0.0025\",shard=\"0\"} 2",
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
        assert!(!page(node.clone()).contains(name));
        node.shards[1].controller = Some(ControllerMetrics {
            active: true,
            topics: 6,
            ..ControllerMetrics::default()
        });
        let text = page(node);
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
        node.shards[0].replication = Some(ReplicationMetrics::default());
        node.shards[0].quorum = Some(QuorumMetrics::default());
        let text = page(node);
        for metric in metrics() {
            let (_, kind, _) = metric.shown();
            shows(&text, &format!("# TYPE {} {kind}", metric.name));
        }
    }

    fn fetches(count: u64, us: u64) -> RequestTimes {
        let times = TimeHistogram {
            sum_us: count * us,
            buckets: vec![(us, count)],
        };
        RequestTimes {
            api: "Fetch",
            wait: times.clone(),
            total: times,
            ..RequestTimes::default()
        }
    }

    #[test]
    fn requests_show_their_parts_by_api_and_lately() {
        let mut before = node();
        before.shards[0].requests = vec![fetches(1000, 9_000)];
        let mut now = node();
        now.shards[0].requests = vec![fetches(1000, 9_000)];
        now.shards[1].requests = vec![fetches(10, 2_000)];
        let text = page_since(now, before);
        let name = "kafka_network_requestmetrics_totaltimems";
        // A thousand slow ones came earlier.
        for request in ["Fetch", "FetchConsumer"] {
            shows(
                &text,
                &format!("{name}{{request=\"{request}\",quantile=\"0.99\"}} 2.0"),
            );
            shows(
                &text,
                &format!("{name}_count{{request=\"{request}\"}} 1010"),
            );
        }
        shows(
            &text,
            "kafka_network_requestmetrics_requests_total{request=\"Fetch\"} 1010",
        );
        let seconds = "klamm_request_seconds";
        shows(
            &text,
            &format!("{seconds}_bucket{{le=\"0.0025\",request=\"Fetch\",part=\"wait\"}} 10"),
        );
        shows(
            &text,
            &format!("{seconds}_sum{{request=\"Fetch\",part=\"total\"}} 9.02"),
        );
    }

    #[test]
    fn the_share_of_idle_time_is_that_between_two_collections() {
        let (mut before, mut now) = (node(), node());
        before.shards[0].idle_us = 50_000_000;
        now.shards[0].idle_us = 54_000_000;
        now.shards[1].idle_us = 1_000_000;
        // 5 of 20 seconds of two shards.
        let text = page_since(now, before);
        let name = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent";
        shows(&text, &format!("{name} 0.25"));
    }

    #[test]
    fn the_role_in_the_quorum_is_a_label() {
        let mut node = node();
        node.shards[0].quorum = Some(QuorumMetrics {
            leads: true,
            leader: Some(4),
            ..QuorumMetrics::default()
        });
        let text = page(node);
        let name = "kafka_server_raftmetrics_current";
        shows(
            &text,
            &format!("{name}_state{{current_state=\"leader\"}} 1"),
        );
        shows(&text, &format!("{name}_leader 4.0"));
        shows(&text, "process_cpu_seconds_total 2.5");
    }
}
