//! Parser of the schema tables: text to plain structures. Any fault in a table stops the build
//! with file and line, since the tables are ours.

/// Inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Window {
    fn parse(text: &str) -> Option<Self> {
        if let Some(first) = text.strip_suffix('+') {
            return Some(Self {
                first: first.parse().ok()?,
                last: i16::MAX,
            });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    }

    /// True where no version of `other` lies in this window.
    pub(crate) fn misses(self, other: Self) -> bool {
        self.last < other.first || other.last < self.first
    }
}

/// Type of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Self>),
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        if let Some(element) = text.strip_prefix("[]") {
            return Some(Self::Array(Box::new(Self::parse(element)?)));
        }
        Some(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(char::is_uppercase) => Self::Struct(name.to_owned()),
            _ => return None,
        })
    }

    /// Name of the nested struct that the kind holds, directly or as array element.
    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) window: Window,
    /// Versions that admit null.
    pub(crate) null: Option<Window>,
    /// Number of the tagged field, else the field has a fixed place.
    pub(crate) tag: Option<u32>,
    /// Schema default where it is not the zero of its type; `null` is spelled out.
    pub(crate) default: Option<String>,
    /// A value that differs from the default may be dropped by versions that lack the field.
    pub(crate) ignorable: bool,
}

impl Field {
    pub(crate) fn null_by_default(&self) -> bool {
        self.default.as_deref() == Some("null")
            || (self.null.is_some() && self.kind == Kind::Records)
            || (self.null.is_some() && matches!(self.kind, Kind::Struct(_)))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// One half of an API; `structs[0]` is the message itself.
pub(crate) struct Half {
    pub(crate) name: &'static str,
    pub(crate) valid: Window,
    pub(crate) flexible: Option<i16>,
    pub(crate) unstable: Option<i16>,
    pub(crate) structs: Vec<Struct>,
}

impl Half {
    pub(crate) fn find(&self, name: &str) -> &Struct {
        self.structs
            .iter()
            .find(|nested| nested.name == name)
            .unwrap_or_else(|| panic!("no struct {name}"))
    }
}

pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: String,
    pub(crate) request: Half,
    pub(crate) response: Half,
}

pub(crate) struct Key {
    pub(crate) number: i16,
    pub(crate) name: String,
}

pub(crate) fn parse_keys(file: &str, text: &str) -> Vec<Key> {
    let rows = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split_whitespace();
        let key = words
            .next()
            .and_then(|word| word.parse().ok())
            .zip(words.next());
        let (number, name) = key.unwrap_or_else(|| panic!("{file}: bad row {line:?}"));
        Key {
            number,
            name: name.to_owned(),
        }
    })
    .collect()
}

/// Reads one table. Its lines, `#` starting a comment:
///
/// ```text
/// api KEY NAME
/// request|response FIRST-LAST flexible FIRST+|none [unstable VERSION]
///   field  TYPE  WINDOW  [null [WINDOW]] [tag N] [default VALUE] [ignorable]
///     field of the nested struct that the line above names
/// struct NAME                              for structs that several fields name
///   field ...
/// ```
///
/// A window is `3+`, `0-12` or `5`. `null` without a window means the field's own. `tag` makes the
/// field a tagged one in all its versions. `default` is left out where it is zero, empty or false.
pub(crate) fn parse_api(file: &str, text: &str) -> Api {
    let mut header = None;
    let mut halves: Vec<Half> = Vec::new();
    // Open structs of the current half: (indentation, index in structs).
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{file}:{}: {line:?}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        let indent = line.len() - line.trim_start().len();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["api", key, name] => header = Some((key.parse().expect("api key"), name.to_string())),
            [half @ ("request" | "response"), rest @ ..] if indent == 0 => {
                halves.push(parse_half(half, rest).unwrap_or_else(|| panic!("{}", place())));
                open = vec![(0, 0)];
            }
            ["struct", name] if indent == 0 => {
                let half = halves.last_mut().unwrap_or_else(|| panic!("{}", place()));
                half.structs.push(Struct {
                    name: name.to_string(),
                    fields: Vec::new(),
                });
                open = vec![(0, half.structs.len() - 1)];
            }
            [name, kind, window, attributes @ ..] => {
                let half = halves.last_mut().unwrap_or_else(|| panic!("{}", place()));
                let field = parse_field(name, kind, window, attributes)
                    .unwrap_or_else(|| panic!("{}", place()));
                while open.last().is_some_and(|(outer, _)| *outer >= indent) {
                    open.pop();
                }
                let (_, owner) = *open.last().unwrap_or_else(|| panic!("{}", place()));
                // A struct named here opens a scope; its fields, if any, follow deeper.
                if let Some(nested) = field.kind.struct_name() {
                    let known = half.structs.iter().position(|other| other.name == nested);
                    let index = known.unwrap_or_else(|| {
                        half.structs.push(Struct {
                            name: nested.to_owned(),
                            fields: Vec::new(),
                        });
                        half.structs.len() - 1
                    });
                    half.structs[owner].fields.push(field);
                    open.push((indent, index));
                } else {
                    half.structs[owner].fields.push(field);
                }
            }
            _ => panic!("{}", place()),
        }
    }
    let (key, name) = header.unwrap_or_else(|| panic!("{file}: no api line"));
    let mut halves = halves.into_iter();
    let (Some(request), Some(response)) = (halves.next(), halves.next()) else {
        panic!("{file}: request and response expected");
    };
    Api {
        key,
        name,
        request: finish(file, request),
        response: finish(file, response),
    }
}

/// Merges struct blocks that were named before they were defined.
fn finish(file: &str, mut half: Half) -> Half {
    let mut merged: Vec<Struct> = Vec::new();
    for nested in half.structs.drain(..) {
        match merged.iter_mut().find(|other| other.name == nested.name) {
            Some(other) if other.fields.is_empty() => other.fields = nested.fields,
            Some(other) => assert!(
                nested.fields.is_empty(),
                "{file}: {} defined twice",
                other.name
            ),
            None => merged.push(nested),
        }
    }
    // Null in versions that are gone is no null.
    for field in merged.iter_mut().flat_map(|nested| &mut nested.fields) {
        field.null = field.null.filter(|null| !null.misses(half.valid));
    }
    half.structs = merged;
    half
}

fn parse_half(half: &str, words: &[&str]) -> Option<Half> {
    let name = if half == "request" {
        "Request"
    } else {
        "Response"
    };
    let [valid, "flexible", flexible, rest @ ..] = words else {
        return None;
    };
    let unstable = match rest {
        [] => None,
        ["unstable", version] => Some(version.parse().ok()?),
        _ => return None,
    };
    let flexible = match *flexible {
        "none" => None,
        window => Some(Window::parse(window)?.first),
    };
    Some(Half {
        name,
        valid: Window::parse(valid)?,
        flexible,
        unstable,
        structs: vec![Struct {
            name: name.to_owned(),
            fields: Vec::new(),
        }],
    })
}

fn parse_field(name: &str, kind: &str, window: &str, attributes: &[&str]) -> Option<Field> {
    let window = Window::parse(window)?;
    let mut field = Field {
        name: name.to_owned(),
        kind: Kind::parse(kind)?,
        window,
        null: None,
        tag: None,
        default: None,
        ignorable: false,
    };
    let mut rest = attributes.iter().peekable();
    while let Some(word) = rest.next() {
        match *word {
            "null" => {
                let own = rest.peek().and_then(|next| Window::parse(next));
                if own.is_some() {
                    rest.next();
                }
                field.null = Some(own.unwrap_or(window));
            }
            "tag" => field.tag = Some(rest.next()?.parse().ok()?),
            "default" => field.default = Some((*rest.next()?).to_owned()),
            "ignorable" => field.ignorable = true,
            _ => return None,
        }
    }
    Some(field)
}
