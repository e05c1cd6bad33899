//! Values that were written at the same time as others and are not shown: kept for a while, so that somebody can look at them and take one
//! back.
//!
//! A replica notes a conflict when the second of two versions comes to it, so each replica notes it once, and in its own order. What is
//! noted is no part of the state: it is bounded in number, bytes and age, and gone when the replica starts anew (but for what it reads
//! from its log then).

use std::collections::VecDeque;

use bytes::Bytes;

use super::element::Version;
use super::{Dot, Facet, HybridTime};

/// The most that are kept.
const MOST: usize = 10_000;
/// The most bytes that they take, about.
const MOST_BYTES: usize = 16 << 20;
/// Those that are older than the latest by more than this go.
const RETENTION_MS: u64 = 7 * 24 * 3600 * 1000;
/// What each takes beside its strings.
const OVERHEAD: usize = 200;

/// A value that is not shown since another was written at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub key: Bytes,
    /// What it is of.
    pub facet: Facet,
    /// The field or member; empty: the string in the key.
    pub name: Bytes,
    /// The value that is not shown.
    pub lost: Version,
    /// The write whose value was shown instead when both were here, and when it was made.
    pub by: (Dot, HybridTime),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Conflicts {
    kept: VecDeque<Conflict>,
    bytes: usize,
    /// So many were noted.
    pub noted: u64,
}

impl Conflict {
    /// Its name: key, write and element, so that a command that names it goes where the key is.
    pub fn id(&self) -> Bytes {
        let mut id = self.key.to_vec();
        id.extend_from_slice(format!("@{}-{}", self.lost.dot.origin, self.lost.dot.counter).as_bytes());
        if !self.name.is_empty() {
            id.push(b'#');
            id.extend_from_slice(&self.name);
        }
        id.into()
    }

    fn size(&self) -> usize {
        self.key.len() + self.name.len() + self.lost.value.len() + OVERHEAD
    }
}

impl Conflicts {
    /// Those that are kept, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Conflict> {
        self.kept.iter()
    }

    /// Looks at an element that was put anew by this write.
    pub(super) fn look(&mut self, key: &Bytes, facet: Facet, name: &Bytes, versions: &[Version], dot: Dot) {
        if versions.len() < 2 || !matches!(facet, Facet::String | Facet::Hash | Facet::SortedSet) {
            return;
        }
        let shown = |version: &&Version| (version.time, version.dot);
        let Some(winner) = versions.iter().max_by_key(shown) else { return };
        // Of those that were here the one that was shown has lost now; the others were noted.
        let lost = match winner.dot == dot {
            true => versions.iter().filter(|version| version.dot != dot).max_by_key(shown),
            false => versions.iter().find(|version| version.dot == dot),
        };
        let Some(lost) = lost.filter(|lost| lost.value != winner.value) else { return };
        let (key, name, lost) = (key.clone(), name.clone(), lost.clone());
        let conflict = Conflict { key, facet, name, lost, by: (winner.dot, winner.time) };
        let latest_ms = winner.time.ms;
        self.bytes += conflict.size();
        self.noted += 1;
        self.kept.push_back(conflict);
        let is_old = |conflict: &Conflict| conflict.by.1.ms + RETENTION_MS < latest_ms;
        while self.kept.len() > MOST || self.bytes > MOST_BYTES || self.kept.front().is_some_and(is_old) {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes -= gone.size();
        }
    }
}
