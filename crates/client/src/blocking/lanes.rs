//! Connections that carry many requests at a time, for producer and consumer: which request went
//! out where and when, and what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use klamm_model::NodeId;

use super::network::{Event, SendFailure, SocketId};
use super::{Client, ClientError};
use crate::connection::{Connection, CorrelationId, Response, SendError};

/// What came of a request.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It was answered.
    Answered(T, Response),
    /// It will never be.
    Lost(T),
}

/// One connection for each node, and the requests in flight on them with what the caller wants to
/// remember of each.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    by_node: BTreeMap<NodeId, SocketId>,
    in_flight: BTreeMap<(SocketId, CorrelationId), (T, Instant)>,
}

impl<T> Lanes<T> {
    pub(super) const fn new() -> Self {
        Self {
            by_node: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// Sends to a node and remembers `note` until the answer comes.
    pub(super) fn send(
        &mut self,
        client: &mut Client,
        node: NodeId,
        note: T,
        send: impl FnOnce(&mut Connection) -> Result<CorrelationId, SendError>,
    ) -> Result<(), (T, ClientError)> {
        match self.put(client, node, send) {
            Ok(at) => {
                self.in_flight.insert(at, (note, Instant::now()));
                Ok(())
            }
            Err(error) => Err((note, error)),
        }
    }

    /// Sends to a node a request that is never answered.
    pub(super) fn send_unanswered(
        &mut self,
        client: &mut Client,
        node: NodeId,
        send: impl FnOnce(&mut Connection) -> Result<CorrelationId, SendError>,
    ) -> Result<(), ClientError> {
        self.put(client, node, send).map(|_| ())
    }

    fn put(
        &mut self,
        client: &mut Client,
        node: NodeId,
        send: impl FnOnce(&mut Connection) -> Result<CorrelationId, SendError>,
    ) -> Result<(SocketId, CorrelationId), ClientError> {
        let socket = match self.by_node.get(&node) {
            Some(&socket) if client.network.machine(socket).is_some() => socket,
            _ => {
                let address = client.address_of(node)?;
                let socket = client.network.dial(&address)?;
                self.by_node.insert(node, socket);
                socket
            }
        };
        match client.network.send(socket, send) {
            Ok(correlation_id) => Ok((socket, correlation_id)),
            Err(SendFailure::Refused(error)) => Err(ClientError::Send(error)),
            // The event stays: it tells which earlier requests are lost.
            Err(SendFailure::Closed) => Err(ClientError::Closed {
                address: client.network.address(socket).to_owned(),
                reason: "cannot write".to_owned(),
            }),
        }
    }

    /// Waits for the next outcomes; none at the deadline.
    pub(super) fn wait(&mut self, client: &mut Client, wait: Duration) -> Vec<Outcome<T>> {
        self.close_overdue(client);
        match client.network.next_event(wait) {
            Some(event) => self.on_event(event),
            None => Vec::new(),
        }
    }

    fn on_event(&mut self, event: Event) -> Vec<Outcome<T>> {
        match event {
            Event::Response(socket, response) => {
                let note = self.in_flight.remove(&(socket, response.correlation_id));
                let answered = note.map(|(note, _)| Outcome::Answered(note, response));
                answered.into_iter().collect()
            }
            Event::Closed { socket, lost, .. } => {
                self.by_node.retain(|_, it| *it != socket);
                let lost = lost.into_iter();
                lost.filter_map(|id| self.in_flight.remove(&(socket, id)))
                    .map(|(note, _)| Outcome::Lost(note))
                    .collect()
            }
        }
    }

    /// Closes a connection whose answer is overdue; the event tells what is lost.
    fn close_overdue(&self, client: &mut Client) {
        let timeout = client.options.request_timeout;
        let late = self
            .in_flight
            .iter()
            .find(|(_, (_, sent))| sent.elapsed() >= timeout);
        if let Some((&(socket, _), _)) = late {
            client.network.close(socket, "no answer in time");
        }
    }
}
