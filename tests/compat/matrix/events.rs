//! What members of groups say of themselves: a line of JSON for each thing that happens. Every
//! program below tests/compat/members writes these lines and takes the same one argument
//! ([`Ask`](super::families::Ask)); it leaves its group and ends when its standard input ends.
//!
//! - `{"event":"assigned","partitions":[0,1]}`: it got these besides those that it had.
//! - `{"event":"revoked","partitions":[0]}`, `{"event":"lost",...}`: it has these no more.
//! - `{"event":"read","partition":0,"first":7,"end":9,"generation":3}`: it processed the records
//!   from `first` to before `end`, as a member of that generation or of that epoch of its own; null
//!   where its client does not tell. The line is out before their commit is asked for.
//! - `{"event":"commit","partition":0,"offset":9,"error":null}`: what a commit came to.
//! - `{"event":"trouble","text":"..."}`: what its client complains of; nothing follows from it.
//! - `{"event":"left"}`: the last line of one that left in order.

use std::collections::BTreeSet;

use serde_json::Value;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Assigned(Vec<i32>),
    /// Also where it found them lost.
    Revoked(Vec<i32>),
    Read(Span),
    Commit {
        partition: i32,
        offset: i64,
        error: Option<String>,
    },
    Trouble(String),
    Left,
}

/// Records that one member processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) first: i64,
    /// The first one that is not of it.
    pub(crate) end: i64,
    /// Generation, or epoch of the member.
    pub(crate) generation: Option<i32>,
}

impl Event {
    /// Reads a line.
    ///
    /// # Errors
    /// It is none of those above.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let wrong = || format!("expected an event as a line of JSON, found {line:?}");
        let value: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        let number = |field: &str| value[field].as_i64().ok_or_else(wrong);
        let partition = || i32::try_from(number("partition")?).map_err(|_| wrong());
        let partitions = || -> Result<Vec<i32>, String> {
            let list = value["partitions"].as_array().ok_or_else(wrong)?;
            let numbers = list.iter().map(|one| one.as_i64()?.try_into().ok());
            numbers.collect::<Option<_>>().ok_or_else(wrong)
        };
        Ok(match value["event"].as_str().ok_or_else(wrong)? {
            "assigned" => Self::Assigned(partitions()?),
            "revoked" | "lost" => Self::Revoked(partitions()?),
            "read" => Self::Read(Span {
                partition: partition()?,
                first: number("first")?,
                end: number("end")?,
                generation: value["generation"]
                    .as_i64()
                    .and_then(|it| it.try_into().ok()),
            }),
            "commit" => Self::Commit {
                partition: partition()?,
                offset: number("offset")?,
                error: match &value["error"] {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    _ => return Err(wrong()),
                },
            },
            "trouble" => Self::Trouble(value["text"].as_str().ok_or_else(wrong)?.to_owned()),
            "left" => Self::Left,
            _ => return Err(wrong()),
        })
    }
}

/// The partitions that a member holds after all this.
pub(crate) fn held(events: &[Event]) -> BTreeSet<i32> {
    let mut held = BTreeSet::new();
    for event in events {
        match event {
            Event::Assigned(partitions) => held.extend(partitions),
            Event::Revoked(partitions) => {
                held.retain(|one| !partitions.contains(one));
            }
            Event::Left => held.clear(),
            Event::Read(_) | Event::Commit { .. } | Event::Trouble(_) => {}
        }
    }
    held
}
