//! Holds the dashboard of docs/grafana against the tables of metrics.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reference::metric_names;

/// Words of the query language that stand where a name could.
const WORDS: [&str; 16] = [
    "sum",
    "min",
    "max",
    "avg",
    "by",
    "rate",
    "irate",
    "increase",
    "topk",
    "histogram_quantile",
    "ignoring",
    "on",
    "group_left",
    "label_values",
    "without",
    "count",
];

/// Names of metrics in a query: what is neither a word of the language, nor a label, a text or a
/// variable.
fn names_in(query: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut depth, mut quoted) = (0_i32, false);
    let mut name = String::new();
    for sign in query.chars().chain([' ']) {
        let belongs = sign.is_ascii_alphanumeric() || sign == '_' || sign == '$';
        if !quoted && depth == 0 && belongs {
            name.push(sign);
            continue;
        }
        let found = std::mem::take(&mut name);
        let is_number = found.starts_with(|first: char| first.is_ascii_digit());
        let is_name = found.contains('_') && !found.starts_with('$') && !is_number;
        if is_name && !WORDS.contains(&found.as_str()) {
            names.insert(found);
        }
        match sign {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
    }
    names
}

/// Every text under this key, however deep.
fn texts<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == key => found.push(text),
                    _ => texts(field, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_names_a_metric_that_exists() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grafana/klamm.json");
    let text = std::fs::read_to_string(path).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let (mut queries, known) = (Vec::new(), metric_names());
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "query", &mut queries);
    assert!(queries.len() > 30, "{}", queries.len());
    for query in queries {
        let names = names_in(query);
        assert!(query == "prometheus" || !names.is_empty(), "{query}");
        for name in names {
            assert!(known.contains(&name), "{name} of {query}");
        }
    }
}

#[test]
fn names_are_told_from_labels_texts_and_words() {
    let query = "sum by (part_of) (rate(a_b_total{c_d=\"e_f{g_h\"}[$__rate_interval])) / i_j > 0.5";
    let names = names_in(query);
    // A list of labels to sum by looks like a name; the dashboard has none with an underscore.
    assert_eq!(
        names,
        ["a_b_total", "i_j", "part_of"].map(String::from).into()
    );
}
