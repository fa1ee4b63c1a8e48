//! Configuration of groups (GROUP): kept, listed, described and refused as Apache Kafka does, and
//! still there after a restart.

use klamm_wire::list_config_resources;

use crate::harness::configs::{Change, DEFAULT, FILE, Outcome};
use crate::harness::{Broker, Client, Options, unique, wait_for};

const GROUP: i8 = 32;
/// Where a value comes from that was set of the group.
const OWN_GROUP: i8 = 8;
const SESSION: &str = "consumer.session.timeout.ms";
const DONE: Outcome = (0, None);

fn refused(code: i16, message: &str) -> Outcome {
    (code, Some(message.to_owned()))
}

fn is_listed(client: &mut Client, group: &str) -> bool {
    let request = list_config_resources::Request {
        resource_types: vec![GROUP],
    };
    let reply = client.call(&request, 1);
    let view = reply.view();
    let mut found = view.config_resources().iter();
    found.any(|one| (one.resource_type(), one.resource_name()) == (GROUP, group))
}

fn wait_for_value(client: &mut Client, group: &str, value: &str, source: i8) {
    wait_for("the group's configuration", || {
        let found = client.described(GROUP, group);
        let row = &found[SESSION];
        (row.value.as_deref() == Some(value) && row.source == source).then_some(())
    });
}

#[test]
fn what_is_set_of_a_group_is_kept_listed_and_described_until_it_is_taken_back() {
    let broker = Broker::start();
    let mut client = broker.client();
    let group = unique("configured");
    let before = client.described(GROUP, &group);
    assert_eq!(before.len(), 17);
    assert_eq!(before[SESSION].source, DEFAULT);
    assert_eq!(before[SESSION].kind, 3);
    assert!(!before[SESSION].read_only);
    assert!(!is_listed(&mut client, &group));
    let set = [(SESSION, Change::Set("50000"))];
    assert_eq!(client.change(GROUP, &group, &set), DONE);
    wait_for_value(&mut client, &group, "50000", OWN_GROUP);
    let said = |name: &str, value: &str, source| (name.to_owned(), Some(value.to_owned()), source);
    assert_eq!(
        client.described(GROUP, &group)[SESSION].synonyms,
        [
            said(SESSION, "50000", OWN_GROUP),
            said("group.consumer.session.timeout.ms", "45000", DEFAULT),
        ]
    );
    assert!(is_listed(&mut client, &group));
    let taken = [(SESSION, Change::Delete)];
    assert_eq!(client.change(GROUP, &group, &taken), DONE);
    wait_for_value(&mut client, &group, "45000", DEFAULT);
    assert!(!is_listed(&mut client, &group));
}

#[test]
fn what_the_file_says_bounds_groups_and_is_their_default() {
    let options = Options::new()
        .set("group.consumer.session.timeout.ms", "20000")
        .set("group.consumer.min.session.timeout.ms", "10000")
        .set("group.consumer.max.session.timeout.ms", "30000")
        .set("group.consumer.assignment.interval.ms", "500");
    let Some(mut broker) = Broker::own("what_the_file_says_bounds_groups", options) else {
        return;
    };
    let mut client = broker.client();
    let group = unique("bounded");
    wait_for_value(&mut client, &group, "20000", FILE);
    let mut set = |value| client.change(GROUP, &group, &[(SESSION, Change::Set(value))]);
    let text =
        format!("{SESSION} must be less than or equal to group.consumer.max.session.timeout.ms");
    assert_eq!(set("30001"), refused(40, &text));
    let text =
        format!("{SESSION} must be greater than or equal to group.consumer.min.session.timeout.ms");
    assert_eq!(set("9999"), refused(40, &text));
    assert_eq!(set("10000"), DONE);
    wait_for_value(&mut client, &group, "10000", OWN_GROUP);
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    wait_for_value(&mut client, &group, "10000", OWN_GROUP);
    assert!(is_listed(&mut client, &group));
}

#[test]
fn names_and_values_that_are_too_long_are_refused_in_one_sentence() {
    let broker = Broker::start();
    let mut client = broker.client();
    let set = [(SESSION, Change::Set("50000"))];
    let long = "g".repeat(513);
    let text = "Group name of 513 bytes is too long.";
    assert_eq!(client.change(GROUP, &long, &set), refused(42, text));
    let text = "Default group resources are not allowed.";
    assert_eq!(client.change(GROUP, "", &set), refused(42, text));
    let wide = format!("{:100}1", "");
    let set = [(
        "consumer.assignment.interval.ms",
        Change::Set(wide.as_str()),
    )];
    let text = "The value of consumer.assignment.interval.ms is too long: 101 bytes.";
    assert_eq!(
        client.change(GROUP, &unique("wide"), &set),
        refused(40, text)
    );
}
