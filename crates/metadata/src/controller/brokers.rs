//! Registration of brokers, the cluster's id, the finalising of features at first start, and the
//! new reign over its partitions that a broker's new life begins.

use std::fmt;

use klamm_model::{ClusterId, ErrorCode, NodeId};

use super::{Controller, Decision, Moment, Reply};
use crate::limits::LISTENERS_MAX;
use crate::record::{Listener, MetadataRecord};

/// A feature and the levels of it that a broker can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    /// The feature.
    pub name: String,
    /// Lowest level that works.
    pub min: i16,
    /// Highest level that works.
    pub max: i16,
}

/// What a broker says of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The broker.
    pub node: NodeId,
    /// Random id of this process.
    pub incarnation: [u8; 16],
    /// Where it is reached.
    pub listeners: Vec<Listener>,
    /// Where it stands.
    pub rack: Option<String>,
    /// What it can work with. Features that the cluster has not finalised are finalised at `max`.
    pub features: Vec<SupportedFeature>,
    /// The cluster that it belongs to; becomes the cluster's id if it has none.
    pub cluster: ClusterId,
}

impl Registration {
    /// A broker without listeners, rack and features.
    #[must_use]
    pub const fn new(node: NodeId, cluster: ClusterId) -> Self {
        Self {
            node,
            incarnation: [0; 16],
            listeners: Vec::new(),
            rack: None,
            features: Vec::new(),
            cluster,
        }
    }
}

/// Why a broker may not register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// It belongs to another cluster.
    Cluster {
        /// The cluster's id.
        expected: ClusterId,
        /// The broker's.
        found: ClusterId,
    },
    /// The cluster uses a level that the broker cannot work with.
    Feature {
        /// The feature.
        name: String,
        /// The finalised level.
        level: i16,
    },
    /// Its listeners, texts or numbers are out of bounds.
    Invalid(&'static str),
}

impl RegisterError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Cluster { .. } => ErrorCode::InconsistentClusterId,
            Self::Feature { .. } => ErrorCode::UnsupportedVersion,
            Self::Invalid(_) => ErrorCode::InvalidRegistration,
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { expected, found } => {
                write!(
                    formatter,
                    "expected a broker of cluster {expected}, found one of {found}"
                )
            }
            Self::Feature { name, level } => write!(
                formatter,
                "the cluster uses {name} at level {level}, which this broker does not support"
            ),
            Self::Invalid(what) => write!(formatter, "the registration has an invalid {what}"),
        }
    }
}

impl std::error::Error for RegisterError {}

impl Controller {
    pub(super) fn register(&self, moment: Moment, registration: Registration) -> Decision {
        match self.check_registration(&registration) {
            Ok(()) => Decision {
                records: self.registration_records(moment, registration),
                reply: Reply::Registered(Ok(())),
            },
            Err(error) => Decision {
                records: Vec::new(),
                reply: Reply::Registered(Err(error)),
            },
        }
    }

    fn check_registration(&self, registration: &Registration) -> Result<(), RegisterError> {
        if let Some(expected) = self.image.cluster()
            && expected != registration.cluster
        {
            return Err(RegisterError::Cluster {
                expected,
                found: registration.cluster,
            });
        }
        let short = |text: &str| text.len() <= 1024;
        if registration.node.0 < 0 {
            return Err(RegisterError::Invalid("node id"));
        }
        let listeners = &registration.listeners;
        if listeners.len() > LISTENERS_MAX
            || !listeners.iter().all(|l| short(&l.name) && short(&l.host))
        {
            return Err(RegisterError::Invalid("list of listeners"));
        }
        if !registration.rack.as_deref().is_none_or(short) {
            return Err(RegisterError::Invalid("rack"));
        }
        for feature in &registration.features {
            if !short(&feature.name) || feature.min < 0 || feature.max < feature.min {
                return Err(RegisterError::Invalid("feature"));
            }
            if let Some(&level) = self.image.features().get(&feature.name)
                && !(feature.min..=feature.max).contains(&level)
            {
                return Err(RegisterError::Feature {
                    name: feature.name.clone(),
                    level,
                });
            }
        }
        Ok(())
    }

    fn registration_records(
        &self,
        moment: Moment,
        registration: Registration,
    ) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        if self.image.cluster().is_none() {
            records.push(MetadataRecord::Cluster {
                id: registration.cluster,
            });
        }
        for feature in registration.features {
            if feature.max > 0 && !self.image.features().contains_key(&feature.name) {
                records.push(MetadataRecord::FeatureLevel {
                    name: feature.name,
                    level: feature.max,
                });
            }
        }
        // The same process may ask twice; only a new one can have lost what its predecessor knew.
        let known = self.image.brokers().get(&registration.node);
        let lives_anew = known.is_some_and(|known| known.incarnation != registration.incarnation);
        if lives_anew && self.image.leads_any(registration.node) {
            records.push(MetadataRecord::LeaderEpochsRaised {
                leader: registration.node,
            });
        }
        records.push(MetadataRecord::BrokerRegistered {
            node: registration.node,
            incarnation: registration.incarnation,
            listeners: registration.listeners,
            rack: registration.rack,
            epoch: None,
            registered_at: moment.wall,
        });
        records
    }
}
