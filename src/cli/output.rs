//! What commands print: tables for eyes, JSON for programs, records in a form of the user's
//! choosing. Standard output carries results only; all else goes to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use klamm_client::Record;
use klamm_client::metadata::PartitionName;
use serde_json::{Map, Value, json};

/// Form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for eyes.
    #[default]
    Table,
    /// One JSON document for programs.
    Json,
}

/// To which side the cells of a column are set, whatever they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Names, lists, words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[(&'static str, Side)]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.headings.len(),
            "one cell for each heading"
        );
        self.rows.push(cells);
    }

    /// The table as text.
    pub(super) fn render(&self) -> String {
        let column = |at: usize| self.rows.iter().map(move |row| row[at].chars().count());
        let widths = self.headings.iter().enumerate();
        let widths: Vec<usize> = widths
            .map(|(at, (heading, _))| column(at).max().unwrap_or(0).max(heading.len()))
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|(heading, _)| *heading);
        self.put_row(&mut text, &widths, headings);
        for row in &self.rows {
            self.put_row(&mut text, &widths, row.iter().map(String::as_str));
        }
        text
    }

    fn put_row<'c>(
        &self,
        text: &mut String,
        widths: &[usize],
        cells: impl Iterator<Item = &'c str>,
    ) {
        let shapes = self.headings.iter().zip(widths);
        let padded = cells
            .zip(shapes)
            .map(|(cell, ((_, side), width))| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
}

/// Writes to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes a JSON document to standard output.
pub(super) fn print_json(document: &Value) -> io::Result<()> {
    print(&format!("{document:#}\n"))
}

/// Two hexadecimal digits for each byte.
fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(number.into(), 16).unwrap_or('?');
    let digits = bytes.iter();
    digits
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn put_hex(field: Option<&[u8]>, null: &str, out: &mut Vec<u8>) {
    match field {
        Some(bytes) => out.extend_from_slice(hex(bytes).as_bytes()),
        None => out.extend_from_slice(null.as_bytes()),
    }
}

/// A name for `name` where the bytes are text; `name_hex` where they are not.
pub(super) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let (name, value) = match bytes.map(std::str::from_utf8) {
        None => (name.to_owned(), Value::Null),
        Some(Ok(text)) => (name.to_owned(), text.into()),
        Some(Err(_)) => (format!("{name}_hex"), hex(bytes.unwrap_or_default()).into()),
    };
    object.insert(name, value);
}

/// A record as JSON, in the form that `klamm produce --json` reads.
pub(super) fn record_json(partition: &PartitionName, record: &Record) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), partition.topic.as_str().into());
    object.insert("partition".to_owned(), partition.index.0.into());
    object.insert("offset".to_owned(), record.offset.0.into());
    object.insert("timestamp".to_owned(), record.timestamp.0.into());
    put_bytes(&mut object, "key", record.key.as_deref());
    put_bytes(&mut object, "value", record.value.as_deref());
    let headers = record.headers.iter().map(|header| {
        let mut object = Map::new();
        put_bytes(&mut object, "key", Some(&header.key));
        put_bytes(&mut object, "value", header.value.as_deref());
        Value::Object(object)
    });
    object.insert("headers".to_owned(), json!(headers.collect::<Vec<_>>()));
    Value::Object(object)
}

/// One piece of a record's line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    KeyHex,
    Value,
    ValueLength,
    ValueHex,
    Headers,
}

/// How a record is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordFormat {
    /// A line of JSON.
    Json,
    /// Pieces one after the other.
    Pieces(Pieces),
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pieces(Vec<Piece>);

impl std::str::FromStr for RecordFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "value" | "text" => template("%s\\n"),
            "key-value" => template("%k\\t%s\\n"),
            "raw" => template("%s"),
            "hex" => template("%X\\t%x\\n"),
            _ if text.contains('%') => template(text),
            _ => Err(
                "expected value, key-value, json, raw, hex, or a template with % such as \
                 '%o %s\\n'"
                    .to_owned(),
            ),
        }
    }
}

/// Reads a template in kcat's notation.
fn template(text: &str) -> Result<RecordFormat, String> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let piece = match letter {
            '%' => match letters.next() {
                Some('%') => {
                    plain.push(b'%');
                    continue;
                }
                Some('t') => Piece::Topic,
                Some('p') => Piece::Partition,
                Some('o') => Piece::Offset,
                Some('T') => Piece::Timestamp,
                Some('k') => Piece::Key,
                Some('K') => Piece::KeyLength,
                Some('X') => Piece::KeyHex,
                Some('x') => Piece::ValueHex,
                Some('s') => Piece::Value,
                Some('S') => Piece::ValueLength,
                Some('h') => Piece::Headers,
                Some(other) => {
                    return Err(format!(
                        "expected one of %t %p %o %T %k %K %X %s %S %x %h %%, found %{other}"
                    ));
                }
                None => return Err("expected a letter after %, found the end".to_owned()),
            },
            '\\' => {
                plain.push(escaped(&mut letters)?);
                continue;
            }
            other => {
                plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece);
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(RecordFormat::Pieces(Pieces(pieces)))
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match letters.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = letters.take(2).collect();
            u8::from_str_radix(&digits, 16)
                .map_err(|_| format!("expected two hexadecimal digits after \\x, found {digits:?}"))
        }
        Some(other) => Err(format!(
            "expected \\n \\r \\t \\0 \\\\ or \\xNN, found \\{other}"
        )),
        None => Err("expected a letter after \\, found the end".to_owned()),
    }
}

impl RecordFormat {
    /// Appends a record's form to `out`. `null` stands for keys and values that are null.
    pub(super) fn write(
        &self,
        partition: &PartitionName,
        record: &Record,
        null: &str,
        out: &mut Vec<u8>,
    ) {
        let pieces = match self {
            Self::Json => {
                out.extend_from_slice(record_json(partition, record).to_string().as_bytes());
                out.push(b'\n');
                return;
            }
            Self::Pieces(Pieces(pieces)) => pieces,
        };
        let length = |field: Option<&[u8]>| match field {
            Some(bytes) => bytes.len().to_string(),
            // As kcat shows null.
            None => "-1".to_owned(),
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => out.extend_from_slice(partition.topic.as_str().as_bytes()),
                Piece::Partition => out.extend_from_slice(partition.index.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::Key => out.extend_from_slice(key.unwrap_or(null.as_bytes())),
                Piece::KeyLength => out.extend_from_slice(length(key).as_bytes()),
                Piece::KeyHex => put_hex(key, null, out),
                Piece::Value => out.extend_from_slice(value.unwrap_or(null.as_bytes())),
                Piece::ValueHex => put_hex(value, null, out),
                Piece::ValueLength => out.extend_from_slice(length(value).as_bytes()),
                Piece::Headers => {
                    for (at, header) in record.headers.iter().enumerate() {
                        if at > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(&header.key);
                        out.push(b'=');
                        out.extend_from_slice(header.value.as_deref().unwrap_or(null.as_bytes()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use klamm_client::RecordHeader;
    use klamm_model::{Offset, PartitionIndex, Timestamp, TopicName};

    fn check(format: &str, expected: &str) {
        let partition = PartitionName::new(TopicName::new("t").expect("legal"), PartitionIndex(3));
        let header = |key: &'static str, value: Option<&'static str>| RecordHeader {
            key: key.into(),
            value: value.map(Bytes::from),
        };
        let record = Record {
            offset: Offset(42),
            timestamp: Timestamp(1000),
            key: None,
            value: Some(Bytes::from_static(b"v")),
            headers: vec![header("a", Some("1")), header("a", None)],
        };
        let format: RecordFormat = format.parse().expect("a format");
        let mut out = Vec::new();
        format.write(&partition, &record, "NULL", &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn records_are_printed_in_every_form() {
        check("value", "v\n");
        check("text", "v\n");
        check("raw", "v");
        check("hex", "NULL\t76\n");
        check("key-value", "NULL\tv\n");
        check(
            "%t/%p@%o %T %K:%k %S:%s %h%%\\x41\\n",
            "t/3@42 1000 -1:NULL 1:v a=1,a=NULL%A\n",
        );
        check(
            "json",
            "{\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"a\",\"value\":null}],\
             \"key\":null,\"offset\":42,\"partition\":3,\"timestamp\":1000,\"topic\":\"t\",\
             \"value\":\"v\"}\n",
        );
    }

    #[test]
    fn a_template_that_cannot_be_read_says_why() {
        for wrong in ["plain", "%", "%q", "%s\\", "%s\\q", "%s\\xg"] {
            assert!(wrong.parse::<RecordFormat>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_line_up_whatever_their_cells_hold() {
        let mut table = Table::new(&[("NAME", Side::Left), ("COUNT", Side::Right)]);
        table.row(vec!["a".to_owned(), "7".to_owned()]);
        table.row(vec!["12".to_owned(), "-".to_owned()]);
        table.row(vec!["longer".to_owned(), "1234567".to_owned()]);
        assert_eq!(
            table.render(),
            "NAME      COUNT\na             7\n12            -\nlonger  1234567\n"
        );
    }

    #[test]
    fn names_of_digits_are_set_as_names() {
        let mut table = Table::new(&[("TOPIC", Side::Left), ("IN SYNC", Side::Left)]);
        table.row(vec!["7".to_owned(), "1".to_owned()]);
        assert_eq!(table.render(), "TOPIC  IN SYNC\n7      1\n");
    }
}
