//! What other threads (and the tasks of the same thread) leave for a worker.
//!
//! One lock and one wake-up serve a whole batch: whoever delivers takes the lock once for everything at hand, and the
//! driver takes everything out at once.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use replication::PartitionId;
use replication::consistency::Seen;
use replication::contract::{Input, Reply, Request};
use tokio::sync::Notify;

use crate::peers::Link;
use crate::session::Session;

/// A request from another worker's connection.
#[derive(Debug)]
pub struct RemoteRequest {
    /// The worker that wants the reply.
    pub worker: usize,
    /// The request; its id is the asking worker's.
    pub request: Request,
}

/// A reply, by the id of its request, and what its session has seen of which group by it.
pub type Answered = (u64, Reply, Option<(PartitionId, Seen)>);

/// A question about this node's own replica.
#[derive(Clone, Copy, Debug)]
pub struct KeysInSlot {
    /// The slot.
    pub slot: u16,
    /// The most keys to give; `None` asks for their number.
    pub limit: Option<usize>,
}

/// Something for a worker.
#[derive(Debug)]
pub enum Delivery {
    /// For the shard.
    Input(Input),
    /// All batches up to this number are durable.
    Persisted(u64),
    /// All batches up to this number are written.
    Written(u64),
    /// Requests of other workers' connections.
    Requests(Vec<RemoteRequest>),
    /// Replies to requests of this worker's connections, by the ids that it gave.
    Replies(Vec<Answered>),
    /// A question of another worker's connection, with the id that the other gave.
    KeysInSlot { worker: usize, id: u64, question: KeysInSlot },
    /// A new client.
    Connection { stream: TcpStream, session: Session },
    /// A peer that wants to send (worker 0 has the peers).
    Peer(TcpStream),
    /// A member that was not one before: a connection to it is to be kept (worker 0 has the peers).
    Link(Arc<Link>),
    /// Hand leadership over.
    HandOver,
    /// Close connections once they are answered.
    Drain,
    /// Stop.
    Finish,
}

/// A worker's inbox.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<Vec<Delivery>>,
    notify: Notify,
}

impl Inbox {
    /// Leaves something.
    pub fn push(&self, delivery: Delivery) {
        self.lock().push(delivery);
        self.notify.notify_one();
    }

    /// Leaves everything in `deliveries`.
    pub fn append(&self, deliveries: &mut Vec<Delivery>) {
        if !deliveries.is_empty() {
            self.lock().append(deliveries);
            self.notify.notify_one();
        }
    }

    /// Takes everything out, into an empty `into`.
    pub fn take(&self, into: &mut Vec<Delivery>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// Has the driver look at what is there.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Returns once there may be something.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
