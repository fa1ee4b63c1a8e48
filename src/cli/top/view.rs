//! What is shown of the time between two collections: rates, latencies by part, shards, and the
//! busiest partitions of each. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::numbers::{Numbers, quantile};
use crate::cli::cluster::size_words;
use crate::cli::output::{Side, Table};

/// The parts of a request that are shown, by their labels.
const PARTS: [&str; 5] = ["queue", "log", "wait", "behind", "send"];

/// What happened between two collections.
#[derive(Debug)]
pub(super) struct View {
    seconds: f64,
    version: String,
    node: String,
    partitions: f64,
    connections: f64,
    memory_bytes: f64,
    processor: f64,
    disk_free_bytes: f64,
    not_durable_bytes: f64,
    records_in: f64,
    bytes_in: f64,
    bytes_out: f64,
    requests: Vec<Api>,
    shards: Vec<Shard>,
}

/// Requests of one API.
#[derive(Debug)]
struct Api {
    name: String,
    rate: f64,
    /// Median and 99th percentile of the whole, in seconds.
    median: Option<f64>,
    high: Option<f64>,
    /// Mean of each part, in seconds.
    parts: [f64; PARTS.len()],
}

#[derive(Debug)]
struct Shard {
    number: String,
    busy: f64,
    bytes_in: f64,
    bytes_out: f64,
    turns: f64,
    flushes: f64,
    flush_high: Option<f64>,
    waiting: f64,
    busiest: Vec<Busy>,
}

/// One partition's traffic.
#[derive(Debug)]
struct Busy {
    name: String,
    records_in: f64,
    bytes_in: f64,
    bytes_out: f64,
}

/// Two collections and the time between them.
struct Pair<'n> {
    before: &'n Numbers,
    now: &'n Numbers,
    seconds: f64,
}

impl Pair<'_> {
    /// Growth of a counter, each second. A broker that started anew counts from 0.
    fn rate(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let (before, now) = (self.before.sum(name, with), self.now.sum(name, with));
        let grown = if now < before { now } else { now - before };
        grown / self.seconds
    }

    fn quantile(&self, name: &str, with: &[(&str, &str)], share: f64) -> Option<f64> {
        let (before, now) = (
            self.before.buckets(name, with),
            self.now.buckets(name, with),
        );
        quantile(&before, &now, share)
    }
}

impl View {
    pub(super) fn between(
        before: &Numbers,
        now: &Numbers,
        between: Duration,
        partitions: usize,
    ) -> Self {
        let pair = Pair {
            before,
            now,
            seconds: between.as_secs_f64().max(1e-3),
        };
        let about = now.lines("klamm_build_info").next();
        let label = |name: &str| {
            let found = about.and_then(|(labels, _)| labels.get(name));
            found.cloned().unwrap_or_default()
        };
        // Lines without a topic are of all topics.
        let shards = now.values("klamm_shard_turns_total", "shard");
        let over_shards = |name: &str| pair.rate(name, &[]);
        Self {
            seconds: pair.seconds,
            version: label("version"),
            node: label("node_id"),
            partitions: now.sum("kafka_server_replicamanager_partitioncount", &[]),
            connections: now.sum("klamm_shard_connections", &[]),
            memory_bytes: now.sum("process_resident_memory_bytes", &[]),
            processor: pair.rate("process_cpu_seconds_total", &[]),
            disk_free_bytes: now.least("klamm_disk_free_bytes"),
            not_durable_bytes: now.sum("klamm_shard_not_durable_bytes", &[]),
            records_in: over_shards("klamm_shard_messages_in_total"),
            bytes_in: over_shards("klamm_shard_bytes_in_total"),
            bytes_out: over_shards("klamm_shard_bytes_out_total"),
            requests: apis(&pair),
            shards: shards
                .into_iter()
                .map(|number| shard(&pair, number, partitions))
                .collect(),
        }
    }

    /// For eyes.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "klamm {}  node {}  {} partitions  {} connections  {:.1} cores  memory {}  disk free {}  not durable {}\n\
             in {:.0} records/s {}/s  out {}/s\n\n",
            self.version,
            self.node,
            self.partitions,
            self.connections,
            self.processor,
            size(self.memory_bytes),
            size(self.disk_free_bytes),
            size(self.not_durable_bytes),
            self.records_in,
            size(self.bytes_in),
            size(self.bytes_out),
        );
        text.push_str(&self.requests_text());
        text.push('\n');
        text.push_str(&self.shards_text());
        text.push('\n');
        text.push_str(&self.partitions_text());
        text
    }

    fn requests_text(&self) -> String {
        let mut headings = vec![
            ("REQUEST", Side::Left),
            ("PER SECOND", Side::Right),
            ("MEDIAN", Side::Right),
            ("99 %", Side::Right),
        ];
        headings.extend([
            ("QUEUE", Side::Right),
            ("LOG", Side::Right),
            ("WAIT", Side::Right),
            ("BEHIND", Side::Right),
            ("SEND", Side::Right),
        ]);
        let mut table = Table::new(&headings);
        for api in &self.requests {
            let mut cells = vec![
                api.name.clone(),
                format!("{:.1}", api.rate),
                api.median.map_or_else(|| "-".to_owned(), time),
                api.high.map_or_else(|| "-".to_owned(), time),
            ];
            cells.extend(api.parts.map(time));
            table.row(cells);
        }
        table.render()
    }

    fn shards_text(&self) -> String {
        let mut table = Table::new(&[
            ("SHARD", Side::Right),
            ("BUSY", Side::Right),
            ("IN/S", Side::Right),
            ("OUT/S", Side::Right),
            ("TURNS/S", Side::Right),
            ("FLUSHES/S", Side::Right),
            ("FLUSH 99 %", Side::Right),
            ("WAITING", Side::Right),
        ]);
        for shard in &self.shards {
            table.row(vec![
                shard.number.clone(),
                format!("{:.0} %", shard.busy * 100.0),
                size(shard.bytes_in),
                size(shard.bytes_out),
                format!("{:.0}", shard.turns),
                format!("{:.1}", shard.flushes),
                shard.flush_high.map_or_else(|| "-".to_owned(), time),
                format!("{:.0}", shard.waiting),
            ]);
        }
        table.render()
    }

    fn partitions_text(&self) -> String {
        let mut table = Table::new(&[
            ("SHARD", Side::Right),
            ("BUSIEST PARTITION", Side::Left),
            ("RECORDS/S", Side::Right),
            ("IN/S", Side::Right),
            ("OUT/S", Side::Right),
        ]);
        for shard in &self.shards {
            for busy in &shard.busiest {
                table.row(vec![
                    shard.number.clone(),
                    busy.name.clone(),
                    format!("{:.1}", busy.records_in),
                    size(busy.bytes_in),
                    size(busy.bytes_out),
                ]);
            }
        }
        table.render()
    }

    /// For programs; times in seconds.
    pub(super) fn document(&self) -> Value {
        let requests = self.requests.iter().map(|api| {
            let parts = PARTS.iter().zip(api.parts);
            let parts = parts.map(|(name, mean)| ((*name).to_owned(), json!(mean)));
            json!({
                "request": api.name,
                "per_second": api.rate,
                "median": api.median,
                "percentile_99": api.high,
                "mean_by_part": parts.collect::<serde_json::Map<_, _>>(),
            })
        });
        let shards = self.shards.iter().map(|shard| {
            let busiest = shard.busiest.iter().map(|busy| {
                json!({
                    "partition": busy.name,
                    "records_in_per_second": busy.records_in,
                    "bytes_in_per_second": busy.bytes_in,
                    "bytes_out_per_second": busy.bytes_out,
                })
            });
            json!({
                "shard": shard.number.parse::<u64>().ok(),
                "busy": shard.busy,
                "bytes_in_per_second": shard.bytes_in,
                "bytes_out_per_second": shard.bytes_out,
                "turns_per_second": shard.turns,
                "flushes_per_second": shard.flushes,
                "flush_percentile_99": shard.flush_high,
                "requests_waiting": shard.waiting,
                "busiest_partitions": busiest.collect::<Vec<_>>(),
            })
        });
        json!({
            "version": self.version,
            "node": self.node.parse::<i64>().ok(),
            "seconds": self.seconds,
            "partitions": self.partitions,
            "connections": self.connections,
            "cores_used": self.processor,
            "memory_bytes": self.memory_bytes,
            "disk_free_bytes": self.disk_free_bytes,
            "not_durable_bytes": self.not_durable_bytes,
            "records_in_per_second": self.records_in,
            "bytes_in_per_second": self.bytes_in,
            "bytes_out_per_second": self.bytes_out,
            "requests": requests.collect::<Vec<_>>(),
            "shards": shards.collect::<Vec<_>>(),
        })
    }
}

/// APIs that were asked for meanwhile, the most asked first.
fn apis(pair: &Pair<'_>) -> Vec<Api> {
    let name = "klamm_request_seconds";
    let sum = format!("{name}_sum");
    let names = pair.now.values(&format!("{name}_count"), "request");
    let mut apis: Vec<Api> = names
        .into_iter()
        .map(|api| {
            let whole = [("request", api.as_str()), ("part", "total")];
            let rate = pair.rate(&format!("{name}_count"), &whole);
            let mean = |part: &str| {
                let time = pair.rate(&sum, &[("request", api.as_str()), ("part", part)]);
                if rate > 0.0 { time / rate } else { 0.0 }
            };
            Api {
                rate,
                median: pair.quantile(name, &whole, 0.5),
                high: pair.quantile(name, &whole, 0.99),
                parts: PARTS.map(mean),
                name: api,
            }
        })
        .collect();
    apis.retain(|api| api.rate > 0.0);
    apis.sort_by(|left, right| right.rate.total_cmp(&left.rate));
    apis
}

fn shard(pair: &Pair<'_>, number: String, partitions: usize) -> Shard {
    let own = [("shard", number.as_str())];
    let rate = |name: &str| pair.rate(name, &own);
    let waiting = [
        "klamm_shard_requests_queued",
        "klamm_shard_parked_appends",
        "klamm_shard_parked_reads",
        "klamm_shard_requests_waiting_for_room",
    ];
    let busiest = busiest(pair, &number, partitions);
    Shard {
        busy: (1.0 - rate("klamm_shard_idle_seconds_total")).clamp(0.0, 1.0),
        bytes_in: rate("klamm_shard_bytes_in_total"),
        bytes_out: rate("klamm_shard_bytes_out_total"),
        turns: rate("klamm_shard_turns_total"),
        flushes: rate("klamm_wal_flushes_total"),
        flush_high: pair.quantile("klamm_wal_flush_seconds", &own, 0.99),
        waiting: waiting.iter().map(|name| pair.now.sum(name, &own)).sum(),
        busiest,
        number,
    }
}

/// The partitions of a shard that moved most bytes, in and out.
fn busiest(pair: &Pair<'_>, shard: &str, most: usize) -> Vec<Busy> {
    let rates = |name: &str| {
        let name = format!("klamm_partition_{name}_total");
        let key = |labels: &super::numbers::Labels| {
            let is_here = labels.get("shard").is_some_and(|found| found == shard);
            let (topic, partition) = (labels.get("topic")?, labels.get("partition")?);
            is_here.then(|| format!("{topic}-{partition}"))
        };
        let read = |numbers: &Numbers| -> std::collections::BTreeMap<String, f64> {
            let lines = numbers.lines(&name);
            lines
                .filter_map(|(labels, number)| Some((key(labels)?, *number)))
                .collect()
        };
        let (before, mut now) = (read(pair.before), read(pair.now));
        for (name, number) in &mut now {
            let earlier = before.get(name).copied().unwrap_or(0.0);
            let grown = if *number < earlier {
                *number
            } else {
                *number - earlier
            };
            *number = grown / pair.seconds;
        }
        now
    };
    let (records, out) = (rates("messages_in"), rates("bytes_out"));
    let mut all: Vec<Busy> = rates("bytes_in")
        .into_iter()
        .map(|(name, bytes_in)| Busy {
            records_in: records.get(&name).copied().unwrap_or(0.0),
            bytes_out: out.get(&name).copied().unwrap_or(0.0),
            bytes_in,
            name,
        })
        .collect();
    all.retain(|busy| busy.bytes_in + busy.bytes_out > 0.0);
    let moved = |busy: &Busy| busy.bytes_in + busy.bytes_out;
    all.sort_by(|left, right| moved(right).total_cmp(&moved(left)));
    all.truncate(most);
    all
}

fn size(bytes: f64) -> String {
    size_words(bytes.max(0.0) as u64)
}

/// Seconds in the unit that suits them.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1e-3 => format!("{:.0} us", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(scale: u64) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.read(&format!(
            "klamm_build_info{{version=\"1.2.3\",node_id=\"4\"}} 1\n\
             klamm_shard_turns_total{{shard=\"0\"}} {turns}\n\
             klamm_shard_idle_seconds_total{{shard=\"0\"}} {idle}\n\
             klamm_shard_bytes_in_total{{shard=\"0\"}} {bytes}\n\
             klamm_request_seconds_bucket{{le=\"0.001\",request=\"Produce\",part=\"total\"}} {count}\n\
             klamm_request_seconds_bucket{{le=\"+Inf\",request=\"Produce\",part=\"total\"}} {count}\n\
             klamm_request_seconds_count{{request=\"Produce\",part=\"total\"}} {count}\n\
             klamm_request_seconds_sum{{request=\"Produce\",part=\"wait\"}} {wait}\n\
             klamm_partition_bytes_in_total{{topic=\"a\",partition=\"0\",shard=\"0\"}} {bytes}\n\
             klamm_partition_bytes_in_total{{topic=\"b\",partition=\"1\",shard=\"0\"}} {more}\n\
             klamm_partition_bytes_in_total{{topic=\"c\",partition=\"1\",shard=\"0\"}} 7\n",
            turns = 100 * scale,
            idle = scale,
            bytes = 2048 * scale,
            more = 4096 * scale,
            count = 10 * scale,
            wait = 0.004 * scale as f64,
        ));
        numbers
    }

    fn view() -> View {
        View::between(&numbers(1), &numbers(2), Duration::from_secs(2), 5)
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let document = view().document();
        assert_eq!(document["version"], "1.2.3");
        assert_eq!(document["bytes_in_per_second"], 1024.0);
        let api = &document["requests"][0];
        assert_eq!(
            (&api["request"], &api["per_second"]),
            (&"Produce".into(), &5.0.into())
        );
        assert_eq!(api["median"], 0.0005);
        let wait = api["mean_by_part"]["wait"].as_f64().expect("a number");
        assert!((wait - 0.0004).abs() < 1e-9, "{wait}");
        let shard = &document["shards"][0];
        assert_eq!(
            (&shard["busy"], &shard["turns_per_second"]),
            (&0.5.into(), &50.0.into())
        );
    }

    #[test]
    fn the_busiest_partitions_come_first_and_quiet_ones_not_at_all() {
        let document = view().document();
        let busiest = document["shards"][0]["busiest_partitions"].as_array();
        let names = busiest
            .expect("a list")
            .iter()
            .map(|busy| &busy["partition"]);
        assert_eq!(names.collect::<Vec<_>>(), ["b-1", "a-0"]);
    }

    #[test]
    fn the_text_has_requests_shards_and_partitions() {
        let text = view().text();
        for part in ["klamm 1.2.3", "Produce", "500 us", "50 %", "b-1", "2.0 KiB"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
