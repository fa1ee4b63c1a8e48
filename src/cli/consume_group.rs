//! `klamm consume --group`: records as a member of a group reads them, with what happens to the
//! group on standard error, in words.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klamm_client::blocking::BlockingGroupConsumer;
use klamm_client::fetch::FetchOptions;
use klamm_client::fetcher::{ConsumerOptions, Event};
use klamm_client::group::{GroupEvent, GroupOptions, GroupReset, MembershipProtocol};
use klamm_client::hub::HubOptions;
use klamm_client::metadata::PartitionName;
use klamm_model::IsolationLevel;
use klamm_os::signals;

use super::connect::Failure;
use super::consume::{ConsumeArguments, Place, Printer, ProtocolChoice, Stop};
use super::group::assignment_words;
use crate::words::counted;

/// How long a look for more takes before the signals are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Events that are printed together, before their records count as seen.
const BATCH_MAX: usize = 500;

/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(10);

/// Where a partition begins of which the group keeps no offset.
fn reset_of(place: Place) -> Result<GroupReset, Failure> {
    match place {
        Place::Beginning => Ok(GroupReset::Earliest),
        Place::End => Ok(GroupReset::Latest),
        Place::Ago(ago) => Ok(GroupReset::ByDuration(ago)),
        Place::Offset(_) | Place::Last(_) | Place::Time(_) => Err(Failure(
            "with --group, --from holds where the group keeps no offset: expected beginning, end, \
             or a time before now such as @-10m\n  `klamm group reset` moves a group elsewhere"
                .to_owned(),
        )),
    }
}

fn options(
    arguments: &ConsumeArguments,
    group: &str,
    isolation: IsolationLevel,
) -> Result<GroupOptions, Failure> {
    Ok(GroupOptions {
        protocol: match arguments.group_protocol {
            ProtocolChoice::Classic => MembershipProtocol::Classic,
            ProtocolChoice::Consumer => MembershipProtocol::Consumer,
        },
        offset_reset: reset_of(arguments.from)?,
        fetch: ConsumerOptions {
            fetch: FetchOptions {
                isolation,
                ..FetchOptions::default()
            },
            ..ConsumerOptions::default()
        },
        ..GroupOptions::new(group)
    })
}

/// True from the first signal to end on.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    signals::block().map_err(|error| Failure(format!("cannot wait for signals: {error}")))?;
    let flag = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&flag);
    let named = std::thread::Builder::new().name("signals".to_owned());
    named.spawn(move || {
        // Any of them ends the command, as does being unable to wait for them.
        let _ = signals::wait();
        of_thread.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}

pub(super) fn consume(
    arguments: &ConsumeArguments,
    group: &str,
    isolation: IsolationLevel,
) -> Result<(), Failure> {
    let options = options(arguments, group, isolation)?;
    // Before any thread: signals are for one of them alone.
    let interrupted = interrupted()?;
    let mut client = arguments.connect.connect()?;
    for topic in &arguments.topics {
        client.topic(topic)?;
    }
    drop(client);
    let hub = HubOptions {
        request_timeout: Duration::from_millis(arguments.connect.timeout_ms),
        ..HubOptions::default()
    };
    let topics = arguments.topics.iter().cloned();
    let bootstrap = &arguments.connect.bootstrap;
    let mut consumer = BlockingGroupConsumer::new(bootstrap, hub, options, topics)?;
    let mut printer = Printer::new(arguments);
    let read = read_all(arguments, &mut consumer, &mut printer, &interrupted);
    let left = match &read {
        Ok(()) => consumer.close(LEAVING),
        // What was not printed for sure is not committed.
        Err(_) => consumer.leave(LEAVING),
    };
    if let Err(Stop::Failed(failure)) = read {
        return Err(failure);
    }
    if !left {
        return Err(Failure(format!(
            "group {group} was not left in time: what was printed last may be read again"
        )));
    }
    if !arguments.quiet {
        eprintln!("{}", counted(printer.printed, "record"));
    }
    Ok(())
}

fn read_all(
    arguments: &ConsumeArguments,
    consumer: &mut BlockingGroupConsumer,
    printer: &mut Printer<'_>,
    interrupted: &AtomicBool,
) -> Result<(), Stop> {
    let mut at_end: BTreeSet<PartitionName> = BTreeSet::new();
    let mut told = None;
    while !interrupted.load(Ordering::Relaxed) {
        let left = arguments.count.map(|count| count - printer.printed);
        let most = left.map_or(BATCH_MAX, |left| left.min(BATCH_MAX as u64) as usize);
        let events = consumer.poll(LOOK, most);
        if events.is_empty() {
            tell_failure(consumer, &mut told);
        }
        for event in events {
            take(arguments, event, printer, &mut at_end)?;
        }
        // What is asked for next says that this was seen.
        printer.flush()?;
        let enough = arguments.count == Some(printer.printed);
        if enough || (!arguments.follow && is_done(consumer, &at_end)) {
            return Ok(());
        }
    }
    Ok(())
}

fn take(
    arguments: &ConsumeArguments,
    event: GroupEvent,
    printer: &mut Printer<'_>,
    at_end: &mut BTreeSet<PartitionName>,
) -> Result<(), Stop> {
    match event {
        GroupEvent::Read(Event::Record(partition, record)) => {
            printer.print(&partition, &record)?;
            at_end.remove(&partition);
        }
        GroupEvent::Read(Event::End(partition, _)) => {
            at_end.insert(partition);
        }
        GroupEvent::Read(Event::Reset {
            partition,
            position,
            ..
        }) => eprintln!("{partition}: offset {position} is gone, going on as --from says"),
        GroupEvent::Read(Event::Failed(partition, error)) => {
            return Err(Stop::Failed(Failure(format!("{partition}: {error}"))));
        }
        GroupEvent::NoOffset(partition) => {
            let reason = format!("{partition}: no offset is committed");
            return Err(Stop::Failed(Failure(reason)));
        }
        GroupEvent::Ended(error) => return Err(Stop::Failed(Failure(error.to_string()))),
        GroupEvent::Assigned(partitions) => tell(arguments, "assigned", &partitions, ""),
        GroupEvent::Revoked(partitions) => tell(arguments, "given up", &partitions, ""),
        GroupEvent::Lost { partitions, reason } => {
            tell(arguments, "lost", &partitions, &format!(": {reason}"));
        }
    }
    Ok(())
}

/// Everything that this member was given is read to its end.
fn is_done(consumer: &BlockingGroupConsumer, at_end: &BTreeSet<PartitionName>) -> bool {
    if at_end.is_empty() || !consumer.is_stable() {
        return false;
    }
    let assignment = consumer.assignment();
    !assignment.is_empty() && assignment.iter().all(|it| at_end.contains(it))
}

fn tell(arguments: &ConsumeArguments, what: &str, partitions: &[PartitionName], more: &str) {
    if !arguments.quiet {
        eprintln!("{what} {}{more}", assignment_words(partitions));
    }
}

/// Says once why nothing works.
fn tell_failure(consumer: &BlockingGroupConsumer, told: &mut Option<String>) {
    let failure = consumer.last_failure();
    if failure.is_some() && failure != *told {
        eprintln!(
            "a connection ended: {}",
            failure.as_deref().unwrap_or_default()
        );
        *told = failure;
    }
}
