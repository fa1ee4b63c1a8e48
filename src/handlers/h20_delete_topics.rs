//! DeleteTopics: by name, or by id since KIP-516.

use std::borrow::Cow;

use klamm_model::{ErrorCode, TopicId};
use klamm_shard::api::metadata::{
    Command, DeleteTopicError, DeletedTopic, Image, Reply, TopicReference,
};
use klamm_wire::{Gather, delete_topics};

use crate::net::{Close, Context, Mutations, Request};

/// First version that knows `TOPIC_DELETION_DISABLED`.
const FIRST_WITH_DISABLED: i16 = 3;
/// First version that may name topics by id.
const FIRST_BY_ID: i16 = 6;

/// First version that can be told that a quota is exhausted (KIP-599).
const FIRST_STRICT: i16 = 5;

type Answer = delete_topics::DeletableTopicResult<'static>;

/// Answers the request once the decision is durable.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let mutations = Mutations::of(&request, FIRST_STRICT);
    let mut throttle = 0;
    let (mut responses, references) = references(&request.body()?, request.version);
    if !context.front.config.topics.delete_enable {
        let code = if request.version < FIRST_WITH_DISABLED {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        responses.extend(references.into_iter().map(|reference| Answer {
            error_code: code.code(),
            error_message: Some(Cow::Borrowed("Topic deletion is disabled.")),
            ..answer_to(reference)
        }));
    } else if !references.is_empty() {
        let image = context.shards.image();
        let command = mutations.within(Command::DeleteTopics { topics: references });
        let reply = context.shards.control(command).await;
        let Reply::DeleteTopics(outcomes) = reply else {
            unreachable!("DeleteTopics is answered by its own reply")
        };
        let partitions = outcomes.iter().filter_map(|one| {
            let (_, id) = one.outcome.as_ref().ok()?;
            Some(image.topic_by_id(*id)?.partition_count())
        });
        let is_refused = |one: &DeletedTopic| one.outcome == Err(DeleteTopicError::QuotaExceeded);
        let refused = outcomes.iter().any(is_refused);
        throttle = mutations.charge(&context, partitions.sum(), refused);
        let named = |outcome| answer_of(&image, request.version, outcome);
        responses.extend(outcomes.into_iter().map(named));
    }
    request.answer(&delete_topics::Response {
        throttle_time_ms: throttle,
        responses,
    })
}

/// What can be asked of the controller, and answers to what cannot.
fn references(
    view: &delete_topics::RequestView<'_>,
    version: i16,
) -> (Vec<Answer>, Vec<TopicReference>) {
    if version < FIRST_BY_ID {
        let names = view.topic_names().iter();
        return (
            Vec::new(),
            names
                .map(|name| TopicReference::Name(name.to_owned()))
                .collect(),
        );
    }
    let mut answers = Vec::new();
    let mut references = Vec::new();
    for topic in view.topics() {
        let id = TopicId(topic.topic_id());
        let refusal = match (topic.name(), id.is_zero()) {
            (Some(name), true) => {
                references.push(TopicReference::Name(name.to_owned()));
                continue;
            }
            (None, false) => {
                references.push(TopicReference::Id(id));
                continue;
            }
            (None, true) => "Neither topic name nor id were specified.",
            (Some(_), false) => "You may not specify both topic name and topic id.",
        };
        answers.push(Answer {
            name: topic.name().map(|name| Cow::Owned(name.to_owned())),
            topic_id: id.0,
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some(Cow::Borrowed(refusal)),
        });
    }
    (answers, references)
}

fn answer_to(reference: TopicReference) -> Answer {
    match reference {
        TopicReference::Name(name) => Answer {
            name: Some(Cow::Owned(name)),
            ..Default::default()
        },
        TopicReference::Id(id) => Answer {
            name: None,
            topic_id: id.0,
            ..Default::default()
        },
    }
}

fn answer_of(image: &Image, version: i16, outcome: DeletedTopic) -> Answer {
    match outcome.outcome {
        Ok((name, id)) => Answer {
            name: Some(Cow::Owned(name.to_string())),
            topic_id: id.0,
            ..Default::default()
        },
        Err(error) => {
            let mut answer = answer_to(outcome.reference);
            if version < FIRST_BY_ID && answer.name.is_none() {
                let topic = image.topic_by_id(TopicId(answer.topic_id));
                let name = topic.map_or(String::new(), |topic| topic.name().to_string());
                answer.name = Some(Cow::Owned(name));
            }
            answer.error_code = error.code().code();
            answer.error_message = Some(Cow::Owned(error.to_string()));
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::{Message, MessageView};

    use super::*;

    #[test]
    fn a_topic_is_named_by_name_or_by_id_but_not_by_both_or_neither() {
        let topic = |name: Option<&'static str>, id| delete_topics::DeleteTopicState {
            name: name.map(Cow::Borrowed),
            topic_id: [id; 16],
        };
        let request = delete_topics::Request {
            topics: vec![
                topic(Some("a"), 0),
                topic(None, 7),
                topic(Some("b"), 8),
                topic(None, 0),
            ],
            ..Default::default()
        };
        let mut bytes = bytes::BytesMut::new();
        request.encode(6, &mut bytes).expect("expressible");
        let view = delete_topics::RequestView::parse(&bytes, 6).expect("own bytes");
        let (answers, references) = references(&view, 6);
        let expected = [
            TopicReference::Name("a".to_owned()),
            TopicReference::Id(TopicId([7; 16])),
        ];
        assert_eq!(references, expected);
        let codes: Vec<_> = answers.iter().map(|answer| answer.error_code).collect();
        assert_eq!(codes, [42, 42]);
    }

    #[test]
    fn every_version_names_the_topic_that_was_not_there() {
        let image = Image::default();
        for version in 0..=6 {
            let outcome = DeletedTopic {
                reference: TopicReference::Name("gone".to_owned()),
                outcome: Err(DeleteTopicError::UnknownName),
            };
            let responses = vec![answer_of(&image, version, outcome)];
            let response = delete_topics::Response {
                responses,
                ..Default::default()
            };
            let mut bytes = bytes::BytesMut::new();
            response
                .encode(version, &mut bytes)
                .expect("every version can say it");
            let view = delete_topics::ResponseView::parse(&bytes, version).expect("own bytes");
            let answer = view.responses().iter().next().expect("one topic");
            assert_eq!((answer.name(), answer.error_code()), (Some("gone"), 3));
        }
    }
}
