//! One line of input as a record: plain text, key and value, or JSON.

use bytes::Bytes;
use klamm_client::RecordHeader;
use serde_json::{Map, Value};

/// What a line looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineForm {
    /// A value, or key and value around a separator.
    Text {
        separator: Option<String>,
        null: Option<String>,
    },
    /// A JSON object.
    Json,
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<RecordHeader>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
}

impl LineForm {
    /// Reads a line without its end.
    pub(super) fn parse(&self, line: &[u8]) -> Result<Parsed, String> {
        match self {
            Self::Json => from_json(line),
            Self::Text { separator, null } => {
                let (key, value) = match separator {
                    None => (None, line),
                    Some(separator) => {
                        let (key, value) = cut(line, separator.as_bytes()).ok_or_else(|| {
                            format!("expected {separator:?} between key and value, found none")
                        })?;
                        (Some(key), value)
                    }
                };
                let field = |bytes: &[u8]| {
                    let is_null = null.as_ref().is_some_and(|null| null.as_bytes() == bytes);
                    (!is_null).then(|| Bytes::copy_from_slice(bytes))
                };
                Ok(Parsed {
                    key: key.and_then(field),
                    value: field(value),
                    ..Parsed::default()
                })
            }
        }
    }
}

/// What stands before and after the first `separator`.
fn cut<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if separator.is_empty() {
        return None;
    }
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

fn from_json(line: &[u8]) -> Result<Parsed, String> {
    let document: Value =
        serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(object) = document else {
        return Err(format!("expected a JSON object, found {}", kind(&document)));
    };
    // What `klamm consume --format json` adds; the rest would be a misspelling.
    const KNOWN: [&str; 9] = [
        "key",
        "key_hex",
        "value",
        "value_hex",
        "headers",
        "partition",
        "timestamp",
        "topic",
        "offset",
    ];
    if let Some(unknown) = object.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!(
            "expected one of {}, found {unknown:?}",
            KNOWN.join(", ")
        ));
    }
    Ok(Parsed {
        key: field(&object, "key")?,
        value: field(&object, "value")?,
        headers: headers(object.get("headers"))?,
        partition: number(&object, "partition")?,
        timestamp: number(&object, "timestamp")?,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Bytes under `name` as text, or under `name_hex`; objects and numbers as compact JSON.
fn field(object: &Map<String, Value>, name: &str) -> Result<Option<Bytes>, String> {
    if let Some(value) = object.get(&format!("{name}_hex")) {
        let digits = value.as_str().and_then(from_hex);
        return digits.map(|bytes| Some(bytes.into())).ok_or_else(|| {
            format!("expected pairs of hexadecimal digits in {name}_hex, found {value}")
        });
    }
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Some(other) => Ok(Some(other.to_string().into())),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    let pair = |pair: &[u8]| {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        u8::try_from(digit(0)? * 16 + digit(1)?).ok()
    };
    digits.map(pair).collect()
}

/// Headers as an object of texts, or as a list of objects with key and value.
fn headers(value: Option<&Value>) -> Result<Vec<RecordHeader>, String> {
    let header = |object: &Map<String, Value>| {
        let key = field(object, "key")?;
        Ok(RecordHeader {
            key: key.ok_or_else(|| "expected a key in each header, found none".to_owned())?,
            value: field(object, "value")?,
        })
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(object)) => object
            .keys()
            .map(|key| {
                Ok(RecordHeader {
                    key: Bytes::copy_from_slice(key.as_bytes()),
                    value: field(object, key)?,
                })
            })
            .collect(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::Object(object) => header(object),
                other => Err(format!(
                    "expected an object for a header, found {}",
                    kind(other)
                )),
            })
            .collect(),
        Some(other) => Err(format!(
            "expected headers as object or array, found {}",
            kind(other)
        )),
    }
}

fn number<T: TryFrom<i64>>(object: &Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64().and_then(|number| T::try_from(number).ok());
            let wrong = || format!("expected a whole number in {name}, found {value}");
            number.map(Some).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(separator: Option<&str>, null: Option<&str>) -> LineForm {
        LineForm::Text {
            separator: separator.map(str::to_owned),
            null: null.map(str::to_owned),
        }
    }

    fn key_and_value(form: &LineForm, line: &str) -> (Option<Bytes>, Option<Bytes>) {
        let parsed = form.parse(line.as_bytes()).expect("a record");
        (parsed.key, parsed.value)
    }

    #[test]
    fn the_first_separator_cuts_key_from_value() {
        let form = text(Some("::"), Some("NULL"));
        let some = |text: &'static str| Some(Bytes::from(text));
        assert_eq!(key_and_value(&form, "k::v::w"), (some("k"), some("v::w")));
        assert_eq!(key_and_value(&form, "::"), (some(""), some("")));
        assert_eq!(key_and_value(&form, "NULL::NULL"), (None, None));
        assert!(
            form.parse(b"k:v")
                .expect_err("no separator")
                .contains("\"::\"")
        );
    }

    #[test]
    fn without_a_separator_a_line_is_a_value() {
        assert_eq!(
            key_and_value(&text(None, None), ""),
            (None, Some(Bytes::new()))
        );
    }

    #[test]
    fn json_lines_carry_all_that_a_record_has() {
        let line = r#"{"key":"k","value_hex":"00ff","partition":2,"timestamp":-1,"offset":9,
            "headers":[{"key":"a","value":"1"},{"key":"a","value":null}]}"#;
        let parsed = LineForm::Json.parse(line.as_bytes()).expect("a record");
        assert_eq!(parsed.value.as_deref(), Some(&[0_u8, 255][..]));
        assert_eq!((parsed.partition, parsed.timestamp), (Some(2), Some(-1)));
        assert_eq!(parsed.headers.len(), 2);
        assert_eq!(parsed.headers[1].value, None);
    }

    #[test]
    fn json_lines_that_are_wrong_say_what_was_expected() {
        for wrong in [
            "",
            "7",
            "{\"vaule\":\"x\"}",
            "{\"value_hex\":\"0\"}",
            "{\"value_hex\":\"0é\"}",
            "{\"value\":\"x\",\"partition\":3000000000}",
            "{\"headers\":[{\"value\":\"x\"}]}",
            "{\"headers\":3}",
        ] {
            assert!(LineForm::Json.parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
