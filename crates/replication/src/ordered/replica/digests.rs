//! Do the replicas hold the same state? Each keeps the digests of its state at some recent indexes; the leader tells
//! its own, and who finds another one at the same index raises the alarm.

use std::collections::VecDeque;

use crate::NodeId;

/// A digest is kept at every index that is a multiple of this.
pub(crate) const DIGEST_EVERY: u64 = 256;
const KEPT: usize = 16;

/// A difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub index: u64,
    pub ours: u128,
    pub theirs: u128,
    pub peer: NodeId,
}

/// Recent digests of one replica.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    own: VecDeque<(u64, u128)>,
    /// What the leader told for an index that is not applied here yet.
    expected: Option<(u64, u128, NodeId)>,
    /// What the leader told for an index up to which it is not settled yet that what is here stays.
    told: Option<(u64, u128, NodeId)>,
    /// Differences found.
    pub mismatches: u64,
}

impl Digests {
    /// Should the state's digest be kept at `index`?
    pub fn wants(&self, index: u64) -> bool {
        index.is_multiple_of(DIGEST_EVERY) || self.expected.is_some_and(|(expected, _, _)| expected == index)
    }

    /// The state at `index` has this digest.
    pub fn record(&mut self, index: u64, digest: u128) -> Option<Mismatch> {
        if self.own.back().is_none_or(|&(last, _)| last < index) {
            self.own.push_back((index, digest));
        }
        if self.own.len() > KEPT {
            self.own.pop_front();
        }
        match self.expected {
            Some((expected, theirs, peer)) if expected <= index => {
                self.expected = None;
                (expected == index).then(|| self.compare(index, digest, theirs, peer)).flatten()
            }
            _ => None,
        }
    }

    /// A peer says that its state at `index` has this digest; `present` is our state: how far it is, and its digest. What is here behind
    /// `stable` may be of a primary that has been deposed, and be taken back: with that nobody's state is compared.
    pub fn hear(
        &mut self,
        index: u64,
        theirs: u128,
        peer: NodeId,
        present: (u64, u128),
        stable: u64,
    ) -> Option<Mismatch> {
        if index > stable {
            // The first one, or each would take the place of the one before when there are many writes.
            self.told.get_or_insert((index, theirs, peer));
            return None;
        }
        let (applied, digest) = present;
        if index > applied {
            self.expected = Some((index, theirs, peer));
            return None;
        }
        let known = self.own.iter().find(|(known, _)| *known == index).map(|(_, digest)| *digest);
        let ours = known.or((index == applied).then_some(digest))?;
        self.compare(index, ours, theirs, peer)
    }

    /// What was told of an index that is stable by now.
    pub fn take_told(&mut self, stable: u64) -> Option<(u64, u128, NodeId)> {
        self.told.take_if(|(index, ..)| *index <= stable)
    }

    /// The state came from elsewhere: what was known of it says nothing any more.
    pub fn reset(&mut self) {
        self.own.clear();
        self.expected = None;
    }

    fn compare(&mut self, index: u64, ours: u128, theirs: u128, peer: NodeId) -> Option<Mismatch> {
        if ours == theirs {
            return None;
        }
        self.mismatches += 1;
        Some(Mismatch { index, ours, theirs, peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_before_and_after_the_index_is_applied() {
        let peer = NodeId(2);
        let mut digests = Digests::default();
        assert_eq!(digests.record(256, 7), None);
        assert_eq!(digests.hear(256, 7, peer, (300, 1), u64::MAX), None);
        let mismatch = Mismatch { index: 256, ours: 7, theirs: 8, peer };
        assert_eq!(digests.hear(256, 8, peer, (300, 1), u64::MAX), Some(mismatch));
        assert_eq!(digests.hear(290, 5, peer, (300, 1), u64::MAX), None, "not known any more");
        assert_eq!(digests.hear(300, 1, peer, (300, 1), u64::MAX), None);
        assert_eq!(digests.hear(300, 2, peer, (300, 1), u64::MAX).map(|mismatch| mismatch.ours), Some(1));
        assert_eq!(digests.hear(301, 9, peer, (300, 1), u64::MAX), None);
        assert!(digests.wants(301));
        assert_eq!(digests.record(301, 10), Some(Mismatch { index: 301, ours: 10, theirs: 9, peer }));
        assert_eq!(digests.mismatches, 3);
    }

    /// It hears of the writes of its successor before it knows that there is one.
    #[test]
    fn what_a_deposed_primary_has_too_much_is_no_difference() {
        let (peer, own, successors) = (NodeId(2), 7, 8);
        let mut digests = Digests::default();
        assert_eq!(digests.record(256, own), None);
        assert_eq!(digests.hear(256, successors, peer, (300, 1), 200), None);
        assert_eq!(digests.take_told(255), None);
        // It takes its own back, and has what the successor has.
        digests.reset();
        assert_eq!(digests.record(256, successors), None);
        let told = digests.take_told(256);
        assert_eq!(told, Some((256, successors, peer)));
        assert_eq!(digests.hear(256, successors, peer, (280, 3), 256), None);
        // Or it is another one still.
        assert!(digests.hear(256, own, peer, (280, 3), 256).is_some());
        assert_eq!(digests.take_told(u64::MAX), None, "once");
    }
}
