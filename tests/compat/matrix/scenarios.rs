//! What happens to a group, whoever its members are.

use super::families::{Family, Protocol};
use super::notes::Note;
use super::stage::{Setting, Stage};
use crate::harness::skipped;

/// A course of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// One member, then eight, then three.
    Scale,
    /// Of three members one dies without a word, and another one comes.
    Crash,
    /// Of three members one stops for longer than its session, and goes on then.
    Pause,
    /// Three members under static names are replaced one after the other.
    Restart,
    /// The broker is killed while three members read, and while a fourth one joins.
    BrokerDeath,
    /// The same where an acknowledgement survives the death of the process and no more.
    BrokerDeathWritten,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::Scale,
        Self::Crash,
        Self::Pause,
        Self::Restart,
        Self::BrokerDeath,
        Self::BrokerDeathWritten,
    ];

    /// Plays it with members of these families in turn; skipped loudly where one is missing.
    pub(crate) fn play(self, test: &str, families: &[Family], assignor: &'static str) {
        let mut setting = Setting {
            assignor,
            ..Setting::default()
        };
        let families: Vec<Family> = match self {
            // No session ends by itself while a process is replaced, however slow its start.
            Self::Restart => {
                setting.session_ms = 30_000;
                let names = families.iter().filter(|family| family.has_static_names);
                names.copied().collect()
            }
            Self::BrokerDeathWritten => {
                setting.durability = "written";
                families.to_vec()
            }
            _ => families.to_vec(),
        };
        if families.is_empty() {
            return skipped(test, "the client has no static names");
        }
        let Some(mut stage) = Stage::open(test, &families, setting) else {
            return;
        };
        let family = |number: usize| &families[number % families.len()];
        let by_broker = |family: &Family| family.protocol == Protocol::Consumer;
        if self == Self::Restart && stage.is_foreign() && families.iter().any(by_broker) {
            return skipped(test, "how long sessions last is the other broker's to say");
        }
        match self {
            Self::Scale => scale(&mut stage, family),
            Self::Crash => crash(&mut stage, family),
            Self::Pause => pause(&mut stage, family),
            Self::Restart => restart(&mut stage, family),
            Self::BrokerDeath | Self::BrokerDeathWritten => {
                if stage.is_foreign() {
                    return skipped(test, "the broker's process is not ours");
                }
                broker_death(&mut stage, family);
            }
        }
        stage.end();
    }
}

fn scale<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) {
    let mut names = vec![stage.join(family(0))];
    stage.settle();
    names.extend((1..8).map(|number| stage.join(family(number))));
    stage.settle();
    stage.leave(&names[..5]);
    stage.settle();
}

fn three<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) -> Vec<String> {
    let names = (0..3).map(|number| stage.join(family(number))).collect();
    stage.settle();
    names
}

fn crash<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) {
    let names = three(stage, &family);
    stage.crash(&names[1]);
    stage.settle();
    stage.join(family(1));
    stage.settle();
}

fn pause<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) {
    let names = three(stage, &family);
    stage.pause(&names[0]);
    stage.settle();
    stage.wake(&names[0]);
    stage.settle();
}

/// The group must not notice: nobody else's work changes hands.
fn restart<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) {
    const STATIC: [&str; 3] = ["first", "second", "third"];
    let join =
        |stage: &mut Stage, number: usize| stage.join_as(family(number), Some(STATIC[number]));
    let names: Vec<String> = (0..3).map(|number| join(stage, number)).collect();
    stage.settle();
    let before = stage.generation();
    for (number, name) in names.iter().enumerate() {
        stage.leave(std::slice::from_ref(name));
        join(stage, number);
        stage.settle();
    }
    assert_eq!(stage.generation(), before, "no round was needed");
}

fn broker_death<'f>(stage: &mut Stage, family: impl Fn(usize) -> &'f Family) {
    three(stage, &family);
    stage.kill_broker();
    stage.settle();
    stage.join(family(3));
    stage.kill_broker();
    stage.settle();
}

/// One member of each family, and everything that can happen to them in one life.
pub(crate) fn mixed(
    test: &str,
    families: &[Family],
    assignor: &'static str,
    durability: &'static str,
) {
    let setting = Setting {
        assignor,
        durability,
        ..Setting::default()
    };
    let Some(mut stage) = Stage::open(test, families, setting) else {
        return;
    };
    let names: Vec<String> = families.iter().map(|family| stage.join(family)).collect();
    stage.settle();
    let (crashed, paused) = (&names[families.len() - 1], &names[families.len() / 2]);
    stage.crash(crashed);
    stage.pause(paused);
    stage.settle();
    stage.wake(paused);
    stage.settle();
    if !stage.is_foreign() {
        stage.kill_broker();
        stage.settle();
    }
    stage.join(&families[families.len() - 1]);
    stage.settle();
    // The one that led, as far as it was the first that came.
    stage.leave(&names[..1]);
    stage.settle();
    stage.end();
}

/// Members of the classic protocol give way to those of the consumer protocol one after the other,
/// and these to others of the classic one.
pub(crate) fn moves(test: &str, assignor: &'static str, older: &[Family], newer: &[Family]) {
    let mut families = older.to_vec();
    families.extend(newer);
    let setting = Setting {
        assignor,
        ..Setting::default()
    };
    let Some(mut stage) = Stage::open(test, &families, setting) else {
        return;
    };
    let classic: Vec<String> = older.iter().map(|family| stage.join(family)).collect();
    stage.settle();
    let consumer: Vec<String> = newer.iter().map(|family| stage.join(family)).collect();
    stage.settle();
    stage.leave(&classic);
    stage.settle();
    for family in older {
        stage.join(family);
    }
    stage.settle();
    stage.leave(&consumer);
    stage.settle();
    stage.end();
}

/// The last generation, or epoch, that a broker noted.
pub(crate) fn last_generation(notes: &[Note]) -> Option<i32> {
    let mut numbers = notes.iter().rev().filter_map(|note| match note {
        Note::Round { generation, .. } => Some(*generation),
        Note::Epoch(epoch) => Some(*epoch),
        _ => None,
    });
    numbers.next()
}
