//! A history with a known course: topics made, records written in every codec, read, cut off at
//! their start, configurations changed, everything described; each request at every version.

mod cluster;
mod configs;
mod reads;
mod records;
mod topics;

use serde_json::json;

use crate::pair::Pair;

/// The topics that later requests rely on: name and partitions.
pub(crate) const TOPICS: &[(&str, i32)] = &[("one", 1), ("three", 3), ("compacted", 1), ("odd", 4)];

pub(crate) fn run(pair: &mut Pair<'_>) {
    pair.at_every_version(
        18,
        &json!({
            "client_software_name": "diff", "client_software_version": "1",
        }),
    );
    topics::run(pair);
    records::written(pair);
    records::refused(pair);
    reads::records(pair);
    reads::positions(pair);
    reads::sessions(pair);
    reads::empty_session(pair);
    configs::run(pair);
    cluster::bent(pair);
    cluster::described(pair);
    cluster::decided(pair);
    cluster::ended(pair);
}
