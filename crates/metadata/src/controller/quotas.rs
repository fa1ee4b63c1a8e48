//! AlterClientQuotas (KIP-546): what clients are held to. Order of checks and texts are Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use klamm_model::ErrorCode;

use super::{Controller, Decision, Growth, Reply};
use crate::limits::{QUOTA_ENTITIES_MAX, QUOTA_NAME_BYTES_MAX};
use crate::quota::{QuotaEntity, QuotaKey, QuotaKind, QuotaValue};
use crate::record::MetadataRecord;

/// How far a limit may lie from a whole number and still be taken for it, as in Kafka.
const EPSILON: f64 = 1e-6;

/// What is to happen to one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaOperation {
    /// Its name, known or not.
    pub key: String,
    /// Its height, legal or not; `None` removes it.
    pub value: Option<f64>,
}

/// Two operations are equal if their bits are.
impl Eq for QuotaOperation {}

/// Changes to one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaChange {
    /// Whose limits.
    pub entity: QuotaEntity,
    /// What is to happen to them.
    pub operations: Vec<QuotaOperation>,
}

/// Why limits stay as they are. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// The request changes the entity, or one of its limits, twice.
    Repeated(QuotaEntity),
    /// A name is longer than any that is kept.
    LongName(QuotaKind),
    /// The limit does not exist, or not for such an entity.
    Key(String),
    /// Zero, less, or no number.
    NotPositive(QuotaKey),
    /// More than the type of the limit holds.
    TooLarge(QuotaKey),
    /// Not a whole number where one is needed.
    Fractional(QuotaKey),
    /// More entities would have limits than are kept.
    TooManyEntities,
    /// The request is too large.
    Request,
}

impl QuotaError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooManyEntities | Self::Request => ErrorCode::PolicyViolation,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated(entity) => write!(formatter, "Ignoring duplicate entity {entity}"),
            Self::LongName(kind) => write!(
                formatter,
                "The {} is longer than {QUOTA_NAME_BYTES_MAX} bytes.",
                kind.word()
            ),
            Self::Key(key) => write!(formatter, "Invalid configuration key {key}"),
            Self::NotPositive(key) => {
                write!(formatter, "Quota {} must be greater than 0", key.name())
            }
            Self::TooLarge(key) => {
                let kind = match Whole::of(*key) {
                    Some(Whole::Int) => "n INT",
                    Some(Whole::Long) => " LONG",
                    None => " DOUBLE",
                };
                let name = key.name();
                write!(
                    formatter,
                    "Proposed value for {name} is too large for a{kind}."
                )
            }
            Self::Fractional(key) => {
                write!(formatter, "{} cannot be a fractional value.", key.name())
            }
            Self::TooManyEntities => write!(
                formatter,
                "No more than {QUOTA_ENTITIES_MAX} entities can have quotas."
            ),
            Self::Request => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
        }
    }
}

impl std::error::Error for QuotaError {}

/// Limits that are whole numbers, by Kafka's type of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Int,
    Long,
}

impl Whole {
    const fn of(key: QuotaKey) -> Option<Self> {
        match key {
            QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => Some(Self::Long),
            QuotaKey::ConnectionCreationRate => Some(Self::Int),
            QuotaKey::RequestPercentage | QuotaKey::ControllerMutationRate => None,
        }
    }
}

impl Controller {
    pub(super) fn alter_client_quotas(
        &self,
        changes: Vec<QuotaChange>,
        validate_only: bool,
    ) -> Decision {
        let mut growth = Growth::default();
        let mut records = Vec::new();
        let mut answers: BTreeMap<QuotaEntity, (usize, Result<(), QuotaError>)> = BTreeMap::new();
        let mut entities = self.image.client_quotas().len();
        let mut too_large = false;
        for (place, change) in changes.into_iter().enumerate() {
            // As in Kafka: what an entity's first mention says is done, and the answer tells of the
            // others.
            let repeated = || Err(QuotaError::Repeated(change.entity.clone()));
            if let Some((_, answer)) = answers.get_mut(&change.entity) {
                *answer = repeated();
                continue;
            }
            let mut keys = BTreeSet::new();
            let outcome = if change.operations.iter().all(|one| keys.insert(&one.key)) {
                self.change_quotas(&change, entities)
            } else {
                Err(QuotaError::Repeated(change.entity.clone()))
            };
            let outcome = outcome.map(|more| {
                too_large |= growth.add(&more).is_err();
                let before = self.image.client_quotas().of(&change.entity);
                let sets = more.iter().any(is_set);
                entities += usize::from(sets && before.iter().next().is_none());
                if !too_large {
                    records.extend(more);
                }
            });
            answers.insert(change.entity, (place, outcome));
        }
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.sort_unstable_by_key(|(_, (place, _))| *place);
        let answers = answers.into_iter().map(|(entity, (_, outcome))| {
            let outcome = if too_large {
                Err(QuotaError::Request)
            } else {
                outcome
            };
            (entity, outcome)
        });
        if too_large || validate_only {
            records.clear();
        }
        Decision {
            records,
            reply: Reply::AlterClientQuotas(answers.collect()),
        }
    }

    fn change_quotas(
        &self,
        change: &QuotaChange,
        entities: usize,
    ) -> Result<Vec<MetadataRecord>, QuotaError> {
        check_names(&change.entity)?;
        let before = self.image.client_quotas().of(&change.entity);
        let mut records = Vec::new();
        for operation in &change.operations {
            let mut known = change.entity.keys().iter();
            let key = known.find(|key| key.name() == operation.key).copied();
            let value = match operation.value {
                None => None,
                Some(value) => {
                    let key = key.ok_or_else(|| QuotaError::Key(operation.key.clone()))?;
                    Some(check_value(key, value)?)
                }
            };
            // To remove what cannot be there is no fault in Kafka.
            if let Some(key) = key
                && before.get(key) != value
            {
                records.push(MetadataRecord::ClientQuotaSet {
                    entity: change.entity.clone(),
                    key,
                    value,
                });
            }
        }
        let is_new = before.iter().next().is_none();
        if is_new && records.iter().any(is_set) && entities >= QUOTA_ENTITIES_MAX {
            return Err(QuotaError::TooManyEntities);
        }
        Ok(records)
    }
}

const fn is_set(record: &MetadataRecord) -> bool {
    matches!(
        record,
        MetadataRecord::ClientQuotaSet { value: Some(_), .. }
    )
}

fn check_names(entity: &QuotaEntity) -> Result<(), QuotaError> {
    for (kind, name) in entity.parts() {
        if name.text().len() > QUOTA_NAME_BYTES_MAX {
            return Err(QuotaError::LongName(kind));
        }
    }
    Ok(())
}

fn check_value(key: QuotaKey, value: f64) -> Result<QuotaValue, QuotaError> {
    if value.is_nan() || value <= 0.0 {
        return Err(QuotaError::NotPositive(key));
    }
    let whole = Whole::of(key);
    let most = match whole {
        Some(Whole::Int) => f64::from(i32::MAX),
        Some(Whole::Long) => i64::MAX as f64,
        None => f64::MAX,
    };
    if value > most {
        return Err(QuotaError::TooLarge(key));
    }
    if whole.is_some() {
        let nearest = (value + EPSILON).trunc();
        if (nearest - value).abs() > EPSILON {
            return Err(QuotaError::Fractional(key));
        }
        // Kafka keeps it: a client would wait for weeks for a byte.
        if nearest < 1.0 {
            return Err(QuotaError::NotPositive(key));
        }
    }
    QuotaValue::new(value).ok_or(QuotaError::NotPositive(key))
}
