//! What the arithmetic of quotas promises.

use klamm_model::MetadataOffset;
use klamm_shard::api::metadata::{Image, MetadataRecord, QuotaEntity, QuotaName, QuotaValue};

use super::*;

const SECOND: u64 = 1_000_000_000;
const WINDOWS: Windows = Windows {
    count: 11,
    size_ms: 1000,
};

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn quotas(set: &[(QuotaEntity, QuotaKey, f64)]) -> ClientQuotas {
    let mut image = Image::default();
    for (entity, key, value) in set {
        let record = MetadataRecord::ClientQuotaSet {
            entity: entity.clone(),
            key: *key,
            value: QuotaValue::new(*value),
        };
        image.replay(MetadataOffset(1), &record).expect("fits");
    }
    image.client_quotas().clone()
}

fn core() -> CoreQuotas {
    CoreQuotas::new(Arc::new(QuotaTable::new(WINDOWS, WINDOWS)))
}

#[test]
fn nobody_waits_who_uses_no_more_than_all_windows_allow() {
    let rate = Rate::new(WINDOWS);
    assert_eq!(rate.charge(5_000, 10_000, 1000.0), 0, "ten full windows");
    // One byte more than 10 s allow, and then another second's worth.
    assert_eq!(rate.charge(5_000, 1000, 1000.0), 1000);
    // What is over the limit is paid by time...
    assert_eq!(rate.charge(5_999, 0, 1000.0), 1);
    assert_eq!(rate.used(15_999), 11_000);
    // ... and forgotten with its window.
    assert_eq!(rate.used(16_000), 0);
}

#[test]
fn what_is_given_back_was_never_used() {
    let rate = Rate::new(WINDOWS);
    rate.charge(1_000, 70, 1.0);
    rate.give_back(1_200, 20);
    assert_eq!(rate.used(1_500), 50);
    rate.give_back(2_000, 20);
    assert_eq!(rate.used(2_000), 50, "another window");
}

#[test]
fn a_client_that_waits_as_told_comes_out_at_its_limit() {
    for (limit, piece) in [(1_000.0, 700), (50_000.0, 16_384), (3.0, 4)] {
        let rate = Rate::new(WINDOWS);
        let (mut now, mut sent) = (77_123, 0);
        let start = now;
        while now < start + 330_000 {
            sent += piece;
            let throttle = rate.charge(now, piece, limit);
            now += u64::try_from(throttle).expect("positive") + 1;
        }
        let found = sent as f64 / ((now - start) as f64 / 1000.0);
        let off = (found - limit).abs() / limit;
        assert!(off < 0.05, "{found} instead of {limit} a second");
    }
}

#[test]
fn cores_that_count_together_lose_nothing() {
    let rate = Arc::new(Rate::new(WINDOWS));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let rate = Arc::clone(&rate);
            scope.spawn(move || {
                for turn in 0..10_000 {
                    rate.charge(turn / 2_000 * 1000, 3, 1.0);
                }
            });
        }
    });
    assert_eq!(rate.used(4_999), 4 * 10_000 * 3);
}

#[test]
fn amounts_beyond_all_measure_stop_at_the_largest() {
    let rate = Rate::new(Windows::new(u32::MAX, u32::MAX));
    assert_eq!(rate.charge(1, u64::MAX, 1e-300), i32::MAX);
    assert_eq!(rate.charge(1, u64::MAX, 1e300), 0);
    let single = Rate::new(Windows::new(0, 0));
    assert!(single.charge(0, 10, 1.0) > 0);
}

#[test]
fn tokens_gather_over_all_windows_and_may_be_owed() {
    let tokens = Tokens::new(WINDOWS);
    let now = Instant(100 * SECOND);
    assert_eq!(tokens.left(now, 2.0), 22);
    assert_eq!(tokens.take(now, 22, 2.0), 0);
    assert_eq!(tokens.left(now, 2.0), 0);
    assert_eq!(tokens.take(now, 3, 2.0), 1500);
    assert_eq!(tokens.left(now, 2.0), -3);
    assert_eq!(tokens.left(Instant(101 * SECOND), 2.0), -1);
    assert!(!tokens.is_full(Instant(101 * SECOND)));
    assert_eq!(tokens.left(Instant(900 * SECOND), 2.0), 22);
    assert!(tokens.is_full(Instant(900 * SECOND)));
}

#[test]
fn a_debt_of_tokens_is_paid_at_the_limit_of_the_moment() {
    let tokens = Tokens::new(WINDOWS);
    let now = Instant(100 * SECOND);
    assert_eq!(tokens.take(now, 5, 0.0001), 49_989_000, "but for 0.0011");
    // At a thousand a second nothing is owed any more.
    assert_eq!(tokens.left(Instant(101 * SECOND), 1000.0), 995);
    assert_eq!(tokens.left(Instant(900 * SECOND), 1000.0), 11_000);
    assert_eq!(
        tokens.left(Instant(900 * SECOND), 2.0),
        22,
        "of a lower limit"
    );
}

#[test]
fn cores_that_take_tokens_together_lose_none_and_find_none_twice() {
    let tokens = Tokens::new(WINDOWS);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..10_000 {
                    tokens.take(at(1_000 + turn / 100 * 10), 1, 1000.0);
                }
            });
        }
    });
    // Eleven windows full, and never more than that; 990 ms have flowed in since the first.
    let left = tokens.left(at(1_990), 1000.0);
    assert!((-29_000..=-28_000).contains(&left), "{left}");
}

#[test]
fn clients_share_the_use_of_a_user_and_have_their_own_of_a_default() {
    let core = core();
    let by_user = [(
        QuotaEntity::User(QuotaName::named("ANONYMOUS")),
        QuotaKey::ProducerByteRate,
        1.0,
    )];
    let by_user = quotas(&by_user);
    let limits = |quotas: &ClientQuotas, client: &str| core.limits(quotas, client, at(1));
    let (a, b) = (limits(&by_user, "a"), limits(&by_user, "b"));
    assert_eq!(a.expect("held").produce(at(1), 10), 0);
    assert!(b.expect("held").produce(at(1), 10) > 0);

    let by_default = [(
        QuotaEntity::Client(QuotaName::Default),
        QuotaKey::ProducerByteRate,
        1.0,
    )];
    let by_default = quotas(&by_default);
    let (a, b) = (limits(&by_default, "a"), limits(&by_default, "b"));
    assert_eq!(a.expect("held").produce(at(1), 10), 0);
    assert_eq!(b.expect("held").produce(at(1), 10), 0);
    assert!(limits(&ClientQuotas::default(), "a").is_none());
}

#[test]
fn a_new_limit_holds_for_what_was_used_before() {
    let core = core();
    let quota = |value| {
        let entity = QuotaEntity::Client(QuotaName::named("c"));
        quotas(&[(entity, QuotaKey::ConsumerByteRate, value)])
    };
    let wide = core.limits(&quota(1000.0), "c", at(0)).expect("held");
    assert_eq!(wide.fetch(at(0), 5_000), 0);
    let narrow = core.limits(&quota(100.0), "c", at(0)).expect("held");
    assert_eq!(narrow.fetch(at(0), 0), 40_000);
    assert_eq!(narrow.fetch_bytes_max(), 1000);
    narrow.unfetch(at(0), 5_000);
    assert_eq!(narrow.fetch(at(0), 1), 0);
}

#[test]
fn work_is_measured_in_percent_of_a_core_and_nobody_waits_longer_than_a_window() {
    let core = core();
    let entity = QuotaEntity::User(QuotaName::Default);
    let quotas = quotas(&[(entity, QuotaKey::RequestPercentage, 10.0)]);
    let limits = core.limits(&quotas, "", at(0)).expect("held");
    assert!(limits.limits_work());
    assert_eq!(limits.work(at(0), SECOND), 0, "a tenth of ten seconds");
    assert_eq!(limits.work(at(0), SECOND / 20), 500);
    assert_eq!(limits.work(at(0), SECOND), 1000);
}

#[test]
fn names_without_end_cost_bounded_memory_and_share_a_use() {
    let table = QuotaTable::new(WINDOWS, WINDOWS);
    let key = QuotaKey::ProducerByteRate;
    let rate = |n: u32, now| {
        let entity = QuotaEntity::Client(QuotaName::Named(n.to_string()));
        table.rate(key, entity, now)
    };
    for n in 0..20_000 {
        rate(n, at(0)).charge(0, 1, 1.0);
    }
    let (first, second) = (rate(20_001, at(0)), rate(20_002, at(0)));
    assert!(Arc::ptr_eq(&first, &second), "all places are taken");
    let later = at(60_000);
    assert!(!Arc::ptr_eq(&rate(20_001, later), &rate(20_002, later)));
}

#[test]
fn use_is_forgotten_when_nobody_is_held_any_more() {
    let table = Arc::new(QuotaTable::new(WINDOWS, WINDOWS));
    let (one, two) = (
        CoreQuotas::new(Arc::clone(&table)),
        CoreQuotas::new(Arc::clone(&table)),
    );
    let entity = QuotaEntity::Client(QuotaName::Default);
    let held = quotas(&[(entity, QuotaKey::ProducerByteRate, 1.0)]);
    let name = "n".repeat(4_000);
    let limits = |core: &CoreQuotas, name: &str| core.limits(&held, name, at(1)).expect("held");
    assert!(limits(&one, &name).produce(at(1), 1_000) > 0);
    assert!(limits(&two, &name).produce(at(1), 1) > 0, "shared");
    // Of one core that has not heard of it yet, the use stays.
    one.forget();
    assert!(limits(&one, &name).produce(at(1), 1) > 0);
    one.forget();
    two.forget();
    assert_eq!(limits(&one, &name).produce(at(1), 1), 0);
    // A name that no quota can have is not kept whole.
    assert!(limits(&one, &name).client().len() <= 512);
    limits(&one, &"\u{e9}".repeat(400));
}

#[test]
fn limits_are_the_same_if_they_are_as_high() {
    let core = core();
    let quota = |key, value| {
        let entity = QuotaEntity::Client(QuotaName::named("c"));
        quotas(&[(entity, key, value)])
    };
    let of = |key, value| {
        let limits = core.limits(&quota(key, value), "c", at(0));
        limits.expect("held")
    };
    let (produce, fetch) = (QuotaKey::ProducerByteRate, QuotaKey::ConsumerByteRate);
    let before = of(produce, 1.0);
    assert!(before.is_as_high_as(&of(produce, 1.0)));
    assert!(!before.is_as_high_as(&of(produce, 2.0)));
    assert!(!before.is_as_high_as(&of(fetch, 1.0)));
}

#[test]
fn an_address_that_is_over_its_rate_waits_and_is_not_counted() {
    let mut rates = AddressRates::new(WINDOWS);
    let ip = |text: &str| text.parse().expect("an address");
    let named = QuotaEntity::Ip(QuotaName::named("10.0.0.1"));
    let key = QuotaKey::ConnectionCreationRate;
    let quotas = quotas(&[
        (named, key, 1.0),
        (QuotaEntity::Ip(QuotaName::Default), key, 2.0),
    ]);
    for _ in 0..10 {
        assert_eq!(rates.connect(&quotas, ip("::ffff:10.0.0.1"), at(0)), 0);
    }
    for _ in 0..3 {
        assert_eq!(rates.connect(&quotas, ip("10.0.0.1"), at(0)), 1000);
    }
    assert_eq!(rates.connect(&quotas, ip("10.0.0.2"), at(0)), 0);
    let none = ClientQuotas::default();
    assert_eq!(rates.connect(&none, ip("10.0.0.1"), at(0)), 0);
}
