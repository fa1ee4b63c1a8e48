//! Gaps in a producer's sequences, and the epochs that begin after them.

use super::*;

/// A world in which records 0 to 2 are kept, one batch each.
fn world_of_three() -> World {
    let options = ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    run(3, Duration::ZERO, &[], options)
}

#[test]
fn a_leader_that_lost_what_it_had_acknowledged_gets_the_rest_under_the_next_epoch() {
    let mut world = world_of_three();
    let log = world.logs.values_mut().next().expect("one partition");
    // An unclean election: the last record is gone, and what is remembered of its producer with it.
    log.values.pop();
    let known = log.producer.as_mut().expect("a producer");
    known.past.remove(&2);
    known.next = Sequence(2);
    for number in 3..6 {
        world.append(&record(&number.to_string(), Some(0)));
    }
    world.flush();
    assert_eq!(world.log(0), ["0", "1", "3", "4", "5"]);
    assert!(world.delivered.values().all(Result::is_ok));
    assert_eq!((world.identities, world.machine.stats().renewals), (1, 1));
}

#[test]
fn a_leader_that_forgot_the_producer_gets_its_batches_under_the_next_epoch() {
    let mut world = world_of_three();
    world
        .fates
        .push_back(Fate::Refused(ErrorCode::UnknownProducerId));
    for number in 3..6 {
        world.append(&record(&number.to_string(), Some(0)));
    }
    world.flush();
    assert_eq!(world.log(0), in_order(6));
    assert!(world.delivered.values().all(Result::is_ok));
    assert_eq!(world.machine.stats().renewals, 1);
}

#[test]
fn a_batch_that_may_lie_in_the_log_is_not_sent_under_another_epoch_when_its_producer_is_unknown() {
    let mut world = world_of_three();
    let fates = [
        Fate::AnswerLost,
        Fate::Refused(ErrorCode::UnknownProducerId),
    ];
    world.fates.extend(fates);
    world.append(&record("3", Some(0)));
    world.flush();
    assert_eq!(world.log(0), in_order(4));
    assert!(
        world.delivered[&Ticket(3)].is_err(),
        "it is not known to lie there"
    );
}

#[test]
fn after_the_last_epoch_another_producer_id_is_asked_for() {
    let options = ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    let mut world = World::new(1, options);
    world.first_epoch = ProducerEpoch(i16::MAX);
    let fates = [Fate::Served, Fate::Refused(ErrorCode::InvalidRecord)];
    world.fates.extend(fates);
    for number in 0..4 {
        world.append(&record(&number.to_string(), Some(0)));
    }
    world.flush();
    assert_eq!(world.log(0), ["0", "2", "3"]);
    assert_eq!(world.identities, 2);
}
