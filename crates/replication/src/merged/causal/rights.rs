//! Rights to take from counters that must not fall below zero ([`data::merged::bounded`]): asked for by who lacks some, handed over by who has
//! them, with a write of its own. So they come as every other write does, in order and once. What is asked may get lost, or come twice.

use bytes::Bytes;
use data::merged::bounded::{ALL, grant, rights};

use super::{Causal, Message};
use crate::NodeId;
use crate::time::{Now, Time};

impl Causal {
    /// The other members that have rights to a counter, as far as is known here, and were heard since then: the one with the most first.
    pub fn holders(&self, key: &[u8], since: Time) -> Vec<(NodeId, i128)> {
        let rights = rights(key, &self.table);
        let of = |origin: u64| rights.iter().find(|(of, rights)| *of == origin && *rights > 0);
        let heard = self.peers.iter().filter(|(_, peer)| peer.heard && peer.heard_at >= since);
        let mut holders: Vec<(NodeId, i128)> =
            heard.filter_map(|(&node, peer)| Some((node, of(peer.origin)?.1))).collect();
        holders.sort_by_key(|(_, rights)| std::cmp::Reverse(*rights));
        holders
    }

    /// Asks another replica for so many rights.
    pub fn ask_for_rights(&mut self, from: NodeId, key: Bytes, amount: i128) {
        self.effects.send.push((from, Message::Rights { key, amount }));
    }

    /// Another replica asks for rights.
    pub(super) fn on_rights(&mut self, from: NodeId, key: &Bytes, amount: i128, now: Now) {
        let Some(peer) = self.peers.get(&from) else { return };
        let Some(change) = grant(key, peer.origin, amount, &self.table, self.next_dot()) else { return };
        // It is small.
        let _ = self.write(vec![change], usize::MAX, now);
    }

    /// Hands the rights to up to `most` counters over to another member. Says to how many: 0, if there are none left.
    pub fn hand_over(&mut self, to: u64, most: usize, now: Now) -> usize {
        let dot = self.next_dot();
        let keys = self.table.keys_from(0).map(|(_, key, _)| Bytes::copy_from_slice(key));
        let changes: Vec<_> =
            keys.filter_map(|key| grant(&key, to, ALL, &self.table, dot)).take(most).collect();
        let count = changes.len();
        if count > 0 {
            let _ = self.write(changes, usize::MAX, now);
        }
        count
    }
}
