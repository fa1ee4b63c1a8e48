//! Emits the borrowed views: one struct per message and nested struct, its reader, its accessors,
//! and its conversion into a message for encoding.

use crate::{
    names::{
        condition, facts, ident, message_borrows, method, nullable, placed, scalar_default,
        scalar_type, tagged, view_borrows,
    },
    table::{Api, Field, Half, Kind, Struct},
};

pub(crate) fn generate(out: &mut String, api: &Api, half: &Half) {
    for (index, nested) in half.structs.iter().enumerate() {
        definition(out, half, nested);
        reader(out, half, nested);
        accessors(out, half, nested);
        if index == 0 {
            root(out, api, half);
        }
    }
}

fn lifetime(half: &Half, nested: &Struct) -> &'static str {
    if view_borrows(half, nested) {
        "<'a>"
    } else {
        ""
    }
}

/// Type of a kind inside a view.
fn kind_type(half: &Half, kind: &Kind) -> String {
    match kind {
        Kind::String => "&'a str".into(),
        Kind::Bytes | Kind::Records => "&'a [u8]".into(),
        Kind::Struct(name) => format!("{name}View{}", lifetime(half, half.find(name))),
        Kind::Array(element) => format!("Array<'a, {}>", kind_type(half, element)),
        scalar => scalar_type(scalar)
            .expect("the other kinds are scalars")
            .into(),
    }
}

fn field_type(half: &Half, field: &Field) -> String {
    let inner = kind_type(half, &field.kind);
    if field.null.is_some() {
        format!("Option<{inner}>")
    } else {
        inner
    }
}

fn definition(out: &mut String, half: &Half, nested: &Struct) {
    let life = lifetime(half, nested);
    let what = if nested.name == half.name {
        "this message"
    } else {
        "a nested struct"
    };
    out.push_str(&format!(
        "/// Borrowed view of {what}, `{name}`.\n\
         #[derive(Clone, Copy, Debug)]\npub struct {name}View{life} {{\n",
        name = nested.name,
    ));
    for field in &nested.fields {
        out.push_str(&format!(
            "    {}: {},\n",
            ident(&field.name),
            field_type(half, field)
        ));
    }
    out.push_str("}\n");
}

/// Value of a field in versions that lack it.
fn default_value(half: &Half, field: &Field) -> String {
    if field.null_by_default() {
        return "None".into();
    }
    let value = match &field.kind {
        Kind::String => format!("{:?}", field.default.as_deref().unwrap_or("")),
        Kind::Bytes | Kind::Records => "&[]".into(),
        Kind::Array(_) => "Array::EMPTY".into(),
        Kind::Struct(name) => struct_default(half, half.find(name)),
        _ => scalar_default(field),
    };
    if field.null.is_some() {
        format!("Some({value})")
    } else {
        value
    }
}

fn struct_default(half: &Half, nested: &Struct) -> String {
    let fields: Vec<String> = nested
        .fields
        .iter()
        .map(|field| format!("{}: {}", ident(&field.name), default_value(half, field)))
        .collect();
    format!("{}View {{ {} }}", nested.name, fields.join(", "))
}

/// Expression that reads a field from `r`.
fn read_value(half: &Half, field: &Field) -> String {
    let null = nullable(field, half.valid);
    match (&field.kind, field.null.is_some()) {
        (Kind::Array(_), false) => "r.array()".into(),
        (Kind::Array(_), true) => format!("r.opt_array({null})"),
        (Kind::Struct(_), false) => "Element::read(r)".into(),
        (Kind::Struct(_), true) => "r.opt_struct()".into(),
        (Kind::String, true) => format!("r.opt_string({null})"),
        (Kind::Bytes | Kind::Records, true) => format!("r.opt_bytes({null})"),
        (Kind::Records, false) => "r.bytes()".into(),
        (kind, _) => format!("r.{}()", method(kind)),
    }
}

fn reader(out: &mut String, half: &Half, nested: &Struct) {
    let life = lifetime(half, nested);
    let tags = tagged(nested);
    let tags: Vec<_> = tags
        .into_iter()
        .filter(|field| !field.window.misses(half.valid))
        .collect();
    let uses_version = nested.fields.iter().any(|field| {
        condition(field.window, half.valid).is_some_and(|text| text != "false")
            || nullable(field, half.valid).contains('v')
    });
    out.push_str(&format!(
        "impl<'a> Element<'a> for {}View{life} {{\n    fn read(r: &mut Reader<'a>) -> Self {{\n",
        nested.name,
    ));
    if uses_version {
        out.push_str("        let v = r.version();\n");
    }
    let mutable = if tags.is_empty() { "" } else { "mut " };
    out.push_str(&format!("        let {mutable}view = Self {{\n"));
    let late: Vec<String> = nested
        .fields
        .iter()
        .filter(|field| field.tag.is_some())
        .map(|field| format!("{}: {}", ident(&field.name), default_value(half, field)))
        .collect();
    for field in placed(nested) {
        let read = read_value(half, field);
        let value = match condition(field.window, half.valid) {
            None => read,
            Some(never) if never == "false" => default_value(half, field),
            Some(when) => format!(
                "if {when} {{ {read} }} else {{ {} }}",
                default_value(half, field)
            ),
        };
        out.push_str(&format!("            {}: {value},\n", ident(&field.name)));
    }
    for field in late {
        out.push_str(&format!("            {field},\n"));
    }
    out.push_str("        };\n");
    if tags.is_empty() {
        if half.flexible.is_some() {
            out.push_str("        r.skip_tags();\n");
        }
    } else {
        out.push_str("        let mut tags = r.tags();\n");
        out.push_str(
            "        while let Some(tag) = r.next_tag(&mut tags) {\n            match tag {\n",
        );
        for field in tags {
            let tag = field.tag.expect("filtered by tag");
            let first = half.flexible.unwrap_or(i16::MAX).max(half.valid.first);
            let valid = crate::table::Window {
                first,
                last: half.valid.last,
            };
            let guard = condition(field.window, valid);
            let read = read_value(half, field);
            let name = ident(&field.name);
            match guard {
                None => out.push_str(&format!("                {tag} => view.{name} = {read},\n")),
                Some(when) => out.push_str(&format!(
                    "                {tag} if {when} => view.{name} = {read},\n                \
                     {tag} => r.foreign_tag(tag),\n"
                )),
            }
        }
        out.push_str("                _ => r.skip_tag(),\n            }\n        }\n");
    }
    out.push_str("        view\n    }\n}\n");
}

fn accessors(out: &mut String, half: &Half, nested: &Struct) {
    let life = lifetime(half, nested);
    let of = if message_borrows(half, nested) {
        "<'a>"
    } else {
        ""
    };
    let bound = if life.is_empty() { "" } else { "<'a>" };
    out.push_str(&format!("impl{bound} {}View{life} {{\n", nested.name));
    for field in &nested.fields {
        out.push_str(&format!(
            "    /// {}\n    pub fn {name}(&self) -> {kind} {{ self.{name} }}\n",
            facts(field, half.valid),
            name = ident(&field.name),
            kind = field_type(half, field),
        ));
    }
    out.push_str(&format!(
        "    /// The same values as a message to encode; strings and bytes stay borrowed, record \
         bytes are copied.\n    pub fn to_message(&self) -> {}{of} {{\n        {0} {{\n",
        nested.name
    ));
    for field in &nested.fields {
        let name = ident(&field.name);
        let value = format!("self.{name}");
        let value = if field.null.is_some() {
            match &field.kind {
                Kind::Array(element) if scalar_type(element).is_some() => {
                    format!("{value}.map(|some| some.iter().collect())")
                }
                kind => format!("{value}.map(|some| {})", convert(kind, "some")),
            }
        } else {
            convert(&field.kind, &value)
        };
        out.push_str(&format!("            {name}: {value},\n"));
    }
    out.push_str("        }\n    }\n}\n");
}

fn convert(kind: &Kind, value: &str) -> String {
    match kind {
        Kind::String | Kind::Bytes => format!("Cow::Borrowed({value})"),
        Kind::Records => format!("Records::copied({value})"),
        Kind::Struct(_) => format!("{value}.to_message()"),
        Kind::Array(element) if scalar_type(element).is_some() => {
            format!("{value}.iter().collect()")
        }
        Kind::Array(element) => {
            format!(
                "{value}.iter().map(|item| {}).collect()",
                convert(element, "item")
            )
        }
        _ => value.to_owned(),
    }
}

fn root(out: &mut String, api_of: &Api, half: &Half) {
    let life = lifetime(half, &half.structs[0]);
    let (name, api) = (half.name, &api_of.name);
    let constant = name.to_uppercase();
    out.push_str(&format!(
        "/// Key, direction and versions of this message.\n\
         pub static {constant}: Schema = Schema {{ key: ApiKey::{api}, \
         direction: Direction::{name}, versions: VersionRange {{ first: {}, last: {} }}, \
         first_flexible: {:?} }};\n\
         impl<'a> MessageView<'a> for {name}View{life} {{\n    \
         fn schema() -> &'static Schema {{ &{constant} }}\n}}\n",
        half.valid.first, half.valid.last, half.flexible,
    ));
    if half.name == "Request" {
        let of = if message_borrows(half, &half.structs[0]) {
            "<'_>"
        } else {
            ""
        };
        let answer = &api_of.response;
        let life = if view_borrows(answer, &answer.structs[0]) {
            "<'r>"
        } else {
            ""
        };
        out.push_str(&format!(
            "impl RequestMessage for Request{of} {{\n    type ResponseView<'r> = \
             ResponseView{life};\n}}\n"
        ));
    }
}
