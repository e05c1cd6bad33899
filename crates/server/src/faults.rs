//! Faults on the way to peers, for people who want to see what a cluster does in them, and for tests: what is sent to a peer or comes from it is
//! thrown away or comes late, while the connection stays. A network that is cut looks like that.
//!
//! Nothing of it is possible unless the configuration says `development.faults`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use replication::NodeId;

/// What is wrong between this node and one peer.
#[derive(Debug, Default)]
pub struct Fault {
    /// What is sent to it is thrown away.
    sends_nothing: AtomicBool,
    /// What comes from it is thrown away.
    hears_nothing: AtomicBool,
    /// What comes from it comes so much later, in milliseconds.
    delay_ms: AtomicU32,
}

impl Fault {
    /// Is what is sent thrown away?
    pub fn sends_nothing(&self) -> bool {
        self.sends_nothing.load(Ordering::Relaxed)
    }

    /// Is what comes thrown away?
    pub fn hears_nothing(&self) -> bool {
        self.hears_nothing.load(Ordering::Relaxed)
    }

    /// By how much what comes is late, in milliseconds.
    pub fn delay_ms(&self) -> u32 {
        self.delay_ms.load(Ordering::Relaxed)
    }

    /// Throws away what is sent, or what comes, or both; else leaves each as it is.
    pub fn cut(&self, sends: bool, hears: bool) {
        self.sends_nothing.fetch_or(sends, Ordering::Relaxed);
        self.hears_nothing.fetch_or(hears, Ordering::Relaxed);
    }

    /// What comes is late by so much.
    pub fn delay(&self, milliseconds: u32) {
        self.delay_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// All is well.
    pub fn heal(&self) {
        self.sends_nothing.store(false, Ordering::Relaxed);
        self.hears_nothing.store(false, Ordering::Relaxed);
        self.delay(0);
    }
}

/// The faults of all peers.
#[derive(Debug, Default)]
pub struct Faults {
    all: Mutex<BTreeMap<NodeId, Arc<Fault>>>,
}

impl Faults {
    /// That of a peer, which is shared with the link to it.
    pub fn of(&self, peer: NodeId) -> Arc<Fault> {
        self.lock().entry(peer).or_default().clone()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(NodeId, Arc<Fault>)> {
        self.lock().iter().map(|(peer, fault)| (*peer, fault.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Fault>>> {
        self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
