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
use std::vec::IntoIter;

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

/// What stands behind the fold and is to be folded some time: much of it comes at once when a partition heals, and is mostly forgotten soon.
#[derive(Debug)]
enum Unfolded {
    Mutation(Logged),
    Steps(IntoIter<Step>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whoever has all of this can take what is kept.
    pub base: VersionVector,
    pub fold: Fold,
    /// In order, behind the fold.
    unfolded: VecDeque<Unfolded>,
    unfolded_bytes: usize,
    /// All that is in the fold, behind it to be folded, and in `base`.
    pub folded: VersionVector,
    /// All of that but the mutations behind the fold: those are sent as they are, the rest others have to ask for.
    pub asked_for: VersionVector,
    /// The last entry of those.
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
        kept.asked_for.clone_from(&kept.folded);
        kept.push_unfolded(steps);
        former.iter().for_each(|step| kept.take_former(step, &|_| true));
        kept
    }

    /// All mutations that are kept as they are, in order.
    pub fn mutations(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        let unfolded = self.unfolded.iter().filter_map(|item| match item {
            Unfolded::Mutation(entry) => Some(entry),
            Unfolded::Steps(_) => None,
        });
        unfolded.chain(&self.recent)
    }

    /// The last mutations, in order.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Logged> {
        self.recent.iter()
    }

    /// How many entries and steps there are.
    pub fn len(&self) -> usize {
        let unfolded = |item: &Unfolded| match item {
            Unfolded::Mutation(_) => 1,
            Unfolded::Steps(steps) => steps.len(),
        };
        let unfolded: usize = self.unfolded.iter().map(unfolded).sum();
        self.recent.len() + unfolded + self.fold.len() + self.former.len()
    }

    /// The bytes of what is kept, about.
    pub fn bytes(&self) -> usize {
        self.recent_bytes + self.unfolded_bytes + self.fold.bytes() + self.former.bytes()
    }

    /// What is kept of what is forgotten.
    pub fn for_former(&self, take: impl FnMut(&Step)) {
        self.former.for_each(take);
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
        if !self.fold.is_empty() || !self.unfolded.is_empty() {
            if !stable.includes(&self.folded) {
                return;
            }
            let fold = std::mem::take(&mut self.fold);
            let unfolded = std::mem::take(&mut self.unfolded);
            self.unfolded_bytes = 0;
            if let Some(is_awaited) = awaited {
                fold.for_each(|step| self.take_former(step, is_awaited));
                for item in unfolded {
                    match item {
                        Unfolded::Mutation(entry) => {
                            steps_of(&entry).for_each(|step| self.take_former(&step, is_awaited));
                        }
                        Unfolded::Steps(steps) => {
                            steps.as_slice().iter().for_each(|step| self.take_former(step, is_awaited));
                        }
                    }
                }
            }
            self.base.merge(&self.folded);
            self.asked_for.merge(&self.folded);
        }
        let is_done = |entry: &mut Logged| entry.index <= persisted && stable.covers(entry.dot);
        while let Some(entry) = self.recent.pop_front_if(|entry| is_done(entry)) {
            self.recent_bytes -= entry.bytes.len();
            for all in [&mut self.base, &mut self.folded, &mut self.asked_for] {
                all.raise(entry.dot.origin, entry.dot.counter);
            }
            if let Some(is_awaited) = awaited {
                steps_of(&entry).for_each(|step| self.take_former(&step, is_awaited));
            }
        }
    }

    fn take_former(&mut self, step: &Step, is_awaited: &dyn Fn(u64) -> bool) {
        if let Some(step) = step.seen_alone(is_awaited) {
            self.former.take_step(step);
        }
    }

    /// Folds the oldest of the last mutations. Nothing may be unfolded before them.
    pub fn fold_oldest(&mut self) {
        let Some(entry) = self.recent.pop_front() else { return };
        self.recent_bytes -= entry.bytes.len();
        self.fold.take(decode(&entry));
        self.folded.raise(entry.dot.origin, entry.dot.counter);
        self.asked_for.raise(entry.dot.origin, entry.dot.counter);
        self.fold_index = entry.index;
    }

    /// Is something to be folded before the last mutations?
    pub fn has_unfolded(&self) -> bool {
        !self.unfolded.is_empty()
    }

    /// Folds some of what is behind the fold.
    pub fn fold_some(&mut self, mut most: usize) {
        while let Some(item) = self.unfolded.front_mut().filter(|_| most > 0) {
            most -= 1;
            let done = match item {
                Unfolded::Mutation(entry) => {
                    self.unfolded_bytes -= entry.bytes.len();
                    self.asked_for.raise(entry.dot.origin, entry.dot.counter);
                    self.fold.take(decode(entry));
                    true
                }
                Unfolded::Steps(steps) => match steps.next() {
                    Some(step) => {
                        self.unfolded_bytes -= step.weight();
                        self.fold.take_step(step);
                        steps.as_slice().is_empty()
                    }
                    None => true,
                },
            };
            if done {
                self.unfolded.pop_front();
            }
        }
    }

    fn push_unfolded(&mut self, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.unfolded_bytes += steps.iter().map(Step::weight).sum::<usize>();
            self.unfolded.push_back(Unfolded::Steps(steps.into_iter()));
        }
    }

    /// The oldest of the last mutations.
    pub fn oldest(&self) -> Option<&Logged> {
        self.recent.front()
    }

    /// Everything is to be folded, and then these steps, which came as one entry.
    pub fn take_steps(&mut self, steps: Vec<Step>, vector: &VersionVector, index: u64) {
        for entry in self.recent.drain(..) {
            self.folded.raise(entry.dot.origin, entry.dot.counter);
            self.unfolded_bytes += entry.bytes.len();
            self.unfolded.push_back(Unfolded::Mutation(entry));
        }
        self.recent_bytes = 0;
        self.push_unfolded(steps);
        self.folded.merge(vector);
        self.asked_for.merge(vector);
        self.fold_index = index;
    }

    /// All that is kept for others, and what tells more about what they have already, as steps, in order.
    pub fn all_steps(&self, up_to: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        self.for_all(up_to, &mut |step| steps.push(step.clone()));
        steps
    }

    /// The same, one after the other.
    pub fn for_all(&self, up_to: u64, take: &mut dyn FnMut(&Step)) {
        self.former.for_each(&mut *take);
        self.for_each(up_to, take);
    }

    /// All that is kept for others, as steps, in order.
    pub fn for_each(&self, up_to: u64, take: &mut dyn FnMut(&Step)) {
        self.fold.for_each(&mut *take);
        for item in &self.unfolded {
            match item {
                Unfolded::Mutation(entry) => steps_of(entry).for_each(|step| take(&step)),
                Unfolded::Steps(steps) => steps.as_slice().iter().for_each(&mut *take),
            }
        }
        self.for_recent(0, up_to, take);
    }

    /// Those of the last mutations from behind an entry up to another one, as steps, in order.
    pub fn for_recent(&self, after: u64, up_to: u64, take: &mut dyn FnMut(&Step)) {
        let entries = self.recent.iter().skip_while(|entry| entry.index <= after);
        for entry in entries.take_while(|entry| entry.index <= up_to) {
            steps_of(entry).for_each(|step| take(&step));
        }
    }
}

/// The steps of a mutation.
fn steps_of(entry: &Logged) -> impl Iterator<Item = Step> {
    Step::all_of(decode(entry))
}

fn decode(entry: &Logged) -> Merge {
    Merge::decode(&entry.bytes).expect("it was encoded or decoded here")
}
