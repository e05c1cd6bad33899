//! What is kept for members that have not got it: the last mutations one by one, those before as a fold, and nothing from before `base`.
//!
//! So what is kept for a member that is away grows with what was changed and not with how often, and no removed element costs anything once
//! all have seen the removal. `base` is what all members hold, never more: else some of them could each lack what another one
//! does not keep, and none could be brought up. (With it, of all that a member lacks take what depends on nothing else that it lacks. Its origin
//! keeps that and all from after it, so what it does not keep is a cause of that, which the member has.)
//!
//! A member that is *away*, as the catalogue says, does not count there. When it comes back it takes a state, and the others take what it has as
//! steps. Among these may be additions to parts of which the others know the first, and which they have taken away since: what was seen
//! then is what tells how much of them is new ([`data::merged::resolve`]). So that much of what is forgotten is kept on (`former`), of the
//! parts of origins that do not count alone: no more than there were of those when it went away.

use std::collections::VecDeque;

use bytes::Bytes;
use data::merged::{Dot, Fold, Merge, Step, VersionVector};

use crate::time::Time;

/// A mutation in the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub index: u64,
    pub dot: Dot,
    pub bytes: Bytes,
    /// When it was applied here.
    pub at: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whoever has all of this can take what is kept.
    pub base: VersionVector,
    pub fold: Fold,
    /// All that is in the fold, and in `base`.
    pub folded: VersionVector,
    /// The last entry that is in the fold.
    pub fold_index: u64,
    recent: VecDeque<Logged>,
    recent_bytes: usize,
    /// What was seen of parts by steps that are forgotten.
    former: Fold,
}

impl Kept {
    /// What is kept as steps, from `base` on; all of it is in `folded`.
    pub fn of(
        base: VersionVector,
        steps: Vec<Step>,
        folded: VersionVector,
        index: u64,
        former: Vec<Step>,
    ) -> Kept {
        let mut kept = Kept { base, folded, fold_index: index, ..Kept::default() };
        kept.folded.merge(&kept.base);
        steps.into_iter().for_each(|step| kept.fold.take_step(step));
        kept.take_former(former.iter(), &|_| true);
        kept
    }

    /// The last mutations, in order.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.recent.iter()
    }

    /// How many entries and steps there are.
    pub fn len(&self) -> usize {
        self.recent.len() + self.fold.len() + self.former.len()
    }

    /// The bytes of what is kept, about.
    pub fn bytes(&self) -> usize {
        self.recent_bytes + self.fold.bytes() + self.former.bytes()
    }

    /// What is kept of what is forgotten.
    pub fn former(&self) -> impl Iterator<Item = &Step> {
        self.former.steps()
    }

    /// Is something kept of what is forgotten?
    pub fn has_former(&self) -> bool {
        !self.former.is_empty()
    }

    /// Nobody will bring additions to what was taken away.
    pub fn drop_former(&mut self) {
        self.former = Fold::new();
    }

    /// The bytes of the last mutations.
    pub fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    pub fn push(&mut self, logged: Logged) {
        self.recent_bytes += logged.bytes.len();
        self.recent.push_back(logged);
    }

    /// What everybody holds need not be kept. The fold goes as a whole and before what came after it: `base` is all up to an entry of the log, so
    /// that who took something away is not forgotten before what was added to it. `awaited`: the origins of which more may come from who is away.
    pub fn forget(&mut self, stable: &VersionVector, persisted: u64, awaited: Option<&dyn Fn(u64) -> bool>) {
        if !self.fold.is_empty() {
            if !stable.includes(&self.folded) {
                return;
            }
            let fold = std::mem::take(&mut self.fold);
            if let Some(is_awaited) = awaited {
                self.take_former(fold.steps(), is_awaited);
            }
            self.base.merge(&self.folded);
        }
        let is_done = |entry: &mut Logged| entry.index <= persisted && stable.covers(entry.dot);
        while let Some(entry) = self.recent.pop_front_if(|entry| is_done(entry)) {
            self.recent_bytes -= entry.bytes.len();
            self.base.raise(entry.dot.origin, entry.dot.counter);
            self.folded.raise(entry.dot.origin, entry.dot.counter);
            if let Some(is_awaited) = awaited {
                self.take_former(alone(&entry).steps(), is_awaited);
            }
        }
    }

    fn take_former<'a>(&mut self, steps: impl Iterator<Item = &'a Step>, is_awaited: &dyn Fn(u64) -> bool) {
        for step in steps.filter_map(|step| step.seen_alone(is_awaited)) {
            self.former.take_step(step);
        }
    }

    /// Folds the oldest of the last mutations.
    pub fn fold_oldest(&mut self) {
        let Some(entry) = self.recent.pop_front() else { return };
        self.recent_bytes -= entry.bytes.len();
        let merge = Merge::decode(&entry.bytes).expect("it was encoded or decoded here");
        self.fold.take(&merge);
        self.folded.raise(merge.dot.origin, merge.dot.counter);
        self.fold_index = entry.index;
    }

    /// The oldest of the last mutations.
    pub fn oldest(&self) -> Option<&Logged> {
        self.recent.front()
    }

    /// Folds everything, and then these steps, which came as one entry.
    pub fn take_steps(&mut self, steps: Vec<Step>, vector: &VersionVector, index: u64) {
        while !self.recent.is_empty() {
            self.fold_oldest();
        }
        steps.into_iter().for_each(|step| self.fold.take_step(step));
        self.folded.merge(vector);
        self.fold_index = index;
    }

    /// All that is kept for others, and what tells more about what they have already, as steps, in order.
    pub fn all_steps(&self, up_to: u64) -> Vec<Step> {
        self.former.steps().cloned().chain(self.steps(up_to)).collect()
    }

    /// All that is kept for others, as steps, in order.
    pub fn steps(&self, up_to: u64) -> Vec<Step> {
        let mut steps: Vec<Step> = self.fold.steps().cloned().collect();
        for entry in self.recent.iter().take_while(|entry| entry.index <= up_to) {
            steps.extend(alone(entry).steps().cloned());
        }
        steps
    }
}

/// The steps of a mutation.
fn alone(entry: &Logged) -> Fold {
    let mut alone = Fold::new();
    alone.take(&Merge::decode(&entry.bytes).expect("it was encoded or decoded here"));
    alone
}
