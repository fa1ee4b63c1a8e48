//! InitProducerId: gives idempotent producers their ids, from a block that this core keeps in
//! stock. Transactional producers are refused: transactions are not served yet.

use std::cell::Cell;

use klamm_model::{ErrorCode, ProducerId};
use klamm_shard::Shards;
use klamm_shard::api::metadata::{Command, ProducerIdBlock, Reply};
use klamm_wire::{Gather, init_producer_id};

use crate::net::{Close, Context, Request};

/// Ids that one core takes from the controller at a time, as Kafka's brokers do.
const BLOCK: u32 = 1000;
/// "None" on the wire.
const NONE: i64 = -1;

/// Producer ids that this core may still give out.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    stock: Cell<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    fn take(&self) -> Option<ProducerId> {
        let block = self.stock.take()?;
        if block.count > 1 {
            let first = ProducerId(block.first.0 + 1);
            self.stock.set(Some(ProducerIdBlock {
                first,
                count: block.count - 1,
            }));
        }
        (block.count > 0).then_some(block.first)
    }

    /// Puts a new block into stock. Of two blocks the larger stays; ids may be left out.
    fn put(&self, block: ProducerIdBlock) {
        let kept = self.stock.take().filter(|old| old.count > block.count);
        self.stock.set(Some(kept.unwrap_or(block)));
    }

    async fn next(&self, shards: &Shards) -> Result<ProducerId, ErrorCode> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        match shards
            .control(Command::AllocateProducerIds { count: BLOCK })
            .await
        {
            Reply::ProducerIds(Ok(block)) => {
                self.put(ProducerIdBlock {
                    first: ProducerId(block.first.0 + 1),
                    count: block.count - 1,
                });
                Ok(block.first)
            }
            Reply::ProducerIds(Err(error)) => Err(error.code()),
            other => unreachable!("AllocateProducerIds is answered by {other:?}"),
        }
    }
}

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let refused = refusal(&request.body()?);
    let given = match refused {
        Some(code) => Err(code),
        None => context.front.producer_ids.next(&context.shards).await,
    };
    request.answer(&match given {
        Ok(id) => init_producer_id::Response {
            producer_id: id.0,
            ..Default::default()
        },
        Err(code) => init_producer_id::Response {
            error_code: code.code(),
            producer_id: NONE,
            producer_epoch: -1,
            ..Default::default()
        },
    })
}

/// Why a request gets no id. Without a transactional id Kafka gives a fresh one whatever the
/// producer had, if it had both id and epoch or neither.
fn refusal(view: &init_producer_id::RequestView<'_>) -> Option<ErrorCode> {
    let halved = (view.producer_id() == NONE) != (view.producer_epoch() == -1);
    match view.transactional_id() {
        _ if halved => Some(ErrorCode::InvalidRequest),
        None => None,
        Some("") => Some(ErrorCode::InvalidRequest),
        // Final for all clients, and the one whose text says that the broker cannot do it.
        Some(_) => Some(ErrorCode::UnsupportedVersion),
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn a_block_is_given_out_once_in_order() {
        let ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        ids.put(ProducerIdBlock {
            first: ProducerId(7),
            count: 2,
        });
        assert_eq!(ids.take(), Some(ProducerId(7)));
        assert_eq!(ids.take(), Some(ProducerId(8)));
        assert_eq!(ids.take(), None);
        ids.put(ProducerIdBlock {
            first: ProducerId(9),
            count: 0,
        });
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn a_second_block_never_replaces_a_larger_one() {
        let ids = ProducerIds::default();
        ids.put(ProducerIdBlock {
            first: ProducerId(10),
            count: 5,
        });
        ids.put(ProducerIdBlock {
            first: ProducerId(20),
            count: 3,
        });
        assert_eq!(ids.take(), Some(ProducerId(10)));
        ids.put(ProducerIdBlock {
            first: ProducerId(30),
            count: 999,
        });
        assert_eq!(ids.take(), Some(ProducerId(30)));
    }

    #[test]
    fn transactional_and_half_known_producers_are_refused() {
        let check = |transactional_id: Option<&str>, id, epoch, expected| {
            let request = init_producer_id::Request {
                transactional_id: transactional_id.map(Into::into),
                producer_id: id,
                producer_epoch: epoch,
                ..Default::default()
            };
            let mut bytes = bytes::BytesMut::new();
            request.encode(5, &mut bytes).expect("expressible");
            let view = init_producer_id::RequestView::parse(&bytes, 5).expect("own bytes");
            assert_eq!(refusal(&view), expected);
        };
        check(None, -1, -1, None);
        check(None, 5, 0, None);
        check(None, 5, -1, Some(ErrorCode::InvalidRequest));
        check(None, -1, 0, Some(ErrorCode::InvalidRequest));
        check(Some(""), -1, -1, Some(ErrorCode::InvalidRequest));
        check(Some("mine"), -1, -1, Some(ErrorCode::UnsupportedVersion));
    }
}
