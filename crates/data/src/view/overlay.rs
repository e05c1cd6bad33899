//! What one layer of pending writes knows about one key.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::view::Found;

/// What the writes to a key come to, without looking at the state below them: what they start from, the ranges that
/// were written over it, and the expiry if they set it.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Base,
    patches: VecDeque<Patch>,
    /// The greatest end of any patch since the base was set.
    end: u64,
    /// The expiry that was set last, if it was set after the base, and where.
    expiry: Option<(u64, Option<u64>)>,
    /// The position of the last write.
    pub last: u64,
}

/// What the patches are written over.
#[derive(Debug)]
enum Base {
    /// Whatever the layers below hold.
    Below,
    /// Nothing: the key was deleted at this position.
    Absent(u64),
    /// A string set at this position, with its expiry.
    Value(u64, Bytes, Option<u64>),
}

/// Bytes written over a string.
#[derive(Debug)]
pub(super) struct Patch {
    position: u64,
    pub offset: u64,
    pub bytes: Bytes,
}

impl Patch {
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Overlay {
    /// Over whatever lies below.
    pub fn over_below() -> Self {
        Overlay { base: Base::Below, patches: VecDeque::new(), end: 0, expiry: None, last: 0 }
    }

    /// Over nothing, since `position`.
    pub fn over_nothing(position: u64) -> Self {
        Overlay { base: Base::Absent(position), ..Overlay::over_below() }
    }

    pub fn set(&mut self, position: u64, value: Bytes, expire_at_ms: Option<u64>) {
        *self = Overlay { base: Base::Value(position, value, expire_at_ms), ..Overlay::over_below() };
        self.last = position;
    }

    pub fn set_range(&mut self, position: u64, offset: u64, bytes: Bytes) {
        let patch = Patch { position, offset, bytes };
        self.end = self.end.max(patch.end());
        self.patches.push_back(patch);
        self.last = position;
    }

    pub fn delete(&mut self, position: u64) {
        *self = Overlay::over_nothing(position);
        self.last = position;
    }

    pub fn expire(&mut self, position: u64, expire_at_ms: Option<u64>) {
        // An absent key stays absent.
        if !matches!(self.base, Base::Absent(_)) || !self.patches.is_empty() {
            self.expiry = Some((position, expire_at_ms));
        }
        self.last = position;
    }

    /// The layers below hold everything up to `position`: lets go of what they know.
    pub fn forget(&mut self, position: u64) {
        if let Base::Absent(at) | Base::Value(at, ..) = self.base
            && at <= position
        {
            self.base = Base::Below;
        }
        while self.patches.front().is_some_and(|patch| patch.position <= position) {
            self.patches.pop_front();
        }
        if self.expiry.is_some_and(|(at, _)| at <= position) {
            self.expiry = None;
        }
    }

    /// The number of patches held.
    #[cfg(test)]
    pub fn patch_count(&self) -> usize {
        self.patches.len()
    }

    /// The key with these writes over what `below` finds.
    pub fn over<'a>(&'a self, below: impl FnOnce() -> Option<Found<'a>>) -> Option<Found<'a>> {
        let base = match &self.base {
            Base::Below => below(),
            Base::Absent(_) => None,
            Base::Value(_, bytes, expire_at_ms) => Some(Found::new(bytes, *expire_at_ms)),
        };
        let mut found = match base {
            Some(found) => found,
            None if self.patches.is_empty() => return None,
            None => Found::new(&[], None),
        };
        found.write_over(&self.patches, self.end);
        if let Some((_, expire_at_ms)) = self.expiry {
            found.expire_at_ms = expire_at_ms;
        }
        Some(found)
    }
}
