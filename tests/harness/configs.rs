//! Configuration as tests change and read it: one call for one resource.

use std::collections::BTreeMap;

use klamm_wire::{alter_configs, describe_configs, incremental_alter_configs};

use super::Client;

/// Kafka's numbers of the kinds of resources.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// Where a value comes from, by Kafka's numbers.
pub(crate) const OWN_TOPIC: i8 = 1;
pub(crate) const OWN_BROKER: i8 = 2;
pub(crate) const ALL_BROKERS: i8 = 3;
pub(crate) const FILE: i8 = 4;
pub(crate) const DEFAULT: i8 = 5;

/// What is to happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Set(&'a str),
    Delete,
    Append(&'a str),
    Subtract(&'a str),
    /// Any operation and value, legal or not.
    Raw(i8, Option<&'a str>),
}

impl Change<'_> {
    const fn parts(&self) -> (i8, Option<&str>) {
        match *self {
            Self::Set(value) => (0, Some(value)),
            Self::Delete => (1, None),
            Self::Append(value) => (2, Some(value)),
            Self::Subtract(value) => (3, Some(value)),
            Self::Raw(number, value) => (number, value),
        }
    }
}

/// What became of a resource: its code, and what was said of it.
pub(crate) type Outcome = (i16, Option<String>);

/// A described key: its value, where that comes from, and all that could have set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) value: Option<String>,
    pub(crate) source: i8,
    pub(crate) read_only: bool,
    pub(crate) sensitive: bool,
    pub(crate) kind: i8,
    /// Key, value, source.
    pub(crate) synonyms: Vec<(String, Option<String>, i8)>,
}

/// A change of one resource for IncrementalAlterConfigs.
pub(crate) fn changing<'a>(
    kind: i8,
    name: &'a str,
    changes: &[(&'a str, Change<'a>)],
) -> incremental_alter_configs::AlterConfigsResource<'a> {
    let configs = changes.iter().map(|(key, change)| {
        let (number, value) = change.parts();
        incremental_alter_configs::AlterableConfig {
            name: (*key).into(),
            config_operation: number,
            value: value.map(|value| value.to_owned().into()),
        }
    });
    incremental_alter_configs::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: configs.collect(),
    }
}

impl Client {
    /// IncrementalAlterConfigs of one resource, in its highest version.
    pub(crate) fn change(
        &mut self,
        kind: i8,
        name: &str,
        changes: &[(&str, Change<'_>)],
    ) -> Outcome {
        let request = incremental_alter_configs::Request {
            resources: vec![changing(kind, name, changes)],
            validate_only: false,
        };
        let [outcome] = self
            .change_all(&request, 1)
            .try_into()
            .expect("one resource");
        outcome
    }

    pub(crate) fn change_all(
        &mut self,
        request: &incremental_alter_configs::Request<'_>,
        version: i16,
    ) -> Vec<Outcome> {
        let reply = self.call(request, version);
        let view = reply.view();
        let asked: Vec<_> = request
            .resources
            .iter()
            .map(|one| &*one.resource_name)
            .collect();
        let named: Vec<_> = view
            .responses()
            .iter()
            .map(|one| one.resource_name())
            .collect();
        assert_eq!(named, asked, "answers come in the order of the request");
        let outcomes = view.responses().iter();
        outcomes
            .map(|one| (one.error_code(), one.error_message().map(str::to_owned)))
            .collect()
    }

    /// AlterConfigs of one resource.
    pub(crate) fn replace(
        &mut self,
        kind: i8,
        name: &str,
        keys: &[(&str, Option<&str>)],
        version: i16,
    ) -> Outcome {
        let configs = keys
            .iter()
            .map(|(key, value)| alter_configs::AlterableConfig {
                name: (*key).to_owned().into(),
                value: value.map(|value| value.to_owned().into()),
            });
        let request = alter_configs::Request {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_type: kind,
                resource_name: name.to_owned().into(),
                configs: configs.collect(),
            }],
            validate_only: false,
        };
        let reply = self.call(&request, version);
        let view = reply.view();
        let one = view.responses().iter().next().expect("one resource");
        assert_eq!((one.resource_type(), one.resource_name()), (kind, name));
        (one.error_code(), one.error_message().map(str::to_owned))
    }

    /// Everything that DescribeConfigs says of one resource.
    pub(crate) fn described(&mut self, kind: i8, name: &str) -> BTreeMap<String, Described> {
        self.try_described(kind, name)
            .unwrap_or_else(|outcome| panic!("{name} cannot be described: {outcome:?}"))
    }

    pub(crate) fn try_described(
        &mut self,
        kind: i8,
        name: &str,
    ) -> Result<BTreeMap<String, Described>, Outcome> {
        let request = describe_configs::Request {
            resources: vec![describe_configs::DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.to_owned().into(),
                configuration_keys: None,
            }],
            include_synonyms: true,
            include_documentation: false,
        };
        let reply = self.call(&request, 4);
        let view = reply.view();
        let result = view.results().iter().next().expect("one resource");
        if result.error_code() != 0 {
            let message = result.error_message().map(str::to_owned);
            return Err((result.error_code(), message));
        }
        let rows = result.configs().iter().map(|row| {
            let synonyms = row.synonyms().iter().map(|one| {
                let value = one.value().map(str::to_owned);
                (one.name().to_owned(), value, one.source())
            });
            let described = Described {
                value: row.value().map(str::to_owned),
                source: row.config_source(),
                read_only: row.read_only(),
                sensitive: row.is_sensitive(),
                kind: row.config_type(),
                synonyms: synonyms.collect(),
            };
            (row.name().to_owned(), described)
        });
        Ok(rows.collect())
    }
}
