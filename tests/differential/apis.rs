//! The tables of all APIs, read from where the wire's build reads them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::table::{Api, parse_api};

/// Every API that has a table, by its key.
pub(crate) struct Apis(BTreeMap<i16, Api>);

impl Apis {
    pub(crate) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/wire/schema");
        let entries = std::fs::read_dir(&folder).expect("the tables");
        let paths = entries.map(|entry| entry.expect("a table").path());
        let apis = paths
            .filter(|path| path.file_stem().is_some_and(|stem| stem != "api_keys"))
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a table");
                let api = parse_api(&path.display().to_string(), &text);
                (api.key, api)
            });
        Self(apis.collect())
    }

    pub(crate) fn of(&self, key: i16) -> &Api {
        &self.0[&key]
    }

    pub(crate) fn find(&self, key: i16) -> Option<&Api> {
        self.0.get(&key)
    }
}
