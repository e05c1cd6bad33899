//! What a leader knows about one other member: how far its log is known to equal ours, what is on its way to it, and
//! when it was last heard of.
//!
//! | mode | meaning | leaves when |
//! |---|---|---|
//! | `Probe` | where the logs meet is not known: one append at a time | an append is accepted -> `Replicate` |
//! | `Replicate` | appends are sent ahead of their acknowledgement, within the window | one is refused -> `Probe` |
//! | `Snapshot` | the log does not reach back far enough | the snapshot is delivered or has failed -> `Probe` |
//!
//! Invariant: `match_index < next_index`; `match_index` only rises while the term lasts, but for a learner that began anew.

use std::collections::VecDeque;

use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Probe,
    Replicate,
    Snapshot,
}

#[derive(Debug)]
pub(super) struct Progress {
    pub mode: Mode,
    /// Durable there and equal to our log up to here.
    pub match_index: u64,
    /// The same, but it may be lost with the machine there: at least `match_index`.
    pub held: u64,
    /// A version of the configuration that it knows and will not forget, and what it has acknowledged since it said so.
    vouched: (u64, u64),
    /// What to send next.
    pub next_index: u64,
    /// Last index and bytes of appends under way.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    /// `Probe`: an append is under way. Any mode: an append without entries is due, to learn where the follower is.
    pub waiting: bool,
    pub ping: bool,
    /// The round of the last append sent.
    pub append_round: u64,
    /// The latest round that it has answered.
    pub acked_round: u64,
    /// When an answer of this term came last (when it became a member or we the leader, at first).
    pub heard_at: Time,
    /// The commit index it was told last, and that it has reported.
    pub commit_sent: u64,
    pub commit_known: u64,
    /// The connection to it broke, and nothing was heard of it since.
    pub lost: bool,
    /// It cannot take entries now.
    pub disk_full: bool,
    /// No member any more: it is told so much as to learn that, until then.
    pub departs_at: Option<Time>,
    /// It has been a member since an entry up to this one; 0 once it has acknowledged that one.
    pub admitted: u64,
    /// The entry that made it a member, or a later one.
    pub settles_at: u64,
    /// A snapshot for it has to hold this entry.
    pub snapshot_after: u64,
    /// Answers to this round and earlier ones are none of this membership's.
    pub since_round: u64,
}

impl Progress {
    /// A member of whom nothing is known; the log ends before `next_index`. It has been a member since an entry up to
    /// `admitted`, and was sent nothing as such up to `since_round`.
    pub fn new(next_index: u64, admitted: u64, since_round: u64, now: Time) -> Progress {
        Progress {
            mode: Mode::Probe,
            match_index: 0,
            held: 0,
            vouched: (0, 0),
            next_index,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            waiting: false,
            ping: false,
            append_round: 0,
            acked_round: 0,
            heard_at: now,
            commit_sent: 0,
            commit_known: 0,
            lost: false,
            disk_full: false,
            departs_at: None,
            admitted,
            settles_at: admitted,
            snapshot_after: 0,
            since_round,
        }
    }

    /// Goes (back) to asking where the logs meet; `next_index` is the guess.
    pub fn probe(&mut self, next_index: u64) {
        self.mode = Mode::Probe;
        self.next_index = next_index.max(self.match_index + 1);
        self.waiting = false;
        self.ping = false;
        self.clear_in_flight();
    }

    /// A newcomer that has no vote yet may give up what it has acknowledged, if it knows only a catalogue from before it was
    /// wanted: it is sent everything again.
    pub fn begin_anew(&mut self) {
        self.match_index = 0;
        self.held = 0;
        self.commit_known = 0;
        self.commit_sent = 0;
        self.admitted = self.settles_at;
    }

    /// It acknowledged `index`, and knows that version of the configuration.
    pub fn vouch(&mut self, version: u64, index: u64) {
        self.vouched = match self.vouched {
            (known, before) if known == version => (version, before.max(index)),
            (known, _) if known < version => (version, index),
            later => later,
        };
    }

    /// Is all that it has acknowledged from one that knew that version, or a later one?
    pub fn is_vouched_in(&self, version: u64) -> bool {
        self.vouched.0 >= version && self.vouched.1 >= self.held
    }

    /// Waits for a snapshot to be delivered.
    pub fn await_snapshot(&mut self) {
        self.mode = Mode::Snapshot;
        self.waiting = false;
        self.ping = false;
        self.clear_in_flight();
    }

    /// It has acknowledged everything up to `index`. Says whether that is news.
    pub fn acknowledge(&mut self, index: u64) -> bool {
        self.hold(index);
        let news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        news
    }

    /// It holds everything up to `index`, on its disk or not.
    pub fn hold(&mut self, index: u64) {
        while self.in_flight.front().is_some_and(|&(last, _)| last <= index) {
            let (_, bytes) = self.in_flight.pop_front().unwrap_or_default();
            self.in_flight_bytes -= bytes;
        }
        self.held = self.held.max(index);
        self.next_index = self.next_index.max(index + 1);
    }

    /// Appends of `bytes` up to `last_index` are on their way.
    pub fn sent(&mut self, last_index: u64, bytes: usize) {
        self.next_index = last_index + 1;
        if bytes > 0 {
            self.in_flight.push_back((last_index, bytes));
            self.in_flight_bytes += bytes;
        }
    }

    /// It has accepted an append: the logs meet at `match_index`. While it waits for a snapshot, that is not enough.
    pub fn replicate(&mut self) {
        if self.mode == Mode::Probe {
            self.mode = Mode::Replicate;
            self.next_index = self.held + 1;
            self.waiting = false;
            self.clear_in_flight();
        }
    }

    pub fn is_replicating(&self) -> bool {
        self.mode == Mode::Replicate
    }

    /// May more be sent ahead?
    pub fn has_room(&self, max_in_flight_bytes: usize) -> bool {
        self.in_flight_bytes < max_in_flight_bytes
    }

    fn clear_in_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }
}
