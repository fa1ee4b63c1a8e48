//! `klamm cluster`: the brokers of a cluster, its controller and quorum, its features, and the log
//! folders with what they hold.

use std::process::ExitCode;

use clap::Args;
use klamm_client::BrokerError;
use klamm_client::admin::{ClusterDescription, LogDir};
use klamm_client::blocking::{Client, Target};
use klamm_model::NodeId;
use klamm_wire::{api_versions, describe_quorum};
use serde_json::{Value, json};

use super::connect::{ConnectArguments, Failure};
use super::fail;
use super::output::{Format, Side, Table, print, print_json};

#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    #[command(flatten)]
    connect: ConnectArguments,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &ClusterArguments) -> ExitCode {
    match show(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

/// A feature of the cluster, and between which levels it may be.
struct Feature {
    name: String,
    level: Option<i16>,
    min: i16,
    max: i16,
}

/// Where the metadata quorum stands.
struct Quorum {
    leader: i32,
    epoch: i32,
    high_watermark: i64,
    /// Voters and the ends of their logs.
    voters: Vec<(i32, i64)>,
}

/// What one broker's log folders are like.
type Folders = (NodeId, Result<Vec<Result<LogDir, BrokerError>>, String>);

fn show(arguments: &ClusterArguments) -> Result<(), Failure> {
    let mut client = arguments.connect.connect()?;
    let cluster = client.describe_cluster()?;
    let features = features(&mut client)?;
    // Clusters that keep their metadata elsewhere have none.
    let quorum = quorum(&mut client);
    let nodes = cluster.brokers.iter().filter(|row| !row.fenced);
    let nodes: Vec<NodeId> = nodes.map(|row| row.broker.id).collect();
    let folders: Vec<Folders> = nodes
        .into_iter()
        .map(|node| {
            let folders = client.describe_log_dirs(node, None);
            (node, folders.map_err(|error| error.to_string()))
        })
        .collect();
    if arguments.format == Format::Json {
        let document = document(&cluster, &features, quorum.as_ref(), &folders);
        return Ok(print_json(&document)?);
    }
    let mut text = brokers_text(&cluster);
    text.push('\n');
    text.push_str(&quorum_text(quorum.as_ref()));
    text.push('\n');
    text.push_str(&features_text(&features));
    text.push('\n');
    text.push_str(&folders_text(&folders));
    Ok(print(&text)?)
}

fn features(client: &mut Client) -> Result<Vec<Feature>, Failure> {
    let request = api_versions::Request {
        client_software_name: "klamm".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
    };
    Ok(client.request(Target::Any, &request, |view| {
        let levels: Vec<(String, i16)> = view
            .finalized_features()
            .iter()
            .map(|row| (row.name().to_owned(), row.max_version_level()))
            .collect();
        let supported = view.supported_features().iter();
        supported
            .map(|row| Feature {
                level: levels
                    .iter()
                    .find(|(name, _)| name == row.name())
                    .map(|&(_, level)| level),
                name: row.name().to_owned(),
                min: row.min_version(),
                max: row.max_version(),
            })
            .collect()
    })?)
}

fn quorum(client: &mut Client) -> Option<Quorum> {
    let request = describe_quorum::Request {
        topics: vec![describe_quorum::RequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![describe_quorum::RequestPartitionData { partition_index: 0 }],
        }],
    };
    let asked = client.request(Target::Any, &request, |view| {
        let topic = view.topics().iter().next()?;
        let part = topic.partitions().iter().next()?;
        (part.error_code() == 0).then(|| Quorum {
            leader: part.leader_id(),
            epoch: part.leader_epoch(),
            high_watermark: part.high_watermark(),
            voters: part
                .current_voters()
                .iter()
                .map(|voter| (voter.replica_id(), voter.log_end_offset()))
                .collect(),
        })
    });
    asked.ok().flatten()
}

fn brokers_text(cluster: &ClusterDescription) -> String {
    let controller = cluster.controller;
    let mut table = Table::new(&[
        ("BROKER", Side::Right),
        ("ADDRESS", Side::Left),
        ("RACK", Side::Left),
        ("STATE", Side::Left),
        ("ROLE", Side::Left),
    ]);
    for row in &cluster.brokers {
        let is_controller = controller == Some(row.broker.id);
        table.row(vec![
            row.broker.id.to_string(),
            format!("{}:{}", row.broker.host, row.broker.port),
            row.broker.rack.as_deref().unwrap_or("-").to_owned(),
            if row.fenced { "fenced" } else { "serves" }.to_owned(),
            if is_controller { "controller" } else { "-" }.to_owned(),
        ]);
    }
    format!("cluster {}\n{}", cluster.id, table.render())
}

fn quorum_text(quorum: Option<&Quorum>) -> String {
    let Some(quorum) = quorum else {
        return "the quorum is not told\n".to_owned();
    };
    let mut table = Table::new(&[
        ("VOTER", Side::Right),
        ("LOG END", Side::Right),
        ("LAG", Side::Right),
    ]);
    let end = quorum.voters.iter().map(|&(_, end)| end).max().unwrap_or(0);
    for &(voter, own) in &quorum.voters {
        let lag = end.saturating_sub(own);
        table.row(vec![voter.to_string(), own.to_string(), lag.to_string()]);
    }
    format!(
        "quorum leader {}  epoch {}  high watermark {}\n{}",
        quorum.leader,
        quorum.epoch,
        quorum.high_watermark,
        table.render()
    )
}

fn features_text(features: &[Feature]) -> String {
    let mut table = Table::new(&[
        ("FEATURE", Side::Left),
        ("LEVEL", Side::Right),
        ("LOWEST", Side::Right),
        ("HIGHEST", Side::Right),
    ]);
    for feature in features {
        let level = feature
            .level
            .map_or_else(|| "-".to_owned(), |level| level.to_string());
        table.row(vec![
            feature.name.clone(),
            level,
            feature.min.to_string(),
            feature.max.to_string(),
        ]);
    }
    table.render()
}

fn folders_text(folders: &[Folders]) -> String {
    let mut table = Table::new(&[
        ("BROKER", Side::Right),
        ("LOG FOLDER", Side::Left),
        ("REPLICAS", Side::Right),
        ("BYTES", Side::Right),
        ("FREE", Side::Right),
        ("OF", Side::Right),
        ("STATE", Side::Left),
    ]);
    let or_dash = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size_words);
    for (node, answer) in folders {
        let rows = match answer {
            Ok(rows) => rows,
            Err(reason) => {
                let dash = || "-".to_owned();
                let cells = [dash(), dash(), dash(), dash(), dash(), reason.clone()];
                table.row([vec![node.to_string()], cells.to_vec()].concat());
                continue;
            }
        };
        for row in rows {
            table.row(match row {
                Ok(folder) => vec![
                    node.to_string(),
                    folder.path.clone(),
                    folder.replicas.len().to_string(),
                    size_words(folder.replicas.iter().map(|replica| replica.bytes).sum()),
                    or_dash(folder.bytes_usable),
                    or_dash(folder.bytes_total),
                    "ok".to_owned(),
                ],
                Err(error) => {
                    let dash = || "-".to_owned();
                    let subject = error.subject.clone();
                    let code = error.code.name().to_owned();
                    vec![
                        node.to_string(),
                        subject,
                        dash(),
                        dash(),
                        dash(),
                        dash(),
                        code,
                    ]
                }
            });
        }
    }
    table.render()
}

/// Bytes in the unit that shows them with three digits or so.
pub(super) fn size_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

fn document(
    cluster: &ClusterDescription,
    features: &[Feature],
    quorum: Option<&Quorum>,
    folders: &[Folders],
) -> Value {
    let brokers = cluster.brokers.iter().map(|row| {
        json!({
            "id": row.broker.id.0,
            "host": row.broker.host,
            "port": row.broker.port,
            "rack": row.broker.rack,
            "fenced": row.fenced,
        })
    });
    let features = features.iter().map(|feature| {
        json!({
            "name": feature.name,
            "level": feature.level,
            "lowest": feature.min,
            "highest": feature.max,
        })
    });
    let quorum = quorum.map(|quorum| {
        let voters = quorum.voters.iter();
        let voters = voters.map(|&(id, end)| json!({ "id": id, "log_end": end }));
        json!({
            "leader": quorum.leader,
            "epoch": quorum.epoch,
            "high_watermark": quorum.high_watermark,
            "voters": voters.collect::<Vec<_>>(),
        })
    });
    let folders = folders.iter().flat_map(|(node, answer)| match answer {
        Ok(rows) => rows.iter().map(|row| folder_json(*node, row)).collect(),
        Err(reason) => vec![json!({ "broker": node.0, "error": reason })],
    });
    json!({
        "id": cluster.id,
        "controller": cluster.controller.map(|node| node.0),
        "brokers": brokers.collect::<Vec<_>>(),
        "features": features.collect::<Vec<_>>(),
        "quorum": quorum,
        "log_folders": folders.collect::<Vec<_>>(),
    })
}

fn folder_json(node: NodeId, row: &Result<LogDir, BrokerError>) -> Value {
    match row {
        Ok(folder) => json!({
            "broker": node.0,
            "path": folder.path,
            "replicas": folder.replicas.len(),
            "bytes": folder.replicas.iter().map(|replica| replica.bytes).sum::<u64>(),
            "bytes_total": folder.bytes_total,
            "bytes_usable": folder.bytes_usable,
        }),
        Err(error) => json!({
            "broker": node.0,
            "path": error.subject,
            "error": error.code.name(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_suits_them() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(size_words(bytes), words);
        }
    }
}
