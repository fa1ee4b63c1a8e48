//! Two answers, field by field: what differs, and whether that is known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::apis::Apis;
use crate::expected::{self, EXPECTED};
use crate::neutral::neutral;
use crate::peer::{Ask, Outcome, Peer};

/// One thing in which two answers differ.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Fields from the answer down to it, without places in lists.
    pub(crate) path: String,
    pub(crate) kafka: Value,
    pub(crate) klamm: Value,
}

/// A request, and what both made of it, without what must differ.
pub(crate) struct Exchange<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) kafka: &'a Value,
    pub(crate) klamm: &'a Value,
}

/// What was found in all exchanges.
pub(crate) struct Findings {
    pub(crate) exchanges: usize,
    answered: usize,
    expected: BTreeMap<&'static str, usize>,
    /// Findings that no row covers, those that look alike as one, with the first example.
    unexpected: BTreeMap<String, (usize, String)>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self {
            exchanges: 0,
            answered: 0,
            expected: BTreeMap::new(),
            unexpected: BTreeMap::new(),
        }
    }

    /// Takes in what both brokers made of a request; gives what no row covers.
    pub(crate) fn add(&mut self, apis: &Apis, ask: &Ask, kafka: &Value, klamm: &Value) {
        self.exchanges += 1;
        if kafka.get("answer").is_some() {
            self.answered += 1;
        }
        let exchange = Exchange { ask, kafka, klamm };
        for finding in differences(kafka, klamm) {
            let row = EXPECTED.iter().find(|row| (row.is_it)(&exchange, &finding));
            if let Some(row) = row {
                *self.expected.entry(row.subject).or_default() += 1;
                continue;
            }
            let look = look_of(apis, ask, &finding);
            let example = format!(
                "key {} version {} {:?} {}\n      Apache Kafka: {kafka}\n      klamm:        {klamm}",
                ask.key, ask.version, ask.bend, ask.body
            );
            let entry = self.unexpected.entry(look).or_insert((0, example));
            entry.0 += 1;
        }
    }

    /// True where they differ in what neither a row nor a finding before tells.
    pub(crate) fn is_news(&self, apis: &Apis, ask: &Ask, kafka: &Value, klamm: &Value) -> bool {
        let exchange = Exchange { ask, kafka, klamm };
        let is_known = |finding: &Finding| {
            let is_expected = EXPECTED.iter().any(|row| (row.is_it)(&exchange, finding));
            is_expected || self.unexpected.contains_key(&look_of(apis, ask, finding))
        };
        !differences(kafka, klamm).iter().all(is_known)
    }

    /// Panics where the brokers differ in what no row says, or a row says what no answer shows.
    pub(crate) fn judge(&self, how: &str) {
        let subjects: BTreeSet<_> = EXPECTED.iter().map(|row| row.subject).collect();
        let gone: Vec<_> = subjects
            .into_iter()
            .filter(|subject| !self.expected.contains_key(subject))
            .collect();
        let mut report = format!(
            "{} requests ({how}), {} answered; differences by row: {:?}\n",
            self.exchanges, self.answered, self.expected
        );
        for (look, (count, example)) in &self.unexpected {
            report.push_str(&format!("\n{count} x {look}\n      {example}\n"));
        }
        for subject in &gone {
            report.push_str(&format!("\nno answer shows any more: {subject}\n"));
        }
        println!("{report}");
        assert!(
            self.unexpected.is_empty() && gone.is_empty(),
            "{} differences that {} does not tell, {} that it tells without need\n{report}",
            self.unexpected.len(),
            expected::PAGE,
            gone.len()
        );
    }
}

/// How findings of one kind look.
fn look_of(apis: &Apis, ask: &Ask, finding: &Finding) -> String {
    let name = apis.find(ask.key).map_or("?", |api| api.name.as_str());
    let (theirs, ours) = (short(&finding.kafka), short(&finding.klamm));
    format!(
        "{name}.{}: Apache Kafka {theirs}, klamm {ours}",
        finding.path
    )
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let end = text.ceil_char_boundary(100);
    text[..end].to_owned()
}

/// What became of a request as a tree, without what must differ.
pub(crate) fn tree_of(peer: &Peer<'_>, key: i16, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Answer(answer) => serde_json::json!({ "answer": neutral(peer, key, answer) }),
        Outcome::Malformed(fault) => serde_json::json!({ "malformed": fault }),
        Outcome::Closed => serde_json::json!("closed"),
        Outcome::Stuck => serde_json::json!("stuck"),
        Outcome::Silence => serde_json::json!("no answer"),
    }
}

/// Everything in which two trees differ.
fn differences(kafka: &Value, klamm: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    descend("", kafka, klamm, &mut found);
    found
}

fn descend(path: &str, kafka: &Value, klamm: &Value, found: &mut Vec<Finding>) {
    if kafka == klamm {
        return;
    }
    match (kafka, klamm) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
            for name in names {
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(name).cloned().unwrap_or_else(|| "absent".into())
                };
                let path = match path {
                    "" | "answer" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                descend(&path, &of(theirs), &of(ours), found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (kafka, klamm) in theirs.iter().zip(ours) {
                descend(&format!("{path}[]"), kafka, klamm, found);
            }
        }
        _ => found.push(Finding {
            path: path.to_owned(),
            kafka: kafka.clone(),
            klamm: klamm.clone(),
        }),
    }
}
