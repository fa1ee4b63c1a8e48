//! Messages from any thread to one shard, bounded; wakes the shard. Answers are the sender's
//! business: put a channel of its kind into the message.

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
};

use super::doorbell::Doorbell;

/// Why a message was not taken; gives it back.
#[derive(Debug, PartialEq, Eq)]
pub enum MailError<T> {
    /// The shard has not read the earlier ones yet.
    Full(T),
    /// The shard dropped its mailbox.
    Closed(T),
}

/// The sending end; clone it freely.
pub struct MailSender<T> {
    /// `None` only while it is dropped.
    queue: Option<SyncSender<T>>,
    bell: Arc<Doorbell>,
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T: Send> MailSender<T> {
    /// Queues a message and wakes the shard if its receiving task waits. Never blocks.
    pub fn send(&self, message: T) -> Result<(), MailError<T>> {
        let queue = self.queue.as_ref().expect("present until dropped");
        match queue.try_send(message) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(message)) => Err(MailError::Full(message)),
            Err(TrySendError::Disconnected(message)) => Err(MailError::Closed(message)),
        }
    }
}

impl<T> Drop for MailSender<T> {
    fn drop(&mut self) {
        // First the queue, so that the receiver finds it closed if this was the last sender.
        drop(self.queue.take());
        self.bell.ring();
    }
}

/// The receiving end; travels to its shard, then stays there.
pub struct Mailbox<T> {
    queue: Receiver<T>,
    /// A message that a look for work took out of the queue.
    seen: Mutex<Option<T>>,
    bell: Arc<Doorbell>,
}

/// A mailbox with room for `capacity` messages.
pub fn mailbox<T: Send>(capacity: usize) -> (MailSender<T>, Mailbox<T>) {
    let (sender, receiver) = sync_channel(capacity.max(1));
    let bell = Arc::<Doorbell>::default();
    let sender = MailSender {
        queue: Some(sender),
        bell: bell.clone(),
    };
    (
        sender,
        Mailbox {
            queue: receiver,
            seen: Mutex::new(None),
            bell,
        },
    )
}

impl<T: Send> Mailbox<T> {
    /// The oldest message, if there is one.
    pub fn try_receive(&self) -> Option<T> {
        let seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        seen.or_else(|| self.queue.try_recv().ok())
    }

    /// Waits for a message; `None` when every sender is gone and all messages were read. One task
    /// may wait.
    pub async fn receive(&self) -> Option<T> {
        let mut closed = false;
        self.bell
            .wait(|| {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.is_none() {
                    match self.queue.try_recv() {
                        Ok(message) => *seen = Some(message),
                        Err(TryRecvError::Disconnected) => closed = true,
                        Err(TryRecvError::Empty) => {}
                    }
                }
                seen.is_some() || closed
            })
            .await;
        self.try_receive()
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.bell.silence();
    }
}
