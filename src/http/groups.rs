//! What the admin face tells of groups, as JSON: a list, one group with its members and how far each
//! partition is behind, and what happened to it lately. Pure.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Groups on one page of the list at most, and where no limit is asked for.
pub(super) const GROUPS_SHOWN_MAX: usize = 1_000;

/// Bytes of names on one page of the list, after which the next page begins.
pub const LIST_NAME_BYTES_MAX: usize = 1 << 20;

/// Partitions shown of one group.
pub const PARTITIONS_SHOWN_MAX: usize = 10_000;

/// What a core answers about one group.
#[derive(Clone, Debug)]
pub enum Found<T> {
    /// It is here.
    Here(T),
    /// It is not.
    NotHere,
    /// It may be: some groups of this core are still being read.
    Loading,
}

/// Which groups a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedAfter {
    /// Those behind this name; `None` from the first.
    pub after: Option<String>,
    /// How many.
    pub limit: usize,
}

/// A group in the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GroupLine {
    /// Its name.
    pub group: String,
    /// By which protocol it is coordinated, in Kafka's word.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it stands, in Kafka's word.
    pub state: &'static str,
    /// Its kind; empty where nobody ever joined.
    pub protocol_type: String,
    /// How many members it has.
    pub members: usize,
    /// The verdict; absent before the first look.
    pub verdict: Option<&'static str>,
    /// For how long it is that.
    pub verdict_seconds: Option<f64>,
    /// What the verdict rests on, in a sentence.
    pub reason: Option<String>,
    /// Sums over its partitions; absent before the first look.
    pub lag: Option<LagSums>,
    /// When it was looked at.
    pub looked_seconds_ago: Option<f64>,
}

/// Sums over the partitions of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LagSums {
    /// Partitions with an offset.
    pub partitions: u64,
    /// Those whose offset does not move although there is something to read.
    pub stuck_partitions: u64,
    /// Unread offsets.
    pub records: u64,
    /// Those of them that are stable.
    pub stable_records: u64,
    /// Offsets that were removed unread.
    pub missed_records: u64,
    /// Unread bytes.
    pub bytes: u64,
    /// None of them is judged.
    pub bytes_exact: bool,
    /// The age of the oldest of the first unread records.
    pub seconds: f64,
    /// None is judged or unknown.
    pub seconds_exact: bool,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GroupPage {
    /// As in the list.
    #[serde(flatten)]
    pub line: GroupLine,
    /// The round, or the epoch.
    pub generation: Option<i32>,
    /// How the work is divided.
    pub protocol: String,
    /// Who divides it.
    pub leader: Option<String>,
    /// How fast both ends move, over the last looks.
    pub rates: Option<Rates>,
    /// Its members.
    pub member_list: Vec<MemberLine>,
    /// Members that are not shown.
    pub members_omitted: usize,
    /// Its partitions.
    pub partitions: Vec<PartitionLine>,
    /// Partitions that are not shown.
    pub partitions_omitted: u64,
    /// Partitions that members have to read, and of which nothing was committed.
    pub uncommitted: Vec<UncommittedLine>,
}

/// A partition that a member has to read, and of which nothing was committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UncommittedLine {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Who has to read it.
    pub member: String,
}

/// How fast the ends of a group's partitions move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Offsets that it goes forward in a second.
    pub consumed_per_second: f64,
    /// Offsets that are written for it in a second.
    pub produced_per_second: f64,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemberLine {
    /// Its id.
    pub member: String,
    /// Its name, if it is a static one.
    pub instance: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from.
    pub client_host: String,
    /// What it has to read, if that is known.
    pub assigned: Option<Vec<TopicLine>>,
    /// How many partitions that are.
    pub assigned_partitions: usize,
}

/// Partitions of one topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopicLine {
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// One partition of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartitionLine {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Who has to read it, if that is known.
    pub member: Option<String>,
    /// The kept offset.
    pub committed: i64,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: i64,
    /// First offset that can be read.
    pub log_start: i64,
    /// End of what is stable.
    pub last_stable: i64,
    /// End of what is committed of the log.
    pub high_watermark: i64,
    /// Unread offsets.
    pub records: u64,
    /// Those of them that are stable.
    pub stable_records: u64,
    /// Offsets that were removed unread.
    pub missed_records: u64,
    /// Offsets by which the kept one is beyond the log.
    pub ahead_records: u64,
    /// Unread bytes.
    pub bytes: u64,
    /// They are counted, not judged.
    pub bytes_exact: bool,
    /// Age of the first unread record; absent if it has no time.
    pub seconds: Option<f64>,
    /// It is that record's, not judged.
    pub seconds_exact: bool,
    /// For how long the offset lies still with something to read.
    pub still_seconds: f64,
    /// For as long as `klamm.group.stuck.ms`.
    pub stuck: bool,
}

/// What happened to a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HistoryPage {
    /// Its name.
    pub group: String,
    /// Since when this is remembered: the start of the broker, in milliseconds since 1970. Nothing
    /// is remembered over a restart.
    pub since_ms: i64,
    /// Events before the first one that are forgotten.
    pub forgotten: u64,
    /// The events, the oldest first.
    pub events: Vec<EventLine>,
    /// Commits that were refused.
    pub refused_commits: RefusedLine,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventLine {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What, in one word.
    pub event: &'static str,
    /// In a sentence.
    pub text: String,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// In whose place, of a static member that came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// The client's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where it calls from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_host: Option<String>,
    /// What the client said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The round that began after, is complete, or is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
    /// How many members the round has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
    /// Who divided the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// How long the rebalance took that ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<f64>,
    /// How many partitions changed hands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_partitions: Option<usize>,
    /// What changed hands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedLine>,
}

/// What changed hands in a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MovedLine {
    /// Partitions given.
    pub gained: usize,
    /// Partitions taken.
    pub lost: usize,
    /// How many of both are not named.
    pub unnamed: usize,
    /// By member.
    pub members: Vec<MemberMovedLine>,
}

/// What one member was given and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemberMovedLine {
    /// Who.
    pub member: String,
    /// What it was given.
    pub gained: Vec<TopicLine>,
    /// What was taken from it.
    pub lost: Vec<TopicLine>,
}

/// Commits that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefusedLine {
    /// All of them.
    pub total: u64,
    /// From members that the group does not know.
    pub unknown_member: u64,
    /// From static members that another one has replaced.
    pub fenced_instance: u64,
    /// Of another generation.
    pub illegal_generation: u64,
    /// While a rebalance was under way.
    pub rebalance_in_progress: u64,
    /// For any other reason.
    pub others: u64,
    /// When the last one came, in milliseconds since 1970.
    pub last_ms: Option<i64>,
}

/// What a core has of a page of the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPart {
    /// Its first groups, by name.
    pub groups: Vec<GroupLine>,
    /// It has more behind them.
    pub has_more: bool,
    /// Some of its groups are still being read.
    pub is_loading: bool,
}

#[derive(Serialize)]
struct ListPage {
    groups: Vec<GroupLine>,
    /// The name to go on behind; absent on the last page.
    next: Option<String>,
    /// Groups may be missing.
    loading: bool,
}

/// One page of the list, from what each core has of it: the first so many, by name.
pub(super) fn list_page(parts: Vec<ListPart>, limit: usize) -> Response {
    // A core that has more than it answered has them behind its last name.
    let loading = parts.iter().any(|part| part.is_loading);
    let ends = parts.iter().filter(|part| part.has_more);
    let sure = ends.filter_map(|part| Some(part.groups.last()?.group.clone()));
    let sure = sure.min();
    let mut groups: Vec<GroupLine> = parts.into_iter().flat_map(|part| part.groups).collect();
    groups.sort_by(|left, right| left.group.cmp(&right.group));
    let mut has_more = sure.is_some();
    if let Some(sure) = &sure {
        groups.retain(|line| line.group <= *sure);
    }
    let mut bytes = 0;
    let fits = groups.iter().take(limit).take_while(|line| {
        bytes += line.group.len();
        bytes <= LIST_NAME_BYTES_MAX
    });
    let fits = fits.count().max(1);
    has_more |= groups.len() > fits;
    groups.truncate(fits);
    let next = groups.last().map(|line| line.group.clone());
    json(
        StatusCode::OK,
        &ListPage {
            groups,
            next: next.filter(|_| has_more),
            loading,
        },
    )
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why there is no answer, in JSON too.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a str,
    }
    json(status, &Refusal { error: reason })
}

/// What the cores answered about one group, as one answer.
pub(super) fn one_of<T: Serialize>(shards: usize, found: Vec<Found<T>>, what: &str) -> Response {
    let answered = found.len();
    let mut is_loading = false;
    for one in found {
        match one {
            Found::Here(page) => return json(StatusCode::OK, &page),
            Found::Loading => is_loading = true,
            Found::NotHere => {}
        }
    }
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    if answered < shards {
        return refusal(unavailable, "not all shards answered in time; ask again");
    }
    if is_loading {
        return refusal(unavailable, "groups are being loaded; ask again");
    }
    refusal(StatusCode::NOT_FOUND, what)
}

/// Reads `after` and `limit` of a query.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn listed_after(query: &str) -> Result<ListedAfter, String> {
    let mut listed = ListedAfter {
        after: None,
        limit: GROUPS_SHOWN_MAX,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("after", name)) => listed.after = Some(unescaped(name)?),
            Some(("limit", number)) => {
                let number = number.parse::<usize>().ok().filter(|&number| number > 0);
                let number = number.ok_or("limit is a number from 1 on")?;
                listed.limit = number.min(GROUPS_SHOWN_MAX);
            }
            _ => return Err("expected ?after=NAME and &limit=NUMBER, or nothing".to_owned()),
        }
    }
    Ok(listed)
}

/// The text of a part of a query (`%2F` is a slash, `+` a space).
///
/// # Errors
/// It is not UTF-8, or an escape is not whole.
pub(super) fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut signs = text.bytes();
    while let Some(sign) = signs.next() {
        bytes.push(match sign {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(signs.next()?).to_digit(16);
                let pair = digit().zip(digit());
                let (high, low) = pair.ok_or("a % is followed by two hexadecimal digits")?;
                (high * 16 + low) as u8
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).map_err(|_| "names are UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn line(name: &str) -> GroupLine {
        GroupLine {
            group: name.to_owned(),
            ..GroupLine::default()
        }
    }

    fn part(groups: Vec<GroupLine>, has_more: bool) -> ListPart {
        ListPart {
            groups,
            has_more,
            is_loading: false,
        }
    }

    fn body(response: Response) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX);
        let bytes = runtime.block_on(bytes).expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn names(page: &Value) -> Vec<&str> {
        let groups = page["groups"].as_array().expect("a list").iter();
        groups
            .map(|one| one["group"].as_str().expect("a name"))
            .collect()
    }

    #[test]
    fn a_page_has_the_first_names_of_all_cores_and_says_where_the_next_begins() {
        let parts = vec![
            part(vec![line("a"), line("d")], false),
            part(vec![line("b"), line("c")], true),
        ];
        let page = body(list_page(parts.clone(), 10));
        // The second core may have a "cc".
        assert_eq!(
            (names(&page), page["next"].as_str()),
            (vec!["a", "b", "c"], Some("c"))
        );
        let page = body(list_page(parts, 1));
        assert_eq!(
            (names(&page), page["next"].as_str()),
            (vec!["a"], Some("a"))
        );
        let page = body(list_page(
            vec![part(vec![line("a")], false), part(vec![], false)],
            10,
        ));
        assert_eq!((names(&page), page["next"].as_str()), (vec!["a"], None));
        let loading = ListPart {
            is_loading: true,
            ..ListPart::default()
        };
        let page = body(list_page(vec![loading], 10));
        assert_eq!(page["loading"], true);
        let page = body(list_page(vec![part(vec![], false)], 10));
        assert_eq!((names(&page), page["next"].as_str()), (vec![], None));
    }

    #[test]
    fn very_long_names_make_short_pages_and_none_is_lost() {
        let long = |sign: &str| line(&sign.repeat(LIST_NAME_BYTES_MAX * 2 / 3));
        let page = body(list_page(vec![part(vec![long("a"), long("b")], false)], 10));
        assert_eq!(names(&page).len(), 1);
        assert_eq!(page["next"].as_str(), Some(names(&page)[0]));
    }

    #[test]
    fn names_are_written_so_that_any_of_them_can_be_read_back() {
        for name in ["", "a\"b\\c\nd", "\u{202e}gruppe \u{1f680}", "\u{0}"] {
            let page = body(list_page(vec![part(vec![line(name)], false)], 10));
            assert_eq!(names(&page), [name]);
        }
    }

    #[test]
    fn a_query_is_read_with_its_escapes_or_refused() {
        let listed = listed_after("after=a%2Fb+%C3%BC&limit=5000").expect("legal");
        assert_eq!(listed.after.as_deref(), Some("a/b \u{fc}"));
        assert_eq!(listed.limit, GROUPS_SHOWN_MAX);
        assert_eq!(listed_after("").expect("legal").after, None);
        for wrong in [
            "limit=0",
            "limit=x",
            "after=%",
            "after=%2",
            "after=%ff",
            "group=a",
            "%",
        ] {
            assert!(listed_after(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_told_that_there_is_no_group_before_every_core_has_said_so() {
        let status = |shards, found: Vec<Found<GroupLine>>| one_of(shards, found, "none").status();
        let missing = || Found::NotHere;
        assert_eq!(status(2, vec![missing(), missing()]), StatusCode::NOT_FOUND);
        assert_eq!(status(2, vec![missing()]), StatusCode::SERVICE_UNAVAILABLE);
        let loading = vec![missing(), Found::Loading];
        assert_eq!(status(2, loading), StatusCode::SERVICE_UNAVAILABLE);
        let here = vec![Found::Loading, Found::Here(line("a"))];
        assert_eq!(status(3, here), StatusCode::OK);
    }
}
