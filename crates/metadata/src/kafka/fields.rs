//! Fields of Kafka's flexible messages (KIP-482), read from the front.

use std::sync::Arc;

use klamm_model::{NodeId, TopicId};

use super::KafkaMetadataError;

/// What is left of a record's value.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    /// The kind of record, for errors.
    pub(super) kind: u32,
}

impl<'a> Fields<'a> {
    pub(super) const fn of(value: &'a [u8]) -> Self {
        Self {
            bytes: value,
            kind: 0,
        }
    }

    fn short(&self) -> KafkaMetadataError {
        KafkaMetadataError::Short { kind: self.kind }
    }

    fn illegal(&self, field: &'static str) -> KafkaMetadataError {
        KafkaMetadataError::Field {
            kind: self.kind,
            field,
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], KafkaMetadataError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KafkaMetadataError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, KafkaMetadataError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn i32(&mut self) -> Result<i32, KafkaMetadataError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, KafkaMetadataError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, KafkaMetadataError> {
        self.array().map(f64::from_be_bytes)
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, KafkaMetadataError> {
        self.array().map(TopicId)
    }

    pub(super) fn uvarint(&mut self) -> Result<u32, KafkaMetadataError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.illegal("length"))
    }

    /// Length of a string or list; `None` is null.
    pub(super) fn length(&mut self) -> Result<Option<usize>, KafkaMetadataError> {
        Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize))
    }

    pub(super) fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<String>, KafkaMetadataError> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| self.illegal(field))?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<String, KafkaMetadataError> {
        self.nullable_string(field)?
            .ok_or_else(|| self.illegal(field))
    }

    /// A list of nodes; `None` is null. The length that it claims reserves nothing beyond the bytes
    /// that are there.
    pub(super) fn nodes(&mut self) -> Result<Option<Arc<[NodeId]>>, KafkaMetadataError> {
        let Some(count) = self.length()? else {
            return Ok(None);
        };
        let bytes = self.take(count.saturating_mul(4))?;
        let nodes = bytes.as_chunks::<4>().0.iter();
        Ok(Some(
            nodes
                .map(|node| NodeId(i32::from_be_bytes(*node)))
                .collect(),
        ))
    }

    /// Passes over a list of ids.
    pub(super) fn skip_ids(&mut self) -> Result<(), KafkaMetadataError> {
        let count = self.length()?.unwrap_or(0);
        self.take(count.saturating_mul(16)).map(drop)
    }

    /// Tagged fields, each with its tag and its bytes.
    pub(super) fn tagged(
        &mut self,
        mut visit: impl FnMut(u32, &mut Self) -> Result<(), KafkaMetadataError>,
    ) -> Result<(), KafkaMetadataError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            let mut field = Self {
                bytes: self.take(length)?,
                kind: self.kind,
            };
            visit(tag, &mut field)?;
        }
        Ok(())
    }
}
