//! What a core says of its partitions without changing anything: where reigns ended, how large the
//! logs are, which producers are remembered; and where the metadata quorum stands.

use klamm_model::{LeaderEpoch, TopicPartition};

use crate::api::{
    ActiveProducer, EpochEnd, EpochOutcome, EpochQuestion, LogSize, Now, ReadError, Reply, Ticket,
};
use crate::effects::Effect;
use crate::engine::Engine;
use crate::partition::PartitionLog;

impl Engine {
    /// Finds where reigns ended.
    pub(crate) fn epoch_ends(&mut self, ticket: Ticket, questions: &[EpochQuestion]) {
        let outcomes = questions.iter().map(|question| {
            let log = self.log_of(question.partition);
            epoch_end(log.ok_or(ReadError::UnknownPartition)?, question)
        });
        let reply = Reply::EpochEnds(outcomes.collect());
        self.effects.push(Effect::Reply { ticket, reply });
    }

    /// Measures logs.
    pub(crate) fn log_sizes(&mut self, ticket: Ticket, partitions: &[TopicPartition]) {
        let sizes = partitions.iter().map(|&partition| {
            let log = self.log_of(partition)?;
            Some(LogSize {
                bytes: log.segments.bytes(),
                end: log.leader.cursors().log_end,
            })
        });
        let reply = Reply::LogSizes(sizes.collect());
        self.effects.push(Effect::Reply { ticket, reply });
    }

    /// Lists the producers that have not expired.
    pub(crate) fn list_producers(
        &mut self,
        now: Now,
        ticket: Ticket,
        partitions: &[TopicPartition],
    ) {
        let lists = partitions.iter().map(|&partition| {
            let producers = self.log_of(partition)?.leader.producers();
            let active = producers.active(now.wall).map(|producer| ActiveProducer {
                id: producer.id,
                epoch: producer.epoch,
                last_sequence: producer.last.map(|batch| batch.last_sequence),
                last_timestamp: producer.last.map(|batch| batch.timestamp),
            });
            Some(active.collect())
        });
        let reply = Reply::Producers(lists.collect());
        self.effects.push(Effect::Reply { ticket, reply });
    }

    /// Says where the metadata quorum stands.
    pub(crate) fn describe_quorum(&mut self, ticket: Ticket) {
        let Some(host) = &self.quorum else {
            unreachable!("calls about the quorum go to the core that hosts it");
        };
        let reply = Reply::Quorum(host.facts());
        self.effects.push(Effect::Reply { ticket, reply });
    }

    fn log_of(&self, partition: TopicPartition) -> Option<&PartitionLog> {
        self.partition(self.slot_of(partition)?)
    }
}

fn epoch_end(log: &PartitionLog, question: &EpochQuestion) -> EpochOutcome {
    log.leader.check_leader_epoch(question.leader_epoch)?;
    let end = |requested: LeaderEpoch| log.leader.end_offset_for(requested);
    Ok(question.requested.and_then(end).map(|found| EpochEnd {
        leader_epoch: found.leader_epoch,
        end_offset: found.end,
    }))
}
