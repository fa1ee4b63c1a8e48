//! Emits, for the tests only, generators of arbitrary messages that are valid in a version.

use crate::{
    names::{condition, ident, message_borrows, nullable, snake},
    table::{Api, Field, Half, Kind},
};

pub(crate) fn generate(apis: &[Api]) -> String {
    let mut out = String::new();
    for api in apis {
        let module = snake(&api.name);
        for half in [&api.request, &api.response] {
            for nested in &half.structs {
                let life = if message_borrows(half, nested) {
                    "<'static>"
                } else {
                    ""
                };
                let name = format!("crate::{module}::{}", nested.name);
                out.push_str(&format!(
                    "impl Sample for {name}{life} {{\n    #[allow(unused_variables)]\n    \
                     fn sample(d: &mut Dice, v: i16) -> Self {{\n        \
                     #[allow(unused_mut)] let mut message = Self::default();\n"
                ));
                for field in &nested.fields {
                    let assign =
                        format!("message.{} = {};", ident(&field.name), value(half, field));
                    match condition(field.window, half.valid) {
                        None => out.push_str(&format!("        {assign}\n")),
                        Some(when) => out.push_str(&format!("        if {when} {{ {assign} }}\n")),
                    }
                }
                out.push_str("        message\n    }\n}\n");
            }
        }
    }
    for (direction, root) in [("request", "Request"), ("response", "Response")] {
        out.push_str(&format!(
            "/// An arbitrary {direction}, encoded, after a check that its view gives the same.\n\
             pub(crate) fn sample_{direction}(key: ApiKey, d: &mut Dice, v: i16) -> \
             Option<Box<dyn Message>> {{\n    Some(match key {{\n"
        ));
        for api in apis {
            let path = format!("crate::{}::{root}", snake(&api.name));
            out.push_str(&format!(
                "        ApiKey::{} => {{ let message = {path}::sample(d, v); \
                 let body = encoded(&message, v); let view = {path}View::parse(&body, \
                 v).expect(\"what was written parses\"); assert_eq!(view.to_message(), message); \
                 Box::new(message) }}\n",
                api.name,
            ));
        }
        out.push_str("        _ => return None,\n    })\n}\n");
        out.push_str(&format!(
            "/// Parses without looking at the view.\n\
             pub(crate) fn parse_{direction}(key: ApiKey, v: i16, body: &[u8]) -> \
             Option<Result<(), DecodeError>> {{\n    Some(match key {{\n"
        ));
        for api in apis {
            out.push_str(&format!(
                "        ApiKey::{} => crate::{}::{root}View::parse(body, v).map(drop),\n",
                api.name,
                snake(&api.name)
            ));
        }
        out.push_str("        _ => return None,\n    })\n}\n");
    }
    out
}

fn value(half: &Half, field: &Field) -> String {
    let value = match &field.kind {
        Kind::Array(_) => "d.items(v)".to_owned(),
        _ => "Sample::sample(d, v)".to_owned(),
    };
    match field.null {
        None => value,
        Some(_) => {
            format!(
                "if ({}) && d.coin() {{ None }} else {{ Some({value}) }}",
                nullable(field, half.valid)
            )
        }
    }
}
