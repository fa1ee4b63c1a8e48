//! Names of generated items, and the small expressions that every generator needs.

use crate::table::{Field, Half, Kind, Struct, Window};

/// `ListOffsets` to `list_offsets`.
pub(crate) fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Field name as a Rust identifier.
pub(crate) fn ident(name: &str) -> String {
    match name {
        "match" | "type" => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

/// Condition on `v` for a window, or `None` where every valid version lies in it.
pub(crate) fn condition(window: Window, valid: Window) -> Option<String> {
    if window.misses(valid) {
        return Some("false".into());
    }
    let low = window.first > valid.first;
    let high = window.last < valid.last;
    match (low, high) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", window.first)),
        (false, true) => Some(format!("v <= {}", window.last)),
        (true, true) if window.first == window.last => Some(format!("v == {}", window.first)),
        (true, true) => Some(format!("({}..={}).contains(&v)", window.first, window.last)),
    }
}

/// Condition under which null is admitted: `true`, `false` or an expression.
pub(crate) fn nullable(field: &Field, valid: Window) -> String {
    let Some(null) = field.null else {
        return "false".into();
    };
    // Versions outside the field's own window never ask.
    let valid = Window {
        first: valid.first.max(field.window.first),
        last: valid.last.min(field.window.last),
    };
    condition(null, valid).unwrap_or_else(|| "true".into())
}

/// True where the view of a struct borrows from the frame.
pub(crate) fn view_borrows(half: &Half, nested: &Struct) -> bool {
    nested.fields.iter().any(|field| match &field.kind {
        Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) => true,
        Kind::Struct(name) => view_borrows(half, half.find(name)),
        _ => false,
    })
}

/// True where the message struct has a lifetime.
pub(crate) fn message_borrows(half: &Half, nested: &Struct) -> bool {
    fn kind_borrows(half: &Half, kind: &Kind) -> bool {
        match kind {
            Kind::String | Kind::Bytes => true,
            Kind::Array(element) => kind_borrows(half, element),
            Kind::Struct(name) => message_borrows(half, half.find(name)),
            _ => false,
        }
    }
    nested
        .fields
        .iter()
        .any(|field| kind_borrows(half, &field.kind))
}

/// Fields with a fixed place, in order.
pub(crate) fn placed(nested: &Struct) -> impl Iterator<Item = &Field> {
    nested.fields.iter().filter(|field| field.tag.is_none())
}

/// Tagged fields in ascending order of tag.
pub(crate) fn tagged(nested: &Struct) -> Vec<&Field> {
    let mut fields: Vec<_> = nested
        .fields
        .iter()
        .filter(|field| field.tag.is_some())
        .collect();
    fields.sort_by_key(|field| field.tag);
    fields
}

/// Literal of a scalar's default.
pub(crate) fn scalar_default(field: &Field) -> String {
    match (&field.kind, field.default.as_deref()) {
        (Kind::Bool, default) => default.unwrap_or("false").to_owned(),
        (Kind::Uuid, _) => "[0; 16]".into(),
        (Kind::Float64, default) => format!("{}f64", default.unwrap_or("0")),
        (_, default) => default.unwrap_or("0").to_owned(),
    }
}

/// One line of documentation made of the table's facts.
pub(crate) fn facts(field: &Field, valid: Window) -> String {
    fn spell(window: Window, valid: Window) -> String {
        let first = window.first.max(valid.first);
        let last = window.last.min(valid.last);
        if last == valid.last {
            format!("{first}+")
        } else {
            format!("{first}-{last}")
        }
    }
    let mut text = format!("Versions {}", spell(field.window, valid));
    if let Some(null) = field.null {
        text.push_str(&format!(", nullable {}", spell(null, valid)));
    }
    if let Some(tag) = field.tag {
        text.push_str(&format!(", tag {tag}"));
    }
    if let Some(default) = &field.default {
        text.push_str(&format!(", default {default}"));
    }
    if field.ignorable {
        text.push_str(", ignorable");
    }
    text.push('.');
    text
}

/// Reader and writer method of a scalar, string or byte kind.
pub(crate) fn method(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "uuid",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Records => "records",
        Kind::Struct(_) | Kind::Array(_) => panic!("composite kinds have no method"),
    }
}

/// Rust type of a scalar.
pub(crate) fn scalar_type(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "[u8; 16]",
        _ => return None,
    })
}
