//! Messages as trees of JSON, encoded and decoded by the schema tables themselves: nothing of the
//! code that is generated from them is used, so that a fault of the generator's cannot hide here.
//! A field that a request does not mention has the table's default.

use serde_json::{Map, Value, json};

use crate::table::{Field, Half, Kind, Struct, Window};

/// Gives the bytes behind a word of a request that stands for something of one broker's own.
pub(crate) trait Words {
    /// A number such as `@producer 0`.
    fn number(&self, word: &str) -> i64;
    /// An id such as `@id of topic`.
    fn id(&self, word: &str) -> [u8; 16];
    /// A text such as `@log dir`.
    fn text(&self, word: &str) -> String;
    /// Record batches such as `gzip 3`.
    fn records(&self, word: &str) -> Vec<u8>;
}

/// True where a version has what the window says.
pub(crate) fn has(window: Window, version: i16) -> bool {
    window.first <= version && version <= window.last
}

/// True where a version has compact lengths and tagged fields.
pub(crate) fn is_flexible(half: &Half, version: i16) -> bool {
    half.flexible.is_some_and(|first| version >= first)
}

/// True where a field may be null in this version.
pub(crate) fn is_nullable(field: &Field, version: i16) -> bool {
    field.null.is_some_and(|window| has(window, version))
}

/// Encodes the body of a request.
pub(crate) fn encode(half: &Half, version: i16, body: &Value, words: &dyn Words) -> Vec<u8> {
    let mut writer = Encoder {
        half,
        version,
        flexible: is_flexible(half, version),
        words,
        out: Vec::new(),
    };
    writer.nested(&half.structs[0], body);
    writer.out
}

struct Encoder<'a> {
    half: &'a Half,
    version: i16,
    flexible: bool,
    words: &'a dyn Words,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn nested(&mut self, of: &Struct, body: &Value) {
        let present = of
            .fields
            .iter()
            .filter(|field| has(field.window, self.version));
        let (tagged, placed): (Vec<_>, Vec<_>) = present.partition(|field| field.tag.is_some());
        for field in placed {
            let default = default_of(field);
            let value = body.get(&field.name).unwrap_or(&default);
            self.value(&field.kind, is_nullable(field, self.version), value);
        }
        if !self.flexible {
            return;
        }
        let mut tags: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in tagged {
            let Some(value) = body.get(&field.name) else {
                continue;
            };
            let kept = std::mem::take(&mut self.out);
            self.value(&field.kind, is_nullable(field, self.version), value);
            let bytes = std::mem::replace(&mut self.out, kept);
            tags.push((field.tag.expect("a tagged field"), bytes));
        }
        if let Some(number) = body.get("_unknown_tag").and_then(Value::as_u64) {
            tags.push((number as u32, vec![0xab; 5]));
        }
        tags.sort();
        uvarint(&mut self.out, tags.len() as u64);
        for (number, bytes) in tags {
            uvarint(&mut self.out, u64::from(number));
            uvarint(&mut self.out, bytes.len() as u64);
            self.out.extend(bytes);
        }
    }

    fn number(&self, value: &Value) -> i64 {
        match value {
            Value::String(word) => self.words.number(word),
            Value::Bool(bool) => i64::from(*bool),
            number => number.as_i64().unwrap_or(0),
        }
    }

    fn value(&mut self, kind: &Kind, nullable: bool, value: &Value) {
        match kind {
            Kind::Bool | Kind::Int8 => {
                let number = self.number(value);
                self.out.push(number as u8);
            }
            Kind::Int16 | Kind::Uint16 => {
                let number = self.number(value) as u16;
                self.out.extend(number.to_be_bytes());
            }
            Kind::Int32 => {
                let number = self.number(value) as i32;
                self.out.extend(number.to_be_bytes());
            }
            Kind::Int64 => {
                let number = self.number(value);
                self.out.extend(number.to_be_bytes());
            }
            Kind::Float64 => {
                let number = value.as_f64().unwrap_or(0.0);
                self.out.extend(number.to_be_bytes());
            }
            Kind::Uuid => {
                let id = value.as_str().map_or([0; 16], |word| self.words.id(word));
                self.out.extend(id);
            }
            Kind::String => {
                let text = value.as_str().map(|word| match word.strip_prefix('@') {
                    Some(_) => self.words.text(word),
                    None => word.to_owned(),
                });
                self.bytes(text.as_deref().map(str::as_bytes), false);
            }
            Kind::Bytes | Kind::Records => {
                let bytes = value.as_str().map(|word| self.words.records(word));
                self.bytes(bytes.as_deref(), true);
            }
            Kind::Struct(name) => {
                if nullable {
                    self.out.push(if value.is_null() { 0xff } else { 1 });
                }
                if !(nullable && value.is_null()) {
                    self.nested(self.half.find(name), value);
                }
            }
            Kind::Array(element) => {
                let values = value.as_array();
                self.length(values.map(Vec::len), true);
                for value in values.into_iter().flatten() {
                    self.value(element, false, value);
                }
            }
        }
    }

    fn bytes(&mut self, bytes: Option<&[u8]>, wide: bool) {
        self.length(bytes.map(<[u8]>::len), wide);
        self.out.extend(bytes.unwrap_or_default());
    }

    /// A length, null as every type has it; `wide`: of four bytes where it is not compact.
    fn length(&mut self, length: Option<usize>, wide: bool) {
        if self.flexible {
            uvarint(&mut self.out, length.map_or(0, |length| length as u64 + 1));
        } else if wide {
            let length = length.map_or(-1, |length| length as i32);
            self.out.extend(length.to_be_bytes());
        } else {
            let length = length.map_or(-1, |length| length as i16);
            self.out.extend(length.to_be_bytes());
        }
    }
}

fn default_of(field: &Field) -> Value {
    if field.null_by_default() {
        return Value::Null;
    }
    match (&field.kind, field.default.as_deref()) {
        (Kind::String, text) => json!(text.unwrap_or("")),
        (Kind::Bytes | Kind::Records, _) => json!(""),
        (Kind::Array(_), _) => json!([]),
        (Kind::Struct(_), _) => json!({}),
        (Kind::Bool, text) => json!(text == Some("true")),
        (Kind::Uuid, _) => Value::Null,
        (_, text) => json!(text.map_or(0, |text| text.parse().unwrap_or(0))),
    }
}

pub(crate) fn uvarint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is wrong with an answer's bytes, and where.
pub(crate) type Fault = String;

/// Decodes the body of an answer, to its last byte.
pub(crate) fn decode(half: &Half, version: i16, bytes: &[u8]) -> Result<Value, Fault> {
    let mut reader = Decoder {
        half,
        version,
        flexible: is_flexible(half, version),
        left: bytes,
    };
    let value = reader.nested(&half.structs[0])?;
    match reader.left {
        [] => Ok(value),
        left => Err(format!("{} bytes behind the answer", left.len())),
    }
}

struct Decoder<'a> {
    half: &'a Half,
    version: i16,
    flexible: bool,
    left: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, left) = self
            .left
            .split_at_checked(count)
            .ok_or_else(|| format!("ends {count} bytes too early"))?;
        self.left = left;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn uvarint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a varint of more than five bytes".to_owned())
    }

    fn nested(&mut self, of: &Struct) -> Result<Value, Fault> {
        let mut fields = Map::new();
        let present = || {
            of.fields
                .iter()
                .filter(|field| has(field.window, self.version))
        };
        let placed: Vec<_> = present().filter(|field| field.tag.is_none()).collect();
        let tagged: Vec<_> = present().filter(|field| field.tag.is_some()).collect();
        for field in placed {
            let value = self.of_field(field);
            let value = value.map_err(|fault| format!("{}: {fault}", field.name))?;
            fields.insert(field.name.clone(), value);
        }
        if self.flexible {
            let mut before = None;
            for _ in 0..self.uvarint()? {
                let (number, size) = (self.uvarint()?, self.uvarint()?);
                if before.is_some_and(|before| before >= number) {
                    return Err(format!("tag {number} out of order"));
                }
                before = Some(number);
                let bytes = self.take(size as usize)?;
                let field = tagged
                    .iter()
                    .find(|field| field.tag.map(u64::from) == Some(number));
                let field = field.ok_or_else(|| format!("unknown tag {number}"))?;
                let rest = std::mem::replace(&mut self.left, bytes);
                let value = self.of_field(field)?;
                let behind = std::mem::replace(&mut self.left, rest);
                if !behind.is_empty() {
                    return Err(format!("tag {number} is too long"));
                }
                fields.insert(field.name.clone(), value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn of_field(&mut self, field: &Field) -> Result<Value, Fault> {
        self.value(&field.kind, is_nullable(field, self.version))
    }

    fn value(&mut self, kind: &Kind, nullable: bool) -> Result<Value, Fault> {
        Ok(match kind {
            Kind::Bool => match self.fixed()? {
                [0] => json!(false),
                [1] => json!(true),
                [other] => return Err(format!("{other} is neither true nor false")),
            },
            Kind::Int8 => json!(i8::from_be_bytes(self.fixed()?)),
            Kind::Int16 => json!(i16::from_be_bytes(self.fixed()?)),
            Kind::Uint16 => json!(u16::from_be_bytes(self.fixed()?)),
            Kind::Int32 => json!(i32::from_be_bytes(self.fixed()?)),
            Kind::Int64 => json!(i64::from_be_bytes(self.fixed()?)),
            Kind::Float64 => json!(f64::from_be_bytes(self.fixed()?)),
            Kind::Uuid => json!(hex(&self.fixed::<16>()?)),
            Kind::String => match self.length(nullable, false)? {
                None => Value::Null,
                Some(length) => {
                    let text = std::str::from_utf8(self.take(length)?);
                    json!(text.map_err(|fault| fault.to_string())?)
                }
            },
            Kind::Bytes | Kind::Records => match self.length(nullable, true)? {
                None => Value::Null,
                Some(length) => json!(hex(self.take(length)?)),
            },
            Kind::Struct(name) => {
                if nullable && self.fixed::<1>()? == [0xff] {
                    return Ok(Value::Null);
                }
                self.nested(self.half.find(name))?
            }
            Kind::Array(element) => match self.length(nullable, true)? {
                None => Value::Null,
                Some(length) => {
                    let values = (0..length).map(|_| self.value(element, false));
                    Value::Array(values.collect::<Result<_, _>>()?)
                }
            },
        })
    }

    fn length(&mut self, nullable: bool, wide: bool) -> Result<Option<usize>, Fault> {
        let length = if self.flexible {
            i64::try_from(self.uvarint()?).expect("35 bits") - 1
        } else if wide {
            i64::from(i32::from_be_bytes(self.fixed()?))
        } else {
            i64::from(i16::from_be_bytes(self.fixed()?))
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if nullable && length == -1 => Ok(None),
            Err(_) => Err(format!("a length of {length}")),
        }
    }
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits as bytes.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16));
    bytes.map(|byte| byte.unwrap_or(0)).collect()
}
