//! What the clients make of the node's answers.

use klamm_engine::api::{
    AppendOutcome, OffsetOutcome, ReadError, ReadOutcome, Reply, TrimError, TrimOutcome,
};
use klamm_engine::metadata::{CreateTopicError, Reply as ControlReply};
use klamm_model::{Durability, TopicPartition};

use super::{ClassSeen, Purpose, Simulation};
use crate::check::ledger::Survives;
use crate::check::{
    Violation, compacted, ensure, leader_epochs_only_grow_and_stand_in_the_log,
    offsets_are_never_reused, reads_return_exactly_what_was_appended,
    times_find_the_first_late_record,
};
use crate::workload::admin::Errand;
use crate::workload::reader::{Asked, Question};

const EXPLAINED: &str = "every_answer_can_be_explained";

impl Simulation {
    /// Takes in every answer that has arrived.
    pub(super) fn answer(&mut self) -> Result<(), Violation> {
        for (ticket, reply) in self.node().take_replies() {
            let Some(purpose) = self.calls.remove(&ticket.call) else {
                let what = format!("call {} was answered twice: {reply:?}", ticket.call);
                return Err(Violation::new(EXPLAINED, what));
            };
            if self.admin_call == Some(ticket.call) {
                self.admin_call = None;
            }
            match (purpose, reply) {
                (
                    Purpose::Append {
                        producer,
                        number,
                        partition,
                        class,
                    },
                    Reply::Append(call),
                ) => {
                    let [outcome] = &call.outcomes[..] else {
                        let what = format!("batch {number} has {} outcomes", call.outcomes.len());
                        return Err(Violation::new(EXPLAINED, what));
                    };
                    self.appended(producer, number, partition, class, outcome)?;
                }
                (Purpose::Reader { reader }, reply) => self.read(reader, reply)?,
                (Purpose::ProducerId { producer }, Reply::Control(reply)) => {
                    self.producer_id(producer, &reply)?;
                }
                (Purpose::Admin { errand }, Reply::Control(reply)) => {
                    self.administered(&errand, &reply)?;
                }
                (Purpose::Trim { partition, to }, Reply::Trim(outcomes)) => {
                    self.trimmed(partition, to, &outcomes)?;
                }
                (Purpose::Group(business), Reply::Coordinate(outcome)) => {
                    self.coordinated(ticket.call, business, outcome)?;
                }
                (Purpose::Register, Reply::Control(ControlReply::Registered(Ok(())))) => {
                    self.registered = true;
                    self.check_reigns()?;
                }
                (purpose, reply) => {
                    let what = format!("{purpose:?} was answered by {reply:?}");
                    return Err(Violation::new(EXPLAINED, what));
                }
            }
        }
        Ok(())
    }

    /// A life that made itself known leads in a reign of its own.
    fn check_reigns(&self) -> Result<(), Violation> {
        let image = self.image(0);
        for (&partition, log) in &self.ledger.logs {
            if let Some(found) = image.partition(partition) {
                leader_epochs_only_grow_and_stand_in_the_log::after_registration(
                    log,
                    partition,
                    found.leader_epoch,
                )?;
            }
        }
        Ok(())
    }

    fn appended(
        &mut self,
        producer: usize,
        number: u64,
        partition: TopicPartition,
        class: ClassSeen,
        outcome: &AppendOutcome,
    ) -> Result<(), Violation> {
        self.trace
            .event(format_args!("batch {number}: {outcome:?}"));
        if let Ok(appended) = outcome {
            let steady =
                class.class == Some(Durability::Flushed) && self.class_of(partition.topic) == class;
            let survives = if steady {
                Survives::PowerCut
            } else {
                Survives::Kill
            };
            self.stats.acknowledged += 1;
            self.stats.acknowledged_durable += u64::from(steady);
            let base = appended.base_offset.0;
            let end = base + self.ledger.sent[&number].timestamps.len() as i64;
            let ledger = &mut self.ledger;
            offsets_are_never_reused::learn(ledger, partition, number, base, end, survives)?;
            if self.options.compaction {
                let records = (base..end)
                    .zip(0..)
                    .map(|(at, index)| (at, (number, index)));
                let records: Vec<_> = records.collect();
                compacted::learn(ledger.log(partition), partition, &records)?;
            }
        }
        let explained = self.producers[producer].on_outcome(number, outcome);
        explained.map_err(|what| Violation::new(EXPLAINED, format!("{partition}: {what}")))
    }

    fn trimmed(
        &mut self,
        partition: TopicPartition,
        to: i64,
        outcomes: &[TrimOutcome],
    ) -> Result<(), Violation> {
        self.trace
            .event(format_args!("{partition} trimmed: {outcomes:?}"));
        match outcomes {
            [Ok(start)] => {
                self.stats.trims += 1;
                ensure!(
                    EXPLAINED,
                    start.0 >= to,
                    "{partition}: begins at {start}, {to} was asked for"
                );
                // It holds already: nobody is told of a start before.
                ensure!(
                    "log_start_never_goes_back",
                    self.is_gone(partition) || start.0 <= self.log_start(partition),
                    "{partition}: told of {start}, begins at {}",
                    self.log_start(partition)
                );
                Ok(())
            }
            [Err(TrimError::OutOfRange | TrimError::UnknownPartition | TrimError::OutOfRoom)] => {
                Ok(())
            }
            [Err(TrimError::Policy)] if self.options.compaction => Ok(()),
            other => {
                let what = format!("{partition}: a trim was answered by {other:?}");
                Err(Violation::new(EXPLAINED, what))
            }
        }
    }

    fn producer_id(&mut self, producer: usize, reply: &ControlReply) -> Result<(), Violation> {
        let ControlReply::ProducerIds(Ok(block)) = reply else {
            let what = format!("asked for producer ids, got {reply:?}");
            return Err(Violation::new(EXPLAINED, what));
        };
        let (first, end) = (block.first.0, block.first.0 + i64::from(block.count));
        let before = self.ledger.producer_ids.range(..end).next_back();
        ensure!(
            "producer_ids_are_given_once",
            before.is_none_or(|(_, &before)| before <= first),
            "ids {first} to {end} overlap {before:?}"
        );
        self.ledger.producer_ids.insert(first, end);
        self.trace
            .event(format_args!("producer {producer} is {first}"));
        self.producers[producer].on_id(Some(first));
        Ok(())
    }

    fn administered(&mut self, errand: &Errand, reply: &ControlReply) -> Result<(), Violation> {
        self.trace
            .event(format_args!("admin {errand:?}: {reply:?}"));
        match (errand, reply) {
            (Errand::Create(name), ControlReply::CreateTopics(answers)) => {
                for (_, answer) in answers {
                    match answer {
                        Ok(created) => {
                            self.created.insert(created.id, name);
                        }
                        // Created before the node died, and found only now.
                        Err(CreateTopicError::Exists { .. }) => {}
                        Err(error) => {
                            let what = format!("{name} was not created: {error:?}");
                            return Err(Violation::new(EXPLAINED, what));
                        }
                    }
                }
            }
            (Errand::Delete(name), ControlReply::DeleteTopics(answers)) => {
                for answer in answers {
                    if let Ok((_, id)) = &answer.outcome {
                        self.deleted.insert(*id, name);
                        self.stats.topics_deleted += 1;
                        self.ledger
                            .logs
                            .retain(|partition, _| partition.topic != *id);
                    }
                }
            }
            (Errand::Change(_), ControlReply::SetConfigs(_)) => {}
            _ => {
                let what = format!("{errand:?} was answered by {reply:?}");
                return Err(Violation::new(EXPLAINED, what));
            }
        }
        Ok(())
    }

    fn read(&mut self, reader: usize, reply: Reply) -> Result<(), Violation> {
        let Some(asked) = self.readers[reader].asked.take() else {
            return Ok(());
        };
        match (asked.question, reply) {
            (Question::Read(offset), Reply::Read(call)) => {
                let [outcome] = &call.outcomes[..] else {
                    let what = format!("a read has {} outcomes", call.outcomes.len());
                    return Err(Violation::new(EXPLAINED, what));
                };
                let bytes = call.records_of(outcome).concat();
                self.read_records(reader, asked, offset, outcome, &bytes)
            }
            (Question::Watch, Reply::Watch(_)) => Ok(()),
            (question, Reply::Offsets(outcomes)) => {
                let [outcome] = &outcomes[..] else {
                    let what = format!("a question has {} outcomes", outcomes.len());
                    return Err(Violation::new(EXPLAINED, what));
                };
                self.found_offset(asked, question, outcome)
            }
            (question, reply) => {
                let what = format!("{question:?} was answered by {reply:?}");
                Err(Violation::new(EXPLAINED, what))
            }
        }
    }

    /// True if the topic is there for the clients, so that no answer may say otherwise for long.
    fn is_gone(&self, partition: TopicPartition) -> bool {
        self.deleted.contains_key(&partition.topic) || !self.created.contains_key(&partition.topic)
    }

    fn log_start(&self, partition: TopicPartition) -> i64 {
        let log = self.ledger.logs.get(&partition);
        log.map_or(0, |log| log.log_start)
    }

    fn read_records(
        &mut self,
        reader: usize,
        asked: Asked,
        offset: i64,
        outcome: &ReadOutcome,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let partition = asked.partition;
        self.trace.event(format_args!(
            "reader {reader} at {offset}: {} bytes, {:?}, {:?}",
            bytes.len(),
            outcome.error,
            outcome.positions
        ));
        match outcome.error {
            None => {}
            Some(ReadError::UnknownPartition) => return Ok(()),
            Some(ReadError::OutOfRange) if offset < self.log_start(partition) => {
                let start = self.log_start(partition);
                let reader = &mut self.readers[reader];
                if reader.target == Some(partition) {
                    reader.offset = start;
                }
                return Ok(());
            }
            Some(error) => {
                ensure!(
                    "reads_return_exactly_what_was_appended",
                    self.is_gone(partition) && error != ReadError::Storage,
                    "{partition}: read from {offset} of {} gave {error:?}",
                    asked.known_end
                );
                return Ok(());
            }
        }
        let high_watermark = outcome.positions.map_or(0, |found| found.high_watermark.0);
        ensure!(
            "high_watermark_never_goes_back",
            high_watermark >= asked.known_end,
            "{partition}: a reader is told {high_watermark}, {} was seen before",
            asked.known_end
        );
        ensure!(
            "reads_return_exactly_what_was_appended",
            !bytes.is_empty() || offset >= asked.known_end,
            "{partition}: nothing was read at {offset}, {} is committed",
            asked.known_end
        );
        self.stats.reads += u64::from(!bytes.is_empty());
        if self.deleted.contains_key(&partition.topic) {
            return Ok(());
        }
        let check = match self.options.compaction {
            true => compacted::check_read,
            false => reads_return_exactly_what_was_appended::check,
        };
        let next = check(&mut self.ledger, partition, offset, high_watermark, bytes)?;
        let reader = &mut self.readers[reader];
        if reader.target == Some(partition) {
            reader.offset = next;
        }
        Ok(())
    }

    fn found_offset(
        &mut self,
        asked: Asked,
        question: Question,
        outcome: &OffsetOutcome,
    ) -> Result<(), Violation> {
        let partition = asked.partition;
        self.trace.event(format_args!("{question:?}: {outcome:?}"));
        let found = match outcome {
            Ok(found) => found,
            Err(ReadError::UnknownPartition) => return Ok(()),
            Err(error) => {
                let what = format!("{partition}: {question:?} gave {error:?}");
                return Err(Violation::new(EXPLAINED, what));
            }
        };
        // A core that has not heard of it yet may answer for a topic of which nothing is remembered.
        if self.deleted.contains_key(&partition.topic) {
            return Ok(());
        }
        match question {
            Question::Time(at) => {
                let found = found.map(|found| (found.offset.0, found.timestamp.map(|time| time.0)));
                if self.options.compaction {
                    return compacted::check_time(&self.ledger, partition, at, found);
                }
                times_find_the_first_late_record::check(
                    &self.ledger,
                    partition,
                    at,
                    asked.known_end,
                    found,
                )
            }
            Question::Latest => {
                let end = found.map_or(-1, |found| found.offset.0);
                ensure!(
                    "high_watermark_never_goes_back",
                    end >= asked.known_end,
                    "{partition}: the latest offset is {end}, {} was seen before",
                    asked.known_end
                );
                Ok(())
            }
            _ => {
                let starts = asked.known_start..=self.log_start(partition).max(asked.known_start);
                ensure!(
                    EXPLAINED,
                    found.is_some_and(|found| starts.contains(&found.offset.0)),
                    "{partition}: the earliest offset is {found:?}, expected {starts:?}"
                );
                Ok(())
            }
        }
    }
}
