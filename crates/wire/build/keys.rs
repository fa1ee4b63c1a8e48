//! Emits the `ApiKey` enum with its facts, and the closed dispatch over all messages.

use crate::{
    names::snake,
    table::{Api, Half, Key},
};

pub(crate) fn generate(keys: &[Key], apis: &[Api]) -> String {
    let mut out = String::from(
        "/// Every API key that Kafka has assigned, dead and internal ones included.\n\
         #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]\n#[repr(i16)]\n\
         pub enum ApiKey {\n",
    );
    for key in keys {
        out.push_str(&format!(
            "    /// Key {number}.\n    {name} = {number},\n",
            number = key.number,
            name = key.name
        ));
    }
    out.push_str("}\n\nimpl ApiKey {\n    /// All keys in ascending order.\n");
    out.push_str(&format!("    pub const ALL: [Self; {}] = [", keys.len()));
    for key in keys {
        out.push_str(&format!("Self::{}, ", key.name));
    }
    out.push_str("];\n\n    /// Kafka's name of the API.\n    pub fn name(self) -> &'static str {\n        match self {\n");
    for key in keys {
        out.push_str(&format!("            Self::{0} => {0:?},\n", key.name));
    }
    out.push_str("        }\n    }\n}\n\npub(crate) fn facts(key: ApiKey) -> Option<Facts> {\n    Some(match key {\n");
    for api in apis {
        let (request, response) = (&api.request, &api.response);
        assert_eq!(
            request.valid, response.valid,
            "{}: halves differ in versions",
            api.name
        );
        assert_eq!(
            request.flexible, response.flexible,
            "{}: halves differ",
            api.name
        );
        out.push_str(&format!(
            "        ApiKey::{} => Facts {{ versions: VersionRange {{ first: {}, last: {} }}, \
             first_flexible: {:?}, first_unstable: {:?}, throttle_leads_from: {:?} }},\n",
            api.name,
            request.valid.first,
            request.valid.last,
            request.flexible,
            request.unstable,
            throttle_leads_from(response),
        ));
    }
    out.push_str("        _ => return None,\n    })\n}\n");
    out
}

/// First version of a response in which the time to wait stands before everything else.
fn throttle_leads_from(response: &Half) -> Option<i16> {
    let first = response.structs.first()?.fields.first()?;
    (first.name == "throttle_time_ms" && first.tag.is_none()).then_some(first.window.first)
}

/// Functions that hand a body to the view that its key and direction name.
pub(crate) fn dispatch(apis: &[Api]) -> String {
    let mut out = String::new();
    for (direction, view) in [("request", "RequestView"), ("response", "ResponseView")] {
        out.push_str(&format!(
            "/// Parses the body of a {direction} and hands its view to `visit` as a message to \
             encode.\n\
             pub(crate) fn visit_{direction}(key: ApiKey, version: i16, body: &[u8], visit: &mut \
             dyn FnMut(&dyn Message)) -> Option<Result<(), DecodeError>> {{\n    \
             Some(match key {{\n",
        ));
        for api in apis {
            out.push_str(&format!(
                "        ApiKey::{} => {}::{view}::parse(body, version).map(|view| \
                 visit(&view.to_message())),\n",
                api.name,
                snake(&api.name)
            ));
        }
        out.push_str("        _ => return None,\n    })\n}\n");
    }
    out
}
