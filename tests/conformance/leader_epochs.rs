//! Leader epochs: every life of the broker leads in an epoch of its own, and all answers that name
//! one agree on it (KIP-101, KIP-320, KIP-392's Fetch fields, KIP-595).

use klamm_wire::{fetch, metadata};

use crate::harness::{Broker, Client, End, Options, RawBatch, Topic, fetching};

/// A reign as the test knows it: its number, and the offset at which it began.
#[derive(Clone, Copy, Debug)]
struct Reign {
    epoch: i32,
    start: i64,
}

fn epoch_in_metadata(client: &mut Client, topic: &Topic) -> i32 {
    let asked = metadata::MetadataRequestTopic {
        name: Some(topic.name.clone().into()),
        ..Default::default()
    };
    let request = metadata::Request {
        topics: Some(vec![asked]),
        ..Default::default()
    };
    let reply = client.call(&request, 12);
    let view = reply.view();
    let topic = view.topics().iter().next().expect("one topic");
    let partition = topic.partitions().iter().next().expect("one partition");
    partition.leader_epoch()
}

/// Base offset and leader epoch of every batch.
fn batches(records: &[u8]) -> Vec<(i64, i32)> {
    let mut found = Vec::new();
    let mut rest = records;
    while rest.len() >= 16 {
        let base = i64::from_be_bytes(rest[..8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
        let epoch = i32::from_be_bytes(rest[12..16].try_into().expect("four bytes"));
        found.push((base, epoch));
        rest = &rest[12 + usize::try_from(length).expect("a length")..];
    }
    found
}

/// Fetches as a consumer that believes in `current` and has read `last` before `offset`. Gives the
/// error, and where the broker says that the logs part.
fn fetch_in(
    client: &mut Client,
    topic: &Topic,
    offset: i64,
    current: i32,
    last: i32,
) -> (i16, Option<(i32, i64)>) {
    let mut request: fetch::Request<'_> = fetching(topic, 0, offset);
    let partition = &mut request.topics[0].partitions[0];
    partition.current_leader_epoch = current;
    partition.last_fetched_epoch = last;
    let reply = client.call(&request, 12);
    let view = reply.view();
    let topic = view.responses().iter().next().expect("one topic");
    let partition = topic.partitions().iter().next().expect("one partition");
    let diverging = partition.diverging_epoch();
    let diverging = (diverging.epoch() >= 0).then(|| (diverging.epoch(), diverging.end_offset()));
    (partition.error_code(), diverging)
}

/// What every answer says of the reigns that have records, and of the one that goes on.
fn check(client: &mut Client, topic: &Topic, reigns: &[Reign], current: i32, end: i64) {
    assert_eq!(epoch_in_metadata(client, topic), current);
    assert_eq!(client.list_offset(topic, 0, -1).leader_epoch, current);
    let earliest = reigns.first().map_or(current, |first| first.epoch);
    assert_eq!(client.list_offset(topic, 0, -2).leader_epoch, earliest);
    let mut found = Vec::new();
    loop {
        // What lies in memory and what lies in segments may come in two answers.
        let next = batches(&client.fetch(topic, 0, found.len() as i64).records);
        if next.is_empty() {
            break;
        }
        found.extend(next);
    }
    for &(base, epoch) in &found {
        let of = reigns.iter().rfind(|reign| reign.start <= base);
        assert_eq!(Some(epoch), of.map(|reign| reign.epoch), "offset {base}");
    }
    assert_eq!(found.len() as i64, end, "one batch for each offset");
    // Where a reign ends, a consumer that was in it is told to go back to.
    for pair in reigns.windows(2) {
        let (of, next) = (pair[0], pair[1].start);
        let fits = fetch_in(client, topic, next, current, of.epoch);
        assert_eq!(fits, (0, None), "{of:?}");
        let beyond = fetch_in(client, topic, next + 1, current, of.epoch);
        assert_eq!(beyond, (0, Some((of.epoch, next))), "{of:?}");
    }
    assert_eq!(fetch_in(client, topic, end, current, -1), (0, None));
    assert_eq!(fetch_in(client, topic, end, current + 1, -1).0, 75);
    // Below zero an epoch says nothing.
    let fenced = if current > 0 { 74 } else { 0 };
    assert_eq!(fetch_in(client, topic, end, current - 1, -1).0, fenced);
}

#[test]
fn every_life_of_the_broker_leads_in_an_epoch_of_its_own() {
    let test = "every_life_of_the_broker_leads_in_an_epoch_of_its_own";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("reigns", 1);
    let mut reigns: Vec<Reign> = Vec::new();
    let mut current = epoch_in_metadata(&mut broker.client(), &topic);
    let mut end = 0;
    // The third life writes nothing, so its epoch is in no list.
    for (written, how) in [
        (3, End::Kill),
        (2, End::Stop),
        (0, End::Kill),
        (1, End::Kill),
        (4, End::Stop),
    ] {
        let mut client = broker.client();
        for number in 0..written {
            let batch = RawBatch::one(&format!("{number}")).encode();
            let answer = client.produce(&topic, 0, &batch);
            assert_eq!((answer.error_code, answer.base_offset), (0, end));
            if number == 0 {
                let (epoch, start) = (current, end);
                reigns.push(Reign { epoch, start });
            }
            end += 1;
        }
        check(&mut client, &topic, &reigns, current, end);
        broker.end(how);
        if matches!(how, End::Stop) {
            let mut text = format!("0\n{}\n", reigns.len());
            for reign in &reigns {
                text.push_str(&format!("{} {}\n", reign.epoch, reign.start));
            }
            let path = format!("{}-0/leader-epoch-checkpoint", topic.name);
            let found = std::fs::read_to_string(broker.folder().join(path));
            assert_eq!(found.expect("the file is there"), text);
        }
        broker.start_again();
        let mut client = broker.client();
        let next = epoch_in_metadata(&mut client, &topic);
        assert!(next > current, "epoch {next} after {current}");
        current = next;
        check(&mut client, &topic, &reigns, current, end);
    }
}

#[test]
fn an_empty_log_begins_in_the_epoch_of_its_leader() {
    let test = "an_empty_log_begins_in_the_epoch_of_its_leader";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let topic = broker.client().create_topic("empty", 1);
    for end in End::BOTH {
        broker.end(end);
        broker.start_again();
        let mut client = broker.client();
        let current = epoch_in_metadata(&mut client, &topic);
        assert!(current > 0);
        for special in [-1, -2] {
            let listed = client.list_offset(&topic, 0, special);
            assert_eq!((listed.offset, listed.leader_epoch), (0, current));
        }
        // A topic that is new begins at zero, whatever life the broker is in.
        let fresh = client.create_topic("fresh", 1);
        assert_eq!(epoch_in_metadata(&mut client, &fresh), 0);
    }
}
