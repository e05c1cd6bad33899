//! The log of one replica: its latest entries in memory, over the log on disk.
//!
//! ```text
//!  index   start          memory_first        applied   durable   written   last
//!            |                 |                 |         |         |        |
//!  on disk   .=================.=================.=========.         |        |
//!  in memory                   [=================.=========.=========.========]
//! ```
//!
//! - `start`: the log on disk begins after it. `written`: handed out to be made durable; `durable`: is. `held`, in between: would
//!   survive the death of the process.
//! - `released`: what may be sent and written; a leader gathers what comes after it ([`super::Raft::gather`]).
//! - In memory are at least all entries that are not applied or not durable, and before them an applied tail of bounded
//!   size for followers a little behind. It may reach back before `start`.
//! - The terms of all entries on disk or in memory (and of the one before the first) are known, as a list of runs.
//!
//! Invariant: `durable <= held <= written <= released <= last`; an entry counts as durable only if it is the one now in the log, never one
//! that was there before a truncation.

use std::collections::VecDeque;

use super::Entry;

/// Entries from `first` on, until the next run begins, are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    term: u64,
}

/// So many terms are remembered at the most.
const MOST_TERMS: usize = 1024;

/// Where entries can be had.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Here they are (none if the asker has everything).
    Here(Vec<Entry>),
    /// On disk.
    OnDisk,
    /// Nowhere any more.
    Gone,
}

#[derive(Debug)]
pub(super) struct Log {
    start: u64,
    /// Never empty; the first is the entry before the first one that could be read.
    runs: VecDeque<Run>,
    memory: VecDeque<Entry>,
    memory_first: u64,
    applied: u64,
    applied_bytes: usize,
    tail_limit: usize,
    last: u64,
    released: u64,
    written: u64,
    durable: u64,
    held: u64,
    /// Entries read back from disk for followers, consecutive.
    read_back: Vec<Entry>,
    /// Terms of entries that can be read nowhere any more are remembered, too.
    keeps_terms: bool,
}

impl Log {
    /// A log that goes on, durable, after `index` of `term`; `entries` are in it already, durable as well.
    pub fn new(index: u64, term: u64, entries: Vec<Entry>, tail_limit: usize) -> Log {
        let mut runs = VecDeque::from([Run { first: index, term }]);
        let mut last = index;
        for entry in &entries {
            extend(&mut runs, last, entry);
            last = entry.index;
        }
        Log {
            start: index,
            runs,
            memory: entries.into(),
            memory_first: index + 1,
            applied: index,
            applied_bytes: 0,
            tail_limit,
            last,
            released: last,
            written: last,
            durable: last,
            held: last,
            read_back: Vec::new(),
            keeps_terms: false,
        }
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn last_index(&self) -> u64 {
        self.last
    }

    pub fn last_term(&self) -> u64 {
        self.runs.back().map_or(0, |run| run.term)
    }

    /// What may be sent to followers goes up to here.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Everything may be sent and written.
    pub fn release(&mut self) {
        self.released = self.last;
    }

    /// Handed out to be made durable up to here.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Up to here it survives the death of the process, though maybe not that of the machine.
    pub fn held(&self) -> u64 {
        self.held
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// From now on terms are remembered for good (the last [`MOST_TERMS`] of them).
    pub fn keep_terms(&mut self) {
        self.keeps_terms = true;
    }

    /// Terms of entries before the first one, from a snapshot.
    pub fn know_terms(&mut self, terms: &[(u64, u64)]) {
        let Some(first) = self.runs.front().copied() else { return };
        for &(index, term) in terms.iter().rev() {
            if index < first.first {
                self.runs.push_front(Run { first: index, term });
            }
        }
    }

    /// Where terms began, up to the entry at `index`.
    pub fn terms_up_to(&self, index: u64) -> Vec<(u64, u64)> {
        let runs = self.runs.iter().take_while(|run| run.first <= index);
        runs.map(|run| (run.first, run.term)).collect()
    }

    /// The term of the entry at `index`, if it is known.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        after.checked_sub(1).map(|position| self.runs[position].term)
    }

    /// The largest index up to `index` whose term is at most `term`: where two logs may agree. If none is known, `None`.
    pub fn last_with_term_up_to(&self, index: u64, term: u64) -> Option<u64> {
        let mut end = index.min(self.last);
        for run in self.runs.iter().rev() {
            if run.first > end {
                continue;
            }
            if run.term <= term {
                return Some(end);
            }
            end = run.first.checked_sub(1)?;
        }
        None
    }

    /// Is a log that ends so at least as good as this one? (Raft thesis 3.6.1)
    pub fn is_up_to_date(&self, last_index: u64, last_term: u64) -> bool {
        (last_term, last_index) >= (self.last_term(), self.last)
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Entry) {
        extend(&mut self.runs, self.last, &entry);
        self.last = entry.index;
        self.memory.push_back(entry);
    }

    /// Drops the entries from `from` on, which must not be applied.
    pub fn truncate(&mut self, from: u64) {
        assert!(from > self.applied, "an applied entry is never dropped");
        while self.memory.back().is_some_and(|entry| entry.index >= from) {
            self.memory.pop_back();
        }
        while self.runs.len() > 1 && self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        self.last = from - 1;
        self.released = self.released.min(self.last);
        self.written = self.written.min(self.last);
        self.durable = self.durable.min(self.last);
        self.held = self.held.min(self.last);
        self.read_back.clear();
    }

    /// Starts over after `index` of `term`: a durable snapshot holds everything up to there.
    pub fn reset(&mut self, index: u64, term: u64, terms: &[(u64, u64)]) {
        let keeps_terms = self.keeps_terms;
        *self = Log::new(index, term, Vec::new(), self.tail_limit);
        self.keeps_terms = keeps_terms;
        self.know_terms(terms);
    }

    /// The entry at `index`, if it is in memory.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.memory.get(usize::try_from(index.checked_sub(self.memory_first)?).ok()?)
    }

    /// Is there anything for [`Log::take_unwritten`]?
    pub fn has_unwritten(&self) -> bool {
        self.written < self.released
    }

    /// Released entries that have not been handed out to be made durable; from now on they have.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = &Entry> {
        let from = self.written + 1 - self.memory_first;
        let end = self.released + 1 - self.memory_first;
        self.written = self.released;
        self.memory.range(from as usize..end as usize)
    }

    /// Entries up to `index` are durable, as they are now in the log.
    pub fn set_durable(&mut self, index: u64) {
        self.durable = self.durable.max(index.min(self.written));
        self.held = self.held.max(self.durable);
        self.evict();
    }

    /// Entries up to `index` are written, as they are now in the log.
    pub fn set_held(&mut self, index: u64) {
        self.held = self.held.max(index.min(self.written));
    }

    /// Entries up to `index` are applied.
    pub fn set_applied(&mut self, index: u64) {
        while self.applied < index {
            self.applied += 1;
            self.applied_bytes += self.get(self.applied).map_or(0, Entry::size);
        }
        self.evict();
    }

    /// A durable snapshot of our own holds everything up to `index`: the log on disk is trimmed.
    pub fn trim(&mut self, index: u64) {
        self.start = self.start.max(index);
        self.forget_terms();
    }

    /// Lets go of applied entries beyond the tail that is kept.
    fn evict(&mut self) {
        let mut evicted = false;
        while self.applied_bytes > self.tail_limit && self.memory_first <= self.applied.min(self.durable) {
            let Some(entry) = self.memory.pop_front() else { break };
            self.applied_bytes -= entry.size();
            self.memory_first = entry.index + 1;
            evicted = true;
        }
        if evicted {
            self.forget_terms();
            self.give_room_back();
        }
    }

    /// After a restart the whole log was here.
    fn give_room_back(&mut self) {
        let held = self.memory.len();
        if self.memory.capacity() > 8 * (held + 64) {
            self.memory.shrink_to(2 * held);
        }
    }

    /// Drops terms of entries that can be read nowhere any more.
    fn forget_terms(&mut self) {
        if self.keeps_terms {
            while self.runs.len() > MOST_TERMS {
                self.runs.pop_front();
            }
            return;
        }
        let keep_from = self.start.min(self.memory_first - 1);
        while self.runs.get(1).is_some_and(|run| run.first <= keep_from) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(keep_from);
        }
    }

    /// Released entries from `from` on, at least one if there is any, else as many as fit into `max_bytes`.
    pub fn read(&self, from: u64, max_bytes: usize) -> Found {
        if from > self.released {
            return Found::Here(Vec::new());
        }
        if from >= self.memory_first {
            let skip = (from - self.memory_first) as usize;
            let end = (self.released + 1 - self.memory_first) as usize;
            return Found::Here(take_bytes(self.memory.range(skip..end), max_bytes));
        }
        if let Some(first) = self.read_back.first()
            && from >= first.index
            && ((from - first.index) as usize) < self.read_back.len()
        {
            let skip = (from - first.index) as usize;
            return Found::Here(take_bytes(self.read_back[skip..].iter(), max_bytes));
        }
        if from > self.start { Found::OnDisk } else { Found::Gone }
    }

    /// The last entry that has to be read from disk.
    pub fn last_on_disk_only(&self) -> u64 {
        self.memory_first - 1
    }

    /// Keeps entries that were read back from disk until [`Log::drop_read_back`]. Those that are not (any more) in this
    /// log are left out.
    pub fn keep_read_back(&mut self, mut entries: Vec<Entry>) {
        let first = entries.first().map_or(0, |entry| entry.index);
        let fits = entries
            .iter()
            .zip(first..)
            .take_while(|(entry, index)| entry.index == *index && self.term_at(*index) == Some(entry.term))
            .count();
        entries.truncate(fits);
        self.read_back = entries;
    }

    pub fn drop_read_back(&mut self) {
        self.read_back = Vec::new();
    }
}

/// An entry follows the `last` one.
fn extend(runs: &mut VecDeque<Run>, last: u64, entry: &Entry) {
    assert_eq!(entry.index, last + 1, "a log has no gaps");
    let term = runs.back().map_or(0, |run| run.term);
    assert!(entry.term >= term, "terms in a log never fall");
    if entry.term > term {
        runs.push_back(Run { first: entry.index, term: entry.term });
    }
}

fn take_bytes<'a>(entries: impl ExactSizeIterator<Item = &'a Entry>, max_bytes: usize) -> Vec<Entry> {
    /// More come seldom at once.
    const MOSTLY: usize = 256;
    let mut bytes = 0;
    let mut taken = Vec::with_capacity(entries.len().min(MOSTLY));
    for entry in entries {
        bytes += entry.size();
        if bytes > max_bytes && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}
