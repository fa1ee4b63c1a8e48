//! Emits the plain structs to encode: definition, defaults of the schema, writer.

use crate::{
    names::{
        condition, facts, ident, message_borrows, method, nullable, placed, scalar_default,
        scalar_type, tagged,
    },
    table::{Field, Half, Kind, Struct},
};

pub(crate) fn generate(out: &mut String, half: &Half) {
    for (index, nested) in half.structs.iter().enumerate() {
        definition(out, half, nested);
        defaults(out, half, nested);
        writer(out, half, nested, index == 0);
    }
}

fn lifetime(half: &Half, nested: &Struct) -> &'static str {
    if message_borrows(half, nested) {
        "<'a>"
    } else {
        ""
    }
}

fn kind_type(half: &Half, kind: &Kind) -> String {
    match kind {
        Kind::String => "Cow<'a, str>".into(),
        Kind::Bytes => "Cow<'a, [u8]>".into(),
        Kind::Records => "Records".into(),
        Kind::Struct(name) => format!("{name}{}", lifetime(half, half.find(name))),
        Kind::Array(element) => format!("Vec<{}>", kind_type(half, element)),
        scalar => scalar_type(scalar)
            .expect("the other kinds are scalars")
            .into(),
    }
}

fn definition(out: &mut String, half: &Half, nested: &Struct) {
    let life = lifetime(half, nested);
    let what = if nested.name == half.name {
        "This message"
    } else {
        "A nested struct"
    };
    let derived = if trivial_default(nested) {
        "Default, "
    } else {
        ""
    };
    out.push_str(&format!(
        "/// {what}, to encode.\n#[derive(Clone, Debug, {derived}PartialEq)]\n\
         pub struct {}{life} {{\n",
        nested.name,
    ));
    for field in &nested.fields {
        let inner = kind_type(half, &field.kind);
        let kind = if field.null.is_some() {
            format!("Option<{inner}>")
        } else {
            inner
        };
        out.push_str(&format!(
            "    /// {}\n    pub {}: {kind},\n",
            facts(field, half.valid),
            ident(&field.name),
        ));
    }
    out.push_str("}\n");
}

/// True where the schema defaults are those of the Rust types.
fn trivial_default(nested: &Struct) -> bool {
    nested.fields.iter().all(
        |field| match (field.null.is_some(), field.null_by_default()) {
            (true, by_default) => by_default,
            (false, _) => field.default.is_none(),
        },
    )
}

fn default_value(field: &Field) -> String {
    if field.null_by_default() {
        return "None".into();
    }
    let value = match &field.kind {
        Kind::String => format!(
            "Cow::Borrowed({:?})",
            field.default.as_deref().unwrap_or("")
        ),
        Kind::Bytes => "Cow::Borrowed(&[])".into(),
        Kind::Records => "Records::default()".into(),
        Kind::Array(_) => "Vec::new()".into(),
        Kind::Struct(name) => format!("{name}::default()"),
        _ => scalar_default(field),
    };
    if field.null.is_some() {
        format!("Some({value})")
    } else {
        value
    }
}

fn defaults(out: &mut String, half: &Half, nested: &Struct) {
    if trivial_default(nested) {
        return;
    }
    let elided = if message_borrows(half, nested) {
        "<'_>"
    } else {
        ""
    };
    out.push_str(&format!(
        "impl Default for {}{elided} {{\n    fn default() -> Self {{\n        Self {{\n",
        nested.name
    ));
    for field in &nested.fields {
        out.push_str(&format!(
            "            {}: {},\n",
            ident(&field.name),
            default_value(field)
        ));
    }
    out.push_str("        }\n    }\n}\n");
}

/// Condition under which a field differs from its default, so that a version without it loses
/// something. Absence and emptiness count alike, except where absence is the stated default.
fn differs(half: &Half, field: &Field) -> String {
    let name = format!("self.{}", ident(&field.name));
    if field.null_by_default() {
        return format!("{name}.is_some()");
    }
    let default = field.default.as_deref();
    match (&field.kind, field.null.is_some()) {
        (Kind::String, false) if default.is_some() => {
            format!("{name} != {:?}", default.unwrap_or(""))
        }
        (Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_), false) => {
            format!("!{name}.is_empty()")
        }
        (Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_), true) => {
            format!("{name}.as_ref().is_some_and(|some| !some.is_empty())")
        }
        (Kind::Struct(nested), _) => {
            let fields = &half.find(nested).fields;
            let parts: Vec<String> = fields
                .iter()
                .map(|inner| {
                    let outer = format!("self.{}.", ident(&field.name));
                    differs(half, inner).replace("self.", &outer)
                })
                .collect();
            parts.join(" || ")
        }
        (Kind::Bool, _) => match default {
            Some("true") => format!("!{name}"),
            _ => name,
        },
        _ => format!("{name} != {}", scalar_default(field)),
    }
}

/// Statement that writes a field to `w`.
fn write_value(half: &Half, field: &Field) -> String {
    let name = ident(&field.name);
    let null = nullable(field, half.valid);
    let check = if field.null.is_some() && null != "true" {
        format!(
            "if self.{name}.is_none() && !({null}) {{ w.null({:?}); }} ",
            field.name
        )
    } else {
        String::new()
    };
    let write = match (&field.kind, field.null.is_some()) {
        (Kind::Struct(_), false) => format!("self.{name}.write(w);"),
        (Kind::Struct(_), true) => format!(
            "w.present(self.{name}.is_some()); if let Some(some) = &self.{name} {{ some.write(w); }}"
        ),
        (Kind::Array(element), false) => {
            format!(
                "w.array_len(self.{name}.len()); {}",
                write_items(element, &format!("&self.{name}"))
            )
        }
        (Kind::Array(element), true) => format!(
            "match &self.{name} {{ Some(items) => {{ w.array_len(items.len()); {} }} None => \
             w.null_array() }}",
            write_items(element, "items")
        ),
        (Kind::String | Kind::Bytes, true) => {
            format!("w.opt_{}(self.{name}.as_deref());", method(&field.kind))
        }
        (Kind::Records, true) => format!("w.opt_records(self.{name}.as_ref());"),
        (Kind::Uuid | Kind::String | Kind::Bytes | Kind::Records, false) => {
            format!("w.{}(&self.{name});", method(&field.kind))
        }
        (kind, _) => format!("w.{}(self.{name});", method(kind)),
    };
    format!("{check}{write}")
}

fn write_items(element: &Kind, items: &str) -> String {
    let write = match element {
        Kind::Struct(_) => "item.write(w);".to_owned(),
        Kind::String | Kind::Bytes | Kind::Uuid => format!("w.{}(item);", method(element)),
        kind => format!("w.{}(*item);", method(kind)),
    };
    format!("for item in {items} {{ {write} }}")
}

fn writer(out: &mut String, half: &Half, nested: &Struct, root: bool) {
    let elided = if message_borrows(half, nested) {
        "<'_>"
    } else {
        ""
    };
    let constant = half.name.to_uppercase();
    if root {
        out.push_str(&format!(
            "impl Message for {}{elided} {{\n    fn schema(&self) -> &'static Schema {{ \
             &{constant} }}\n    fn write(&self, w: &mut Writer<'_>) {{\n",
            nested.name
        ));
    } else {
        out.push_str(&format!(
            "impl {}{elided} {{\n    fn write(&self, w: &mut Writer<'_>) {{\n",
            nested.name
        ));
    }
    let mut body = String::new();
    for field in placed(nested) {
        let write = write_value(half, field);
        let lost = format!(
            "if {} {{ w.unsupported({:?}); }}",
            differs(half, field),
            field.name
        );
        let line = match (condition(field.window, half.valid), field.ignorable) {
            (None, _) => write,
            (Some(when), true) => format!("if {when} {{ {write} }}"),
            (Some(when), false) => format!("if {when} {{ {write} }} else {lost}"),
        };
        body.push_str(&format!("        {line}\n"));
    }
    let tags = tagged(nested);
    if half.flexible.is_some() {
        if tags.is_empty() {
            body.push_str("        w.no_tags();\n");
        } else {
            write_tags(&mut body, half, &tags);
        }
    }
    let uses_version = body.contains("v >= ")
        || body.contains("v <= ")
        || body.contains("v == ")
        || body.contains("contains(&v)");
    if uses_version {
        out.push_str("        let v = w.version();\n");
    }
    out.push_str(&body);
    out.push_str("    }\n}\n");
}

fn write_tags(body: &mut String, half: &Half, tags: &[&Field]) {
    let mut count = String::new();
    let mut writes = String::new();
    for field in tags {
        let present = match condition(field.window, half.valid) {
            None => format!("({})", differs(half, field)),
            Some(when) => format!("{when} && ({})", differs(half, field)),
        };
        count.push_str(&format!(" + u32::from({present})"));
        writes.push_str(&format!(
            "            if {present} {{ let mark = w.begin_tag({}); {} w.end_tag(mark); }}\n",
            field.tag.expect("filtered by tag"),
            write_value(half, field),
        ));
        // A flexible or older version that lacks the field must not lose a value unseen.
        if !field.ignorable && condition(field.window, half.valid).is_some() {
            let when = condition(field.window, half.valid).unwrap_or_default();
            body.push_str(&format!(
                "        if !({when}) && ({}) {{ w.unsupported({:?}); }}\n",
                differs(half, field),
                field.name
            ));
        }
    }
    body.push_str(&format!(
        "        if w.flexible() {{\n            w.tag_count(0{count});\n{writes}        }}\n"
    ));
}
