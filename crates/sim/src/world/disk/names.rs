//! Names of files, and how they change.

use std::collections::BTreeMap;

use super::Node;

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link { name: String, node: Node },
    Unlink { name: String },
    Rename { from: String, to: String },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub(super) cached: BTreeMap<String, Node>,
    pub(super) device: BTreeMap<String, Node>,
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link { name, node } => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}
