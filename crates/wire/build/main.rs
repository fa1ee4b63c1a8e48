//! Build-time generator: turns the tables in `schema/` into Rust modules, one per API.
//! Reads only this crate's own files, writes only to `OUT_DIR`, depends on nothing.

mod keys;
mod message;
mod names;
mod sample;
mod table;
mod view;

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=build");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let out = Path::new(&out);
    let mut apis = Vec::new();
    let mut keys = Vec::new();
    let mut paths: Vec<_> = fs::read_dir("schema")
        .expect("the schema folder lies beside Cargo.toml")
        .map(|entry| entry.expect("schema folder is readable").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("schema files are readable UTF-8");
        if name == "api_keys.txt" {
            keys = table::parse_keys(&name, &text);
        } else {
            apis.push(table::parse_api(&name, &text));
        }
    }
    apis.sort_by_key(|api| api.key);

    let mut modules = String::new();
    for api in &apis {
        let known = keys
            .iter()
            .any(|key| key.number == api.key && key.name == api.name);
        assert!(known, "{} {} is not in api_keys.txt", api.key, api.name);
        elements_take_bytes(api);
        let module = names::snake(&api.name);
        modules.push_str(&format!(
            "#[doc = \"{name} (key {key}).\"]\n\
             #[allow(clippy::identity_op, clippy::let_and_return, clippy::nonminimal_bool, clippy::redundant_closure, \
             reason = \"generated\")]\n\
             pub mod {module} {{ include!(concat!(env!(\"OUT_DIR\"), \"/{module}.rs\")); }}\n",
            name = api.name,
            key = api.key,
        ));
        let mut code = String::from(
            "#[allow(unused_imports)] use std::borrow::Cow;\n\
             #[allow(unused_imports)] use crate::{array::{Array, Element}, message::{Message, \
             MessageView, Request as RequestMessage, Schema, Direction, VersionRange}, \
             reader::Reader, records::Records, writer::Writer, ApiKey};\n",
        );
        for half in [&api.request, &api.response] {
            view::generate(&mut code, api, half);
            message::generate(&mut code, half);
        }
        write(out, &format!("{module}.rs"), &code);
    }
    modules.push_str(&keys::dispatch(&apis));
    write(out, "modules.rs", &modules);
    write(out, "api_key.rs", &keys::generate(&keys, &apis));
    write(out, "samples.rs", &sample::generate(&apis));
}

/// A reader bounds the count of an array by the bytes that follow it, which holds only where every
/// element takes at least one byte in every version.
fn elements_take_bytes(api: &table::Api) {
    for half in [&api.request, &api.response] {
        let fields = half.structs.iter().flat_map(|nested| &nested.fields);
        for array in fields.filter(|field| matches!(field.kind, table::Kind::Array(_))) {
            let Some(element) = array.kind.struct_name() else {
                continue;
            };
            let element = half.find(element);
            for version in half.valid.first..=half.valid.last {
                let holds = |window: table::Window| (window.first..=window.last).contains(&version);
                let flexible = half.flexible.is_some_and(|first| version >= first);
                let takes = flexible || names::placed(element).any(|field| holds(field.window));
                assert!(
                    takes || !holds(array.window),
                    "{}: {} takes no byte in version {version}",
                    api.name,
                    element.name
                );
            }
        }
    }
}

fn write(out: &Path, name: &str, code: &str) {
    fs::write(out.join(name), code).expect("OUT_DIR is writable");
}
