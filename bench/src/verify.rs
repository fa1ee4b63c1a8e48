//! After producing: what the broker acknowledged must be there, once, in order, undamaged. A
//! benchmark without this is void.

use serde::Serialize;

use crate::{
    control::{Control, LogEnd, Topic},
    drive::Load,
    fetch::{Consumers, Window},
    problem::Problem,
    workload::{Mode, Workload, WrittenWorkload},
};

/// What was proved.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verified {
    /// Records that the logs hold and that were acknowledged.
    pub records: u64,
    /// Records read back with checksums and order checked.
    pub read_back: u64,
}

/// Compares each log's growth since `before` with what was acknowledged.
///
/// # Errors
/// [`Problem::Verification`] where they differ.
pub fn growth(
    control: &mut Control,
    topic: &Topic,
    before: &[i64],
    acknowledged: &[u64],
) -> Result<u64, Problem> {
    let after = control.offsets(topic, LogEnd::HighWatermark)?;
    for (index, ((after, before), acknowledged)) in
        after.iter().zip(before).zip(acknowledged).enumerate()
    {
        let grown = u64::try_from(after - before).unwrap_or(0);
        if grown != *acknowledged {
            let text = format!("partition {index} grew by {grown}, acknowledged: {acknowledged}");
            return Err(Problem::Verification(text));
        }
    }
    Ok(acknowledged.iter().sum())
}

/// Fetches everything from `from` to the logs' ends, checking checksums and order.
///
/// # Errors
/// [`Problem::Verification`] at the first gap or damage.
pub fn read_back(control: &mut Control, topic: &Topic, from: &[i64]) -> Result<u64, Problem> {
    let version = control.version(klamm_wire::ApiKey::Fetch)?;
    let ends = control.offsets(topic, LogEnd::HighWatermark)?;
    let workload = WrittenWorkload {
        partitions: Some(topic.partitions),
        check_crc: Some(true),
        ..WrittenWorkload::default()
    };
    let workload: Workload = workload.check(Mode::Fetch)?;
    let window = Window {
        start: from.to_vec(),
        end: None,
    };
    let mut consumers = Consumers::new(&workload, topic, version, window)?;
    let mut records = 0;
    while consumers
        .offsets()
        .iter()
        .zip(&ends)
        .any(|(offset, end)| offset < end)
    {
        let (frame, tag) = consumers.next(0);
        let body = control.exchange_frame(&frame, klamm_wire::ApiKey::Fetch, version)?;
        let counted = consumers.answered(0, tag, &body)?;
        if counted.batches == 0 {
            let text = format!("fetch from {:?} returned nothing", consumers.offsets());
            return Err(Problem::Verification(text));
        }
        records += counted.records;
    }
    Ok(records)
}
