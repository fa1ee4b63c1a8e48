//! Steps over the batches of fetched bytes by their heads, without decoding records.

use klamm_model::BatchHeader;
use klamm_records::batch::{BatchError, batches, verify};

use crate::progress::Counted;

/// Takes a batch's head, its bytes, and the number of its records that are new.
pub type See<'s> = dyn FnMut(&BatchHeader, &[u8], u64) -> Result<(), String> + 's;

/// Steps over the whole batches of `run`, which begins at or before `offset`, and moves `offset`
/// behind them. A batch cut off at the end is legal: the client fetches it again. `see` gets each
/// batch.
///
/// # Errors
/// Words on a gap, a repetition or damage.
pub fn step(
    run: &[u8],
    offset: &mut i64,
    check_crc: bool,
    counted: &mut Counted,
    see: &mut See<'_>,
) -> Result<(), String> {
    for item in batches(run) {
        let (header, bytes) = match item {
            Ok(item) => item,
            Err(BatchError::Incomplete { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let begins = header.base_offset.0;
        let end = header.end_offset().0;
        // A fetch from inside a batch returns it from its first record.
        if begins > *offset || end <= *offset {
            return Err(format!(
                "expected offset {offset}, found batch {begins} to {end}"
            ));
        }
        if check_crc {
            verify(bytes).map_err(|error| error.to_string())?;
        }
        let records = u64::try_from(end - *offset).unwrap_or(0);
        see(&header, bytes, records)?;
        counted.batches += 1;
        counted.records += records;
        counted.bytes += bytes.len() as u64;
        *offset = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{Offset, Timestamp};
    use klamm_records::batch::{BatchBuilder, BatchOptions};

    fn batch(base: i64, records: usize) -> Vec<u8> {
        let options = BatchOptions {
            base_offset: Offset(base),
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for _ in 0..records {
            builder.append(Timestamp(1), None, Some(b"value"), &[]);
        }
        builder.build().expect("a batch")
    }

    fn stepped(run: &[u8], from: i64) -> Result<(i64, Counted), String> {
        let (mut offset, mut counted) = (from, Counted::default());
        step(run, &mut offset, true, &mut counted, &mut |_, _, _| Ok(()))?;
        Ok((offset, counted))
    }

    #[test]
    fn whole_batches_move_the_offset_and_a_cut_one_waits() {
        let mut run = [batch(10, 3), batch(13, 2)].concat();
        run.extend_from_slice(&batch(15, 9)[..40]);
        let (offset, counted) = stepped(&run, 10).expect("legal");
        assert_eq!((offset, counted.batches, counted.records), (15, 2, 5));
    }

    #[test]
    fn gap_repeat_and_damage_are_found() {
        let told = |run: &[u8]| stepped(run, 10).expect_err("wrong");
        assert!(told(&batch(11, 3)).contains("expected offset 10"), "gap");
        assert!(told(&batch(5, 3)).contains("expected offset 10"), "repeat");
        let mut damaged = batch(10, 3);
        *damaged.last_mut().expect("bytes") ^= 1;
        assert!(told(&damaged).contains("checksum"));
    }

    #[test]
    fn fetch_from_inside_a_batch_counts_only_what_is_new() {
        let (offset, counted) = stepped(&batch(10, 5), 12).expect("legal");
        assert_eq!((offset, counted.records), (15, 3));
    }
}
