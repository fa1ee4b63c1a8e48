//! One of the two brokers: its connection, and what only it calls so: the ids of its topics and
//! producers, its port, its folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::apis::Apis;
use crate::codec::{self, Words, hex, unhex};
use crate::harness::{Client, crc32c};
use crate::stock;

/// How long an answer may take on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Key of the API that is asked to see whether another request was left without an answer.
const API_VERSIONS: i16 = 18;

/// A request that both brokers get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) body: Value,
    /// What is done to its bytes before they are sent.
    pub(crate) bend: Bend,
}

/// What is wrong with the bytes of a request, counted in bytes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bend {
    Nothing,
    /// Only a part of the body, in thousandths.
    Cut(u32),
    /// Zeros behind the body.
    Longer(u32),
    /// One byte of the body is another one: place in thousandths, and what it is changed by.
    Byte(u32, u8),
    /// The header has tagged fields where it should have none, or none where it should.
    Header,
    /// A client id that is null.
    NullClient,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Answer(Value),
    /// Bytes that are no answer of this version.
    Malformed(String),
    Closed,
    /// The next request was answered, this one not.
    Silence,
    /// Neither an answer nor the end of the connection, for as long as anybody would wait.
    Stuck,
}

pub(crate) struct Peer<'a> {
    apis: &'a Apis,
    pub(crate) address: SocketAddr,
    client: Option<Client>,
    pub(crate) data: String,
    pub(crate) cluster: String,
    /// Name of each topic that has ever been, and which of that name it was.
    topics: BTreeMap<[u8; 16], (String, usize)>,
    newest: BTreeMap<String, [u8; 16]>,
    producers: Vec<i64>,
    sessions: Vec<i64>,
    /// Ids of members of groups, in the order in which they were given out.
    members: Vec<String>,
    /// The last epoch of each member of a group, by group and id.
    epochs: BTreeMap<(String, String), i64>,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(apis: &'a Apis, address: SocketAddr, data: String) -> Self {
        Self {
            apis,
            address,
            client: None,
            data,
            cluster: String::new(),
            topics: BTreeMap::new(),
            newest: BTreeMap::new(),
            producers: Vec::new(),
            sessions: Vec::new(),
            members: Vec::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// Sends a request and waits for what becomes of it.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Outcome {
        let frame = self.frame(ask, 77);
        // Only a Produce may stay without an answer by right.
        let is_silent = ask.key == 0;
        let probe = Ask {
            key: API_VERSIONS,
            version: 0,
            body: json!({}),
            bend: Bend::Nothing,
        };
        let probe = self.frame(&probe, 78);
        let address = self.address;
        let client = self.client.get_or_insert_with(|| {
            let client = Client::connect(address);
            let limit = client.stream().set_read_timeout(Some(PATIENCE));
            limit.expect("a live socket");
            client
        });
        client.send(&frame);
        if is_silent {
            client.send(&probe);
        }
        let answer = match read(client) {
            Ok(answer) => answer,
            Err(outcome) => {
                self.client = None;
                return outcome;
            }
        };
        if is_silent && answer.starts_with(&78_i32.to_be_bytes()) {
            return Outcome::Silence;
        }
        if is_silent && read(client).is_err() {
            self.client = None;
        }
        let outcome = self.outcome(ask, &answer);
        if let Outcome::Answer(value) = &outcome {
            self.learn(ask, value);
        }
        outcome
    }

    /// Forgets the connection, and with it the sessions that a broker keeps by connection.
    pub(crate) fn reconnect(&mut self) {
        self.client = None;
    }

    fn outcome(&self, ask: &Ask, answer: &[u8]) -> Outcome {
        let half = &self.apis.of(ask.key).response;
        // Its header never has tagged fields, so that a client of any age understands it.
        let flexible = codec::is_flexible(half, ask.version) && ask.key != API_VERSIONS;
        let head = if flexible { 5 } else { 4 };
        if answer.len() < head || !answer.starts_with(&77_i32.to_be_bytes()) {
            return Outcome::Malformed(format!("header {}", hex(&answer[..answer.len().min(8)])));
        }
        let mut decoded = codec::decode(half, ask.version, &answer[head..]);
        if ask.key == API_VERSIONS && decoded.is_err() {
            // A version that is not known is answered in the oldest one.
            decoded = codec::decode(half, 0, &answer[head..]);
        }
        match decoded {
            Ok(value) => Outcome::Answer(value),
            Err(fault) => Outcome::Malformed(fault),
        }
    }

    fn frame(&self, ask: &Ask, correlation: i32) -> Vec<u8> {
        let mut frame = vec![0; 4];
        frame.extend(ask.key.to_be_bytes());
        frame.extend(ask.version.to_be_bytes());
        frame.extend(correlation.to_be_bytes());
        if ask.bend == Bend::NullClient {
            frame.extend([0xff, 0xff]);
        } else {
            frame.extend([0, 4]);
            frame.extend(b"diff");
        }
        let half = self.apis.find(ask.key).map(|api| &api.request);
        let flexible = half.is_some_and(|half| codec::is_flexible(half, ask.version));
        if flexible != (ask.bend == Bend::Header) {
            frame.push(0);
        }
        let mut body = half.map_or_else(Vec::new, |half| {
            codec::encode(half, ask.version, &ask.body, self)
        });
        match ask.bend {
            Bend::Cut(part) => body.truncate(body.len() * part as usize / 1000),
            Bend::Longer(count) => body.extend(vec![0; count as usize]),
            Bend::Byte(place, change) if !body.is_empty() => {
                let place = body.len() * place as usize / 1000;
                body[place] ^= change;
            }
            _ => {}
        }
        frame.extend(body);
        let size = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        frame
    }

    /// Remembers what an answer gives out under a name of this broker's own.
    fn learn(&mut self, ask: &Ask, answer: &Value) {
        self.learn_topics(answer);
        let field = |name: &str| answer.get(name).and_then(Value::as_i64);
        let list = match ask.key {
            22 => field("producer_id").zip(Some(&mut self.producers)),
            1 => field("session_id").zip(Some(&mut self.sessions)),
            _ => None,
        };
        // "None" is -1 of a producer, and 0 of a session.
        if let Some((id, list)) = list
            && (id > 0 || (ask.key == 22 && id == 0))
            && !list.contains(&id)
        {
            list.push(id);
        }
        let member = answer.get("member_id").and_then(Value::as_str);
        if let Some(member) = member.filter(|id| is_new_member(ask, id))
            && !self.members.iter().any(|known| known == member)
        {
            self.members.push(member.to_owned());
        }
        self.learn_epoch(ask, answer);
        if let Some(cluster) = answer.get("cluster_id").and_then(Value::as_str) {
            self.cluster = cluster.to_owned();
        }
    }

    /// Members say the epoch that they were told last, which each broker counts from another number.
    fn learn_epoch(&mut self, ask: &Ask, answer: &Value) {
        let group = ask.body["group_id"].as_str();
        let (member, epoch) = (
            answer["member_id"].as_str(),
            answer["member_epoch"].as_i64(),
        );
        if let (68, Some(group), Some(member), Some(epoch)) = (ask.key, group, member, epoch) {
            let place = (group.to_owned(), member.to_owned());
            self.epochs.insert(place, epoch);
        }
    }

    fn learn_topics(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.learn_topics(value)),
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                if let (Some(name), Some(id)) = (text("name"), text("topic_id")) {
                    let id: [u8; 16] = unhex(id).try_into().expect("16 bytes");
                    let is_good = fields.get("error_code") == Some(&json!(0));
                    if id != [0; 16] && is_good && !self.topics.contains_key(&id) {
                        let before = self.topics.values().filter(|(other, _)| other == name);
                        let entry = (name.to_owned(), before.count());
                        self.topics.insert(id, entry);
                        self.newest.insert(name.to_owned(), id);
                    }
                }
                fields.values().for_each(|value| self.learn_topics(value));
            }
            _ => {}
        }
    }

    /// What both brokers call the topic of this id.
    pub(crate) fn topic_of(&self, id: &[u8; 16]) -> Option<String> {
        let (name, which) = self.topics.get(id)?;
        Some(format!("@id of {name}, {which}"))
    }

    /// What both brokers call this producer.
    pub(crate) fn producer_of(&self, id: i64) -> Option<String> {
        let place = self.producers.iter().position(|&other| other == id)?;
        Some(format!("@producer {place}"))
    }

    /// What both brokers call this member.
    pub(crate) fn member_of(&self, id: &str) -> Option<String> {
        let place = self.members.iter().position(|other| other == id)?;
        Some(format!("member {place}"))
    }

    /// A summary of batches as they are stored, whole ones only: Apache Kafka cuts the last one
    /// where the request's limit is, which every client is used to.
    pub(crate) fn summary(&self, bytes: &[u8]) -> Value {
        let mut batches = Vec::new();
        let mut left = bytes;
        while left.len() >= 61 {
            let length = number(left, 8, 4) as usize + 12;
            if left.len() < length {
                break;
            }
            let (batch, behind) = left.split_at(length);
            let producer = number(batch, 43, 8);
            let producer = self.producer_of(producer);
            let producer = producer.unwrap_or_else(|| number(batch, 43, 8).to_string());
            batches.push(json!({
                "base_offset": number(batch, 0, 8),
                "leader_epoch": number(batch, 12, 4),
                "attributes": number(batch, 21, 2),
                "last_offset_delta": number(batch, 23, 4),
                "base_time": number(batch, 27, 8),
                "max_time": number(batch, 35, 8),
                "producer": producer,
                "producer_epoch": number(batch, 51, 2),
                "base_sequence": number(batch, 53, 4),
                "count": number(batch, 57, 4),
                "section": format!("{} bytes, {:08x}", batch.len() - 61, crc32c(&batch[61..])),
            }));
            left = behind;
        }
        Value::Array(batches)
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> i64 {
    let bytes = &bytes[at..at + size];
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    let add = |sum: i64, &byte: &u8| (sum << 8) | i64::from(byte);
    bytes.iter().fold(sign, add)
}

/// True of the id of a member that the broker made.
fn is_new_member(ask: &Ask, id: &str) -> bool {
    match ask.key {
        11 => id.len() > 36,
        68 => ask.body["member_id"] == json!("") && !id.is_empty(),
        _ => false,
    }
}

/// The next frame, or what there is instead.
fn read(client: &mut Client) -> Result<Vec<u8>, Outcome> {
    match client.read_frame() {
        Ok(Some(frame)) => Ok(frame),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Outcome::Stuck),
        Ok(None) | Err(_) => Err(Outcome::Closed),
    }
}

impl Words for Peer<'_> {
    fn number(&self, word: &str) -> i64 {
        if let Some(place) = word.strip_prefix("@producer ") {
            let place: usize = place.parse().expect(word);
            return self.producers.get(place).copied().unwrap_or(424_242);
        }
        if let Some(place) = word.strip_prefix("@session ") {
            let place: usize = place.parse().expect(word);
            return self.sessions.get(place).copied().unwrap_or(424_242);
        }
        if let Some(words) = word.strip_prefix("@epoch ") {
            let mut words = words.split(' ');
            let mut next = || words.next().expect(word);
            let (group, more) = (next().to_owned(), next().parse::<i64>().expect(word));
            let member = self.text(&words.collect::<Vec<_>>().join(" "));
            return self
                .epochs
                .get(&(group, member))
                .map_or(0, |epoch| epoch + more);
        }
        panic!("no number {word:?}")
    }

    fn id(&self, word: &str) -> [u8; 16] {
        if let Some(name) = word.strip_prefix("@id of ") {
            let unknown = [0x77; 16];
            return self.newest.get(name).copied().unwrap_or(unknown);
        }
        unhex(word).try_into().expect("32 digits")
    }

    fn text(&self, word: &str) -> String {
        match word {
            "@log dir" => self.data.clone(),
            "@cluster" => self.cluster.clone(),
            "@member" => self.members.last().cloned().unwrap_or_default(),
            "@member before" => {
                let before = self.members.iter().rev().nth(1);
                before.cloned().unwrap_or_default()
            }
            other => other.to_owned(),
        }
    }

    fn records(&self, word: &str) -> Vec<u8> {
        stock::batches(word, &|place| self.number(&format!("@producer {place}")))
    }
}
