//! What one client, or one group, can make the coordinator do has an end, and others go on.

use std::sync::Arc;
use std::time::Duration;

use super::super::api::{Command, Leave, Leaving, Reply};
use super::super::names::{GroupId, MemberId};
use super::super::testing::Host;
use super::super::{GroupConfig, TimerKey};
use super::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, ConsumerHeartbeatRefused,
    HeartbeatPatience, MemberEpoch,
};
use super::testing::TestTopics;
use crate::limits::{MEMBERS_GONE_MAX, REGEXES_MAX, SUBSCRIBED_TOPICS_MAX};

fn join(member: &str, topics: Vec<String>, regex: Option<&str>) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: GroupId::new("g"),
        member: MemberId::new(member),
        member_id_required: true,
        epoch: MemberEpoch::JOIN,
        instance: None,
        rack: None,
        rebalance_timeout_ms: 60_000,
        client_id: "c".to_owned(),
        client_host: "/::1".to_owned(),
        topics: Some(topics),
        regex: regex.map(str::to_owned),
        assignor: None,
        owned: Some(Vec::new()),
        patience: HeartbeatPatience::Apart,
    }
}

fn ask(
    host: &mut Host,
    heartbeat: ConsumerHeartbeat,
) -> Result<ConsumerHeartbeatDone, ConsumerHeartbeatRefused> {
    let (_, replies) = host.decide(Command::ConsumerHeartbeat(heartbeat));
    match replies.into_iter().next() {
        Some((_, Reply::ConsumerHeartbeat(result))) => result,
        other => panic!("it is answered: {other:?}"),
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

#[test]
fn very_many_members_that_leave_at_once_go_in_slices() {
    let members = 2 * MEMBERS_GONE_MAX + 500;
    let mut config = GroupConfig::default();
    config.consumer.assignment_interval = Duration::from_secs(15);
    let mut host = Host::new(config);
    for number in 0..members {
        let done = ask(
            &mut host,
            join(&format!("m{number}"), vec!["t".to_owned()], None),
        );
        assert!(done.is_ok());
    }
    let members = (0..members).map(|number| Leaving {
        member: Some(MemberId::new(&format!("m{number}"))),
        instance: None,
        reason: None,
    });
    let group = GroupId::new("g");
    let before = host.log.len();
    let members = members.collect();
    let (_, replies) = host.decide(Command::Leave(Leave { group, members }));
    let Some((_, Reply::Leave(Ok(left)))) = replies.first() else {
        panic!("{replies:?}");
    };
    assert!(
        left.iter().all(|left| left.result.is_ok()),
        "all are told that they left"
    );
    assert!(
        host.log.len() - before < 4 * MEMBERS_GONE_MAX,
        "not all in one decision"
    );
    host.advance(Duration::from_secs(1));
    assert_eq!(host.coordinator.stats().members, 0, "but soon");
}

#[test]
fn a_division_that_the_log_does_not_take_refuses_nobody() {
    let config = GroupConfig {
        batch_bytes_max: 6_000,
        ..GroupConfig::default()
    };
    let mut host = Host::new(config);
    host.see_topics(TestTopics::of(&["t:1000"]));
    let joined = ask(&mut host, join("a", vec!["t".to_owned()], None)).expect("it is heard");
    assert_eq!(joined.assignment, Some(Vec::new()), "but gets nothing");
    for _ in 0..20 {
        host.advance(Duration::from_secs(5));
        let alive = ConsumerHeartbeat {
            epoch: joined.epoch,
            rebalance_timeout_ms: -1,
            topics: None,
            owned: None,
            ..join("a", Vec::new(), None)
        };
        assert!(ask(&mut host, alive).is_ok(), "nor is it silent");
    }
    host.see_topics(TestTopics::of(&["t:10"]));
    host.advance(Duration::from_secs(6));
    let alive = ask(&mut host, join("a", vec!["t".to_owned()], None)).expect("it is heard");
    let given = alive.assignment.expect("it is told");
    assert_eq!(given[0].partitions.len(), 10, "what fits is divided");
}

#[test]
fn expressions_and_names_have_a_number() {
    let mut host = Host::new(GroupConfig::default());
    for number in 0..REGEXES_MAX {
        let regex = format!("r{number}");
        let done = ask(&mut host, join(&regex, Vec::new(), Some(&regex)));
        assert!(done.is_ok(), "{done:?}");
    }
    let refused = ask(&mut host, join("more", Vec::new(), Some("more")));
    let error = refused.expect_err("one too many").error;
    assert_eq!(error, ConsumerHeartbeatError::InvalidRegularExpression);
    let again = ask(&mut host, join("more", Vec::new(), Some("r0")));
    assert!(again.is_ok(), "one that is known is no new one");
    let refused = ask(
        &mut host,
        join("many", names(SUBSCRIBED_TOPICS_MAX + 1), None),
    );
    let error = refused.expect_err("too many names").error;
    assert_eq!(error, ConsumerHeartbeatError::InvalidRequest);
    let fits = ask(&mut host, join("many", names(SUBSCRIBED_TOPICS_MAX), None));
    assert!(fits.is_ok());
}

#[test]
fn members_that_could_not_be_heard_are_not_given_up_for_that() {
    let mut host = Host::new(GroupConfig::default());
    let joined = ask(&mut host, join("a", vec!["t".to_owned()], None)).expect("it is heard");
    // The log takes nothing for two minutes: heartbeats are refused, timers are put off.
    let key = TimerKey::Group(GroupId::new("g"));
    host.now = host.now.plus(Duration::from_secs(120));
    host.coordinator.put_off(host.now, &key);
    host.advance(Duration::from_secs(5));
    let alive = ConsumerHeartbeat {
        epoch: joined.epoch,
        rebalance_timeout_ms: -1,
        topics: None,
        owned: None,
        ..join("a", Vec::new(), None)
    };
    assert!(ask(&mut host, alive).is_ok(), "it comes as soon as it can");
    host.advance(Duration::from_secs(46));
    assert_eq!(
        host.coordinator.stats().members,
        0,
        "and is silent after that"
    );
}

/// Whatever was missed is found when the topics of expressions are looked for anew, and nothing is
/// written where there is nothing new.
#[test]
fn topics_of_expressions_are_looked_for_anew_from_time_to_time() {
    let mut config = GroupConfig::default();
    config.consumer.regex_refresh_interval = Duration::from_secs(20);
    let mut host = Host::new(config);
    host.see_topics(TestTopics::of(&["air:1"]));
    let joined = ask(&mut host, join("a", Vec::new(), Some("air.*"))).expect("it is heard");
    assert_eq!(partitions(&joined), 1);
    // Nobody tells the coordinator of the other topic.
    host.topics = TestTopics::of(&["air:1", "airport:2"]);
    host.coordinator.surroundings.view = Some(Arc::new(host.topics.clone()));
    let after = |host: &mut Host, wait: Duration| {
        host.advance(wait);
        let again = ConsumerHeartbeat {
            epoch: joined.epoch,
            ..join("a", Vec::new(), Some("air.*"))
        };
        partitions(&ask(host, again).expect("it is heard"))
    };
    assert_eq!(after(&mut host, Duration::from_secs(15)), 1);
    assert_eq!(after(&mut host, Duration::from_secs(10)), 3);
    let written = host.log.len();
    host.advance(Duration::from_secs(40));
    assert_eq!(host.log.len(), written, "nothing is new");
}

fn partitions(done: &ConsumerHeartbeatDone) -> usize {
    let topics = done.assignment.iter().flatten();
    topics.map(|topic| topic.partitions.len()).sum()
}
