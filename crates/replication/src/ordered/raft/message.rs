//! What replicas of one group say to one another. Every message carries the sender's term; any of them may be lost,
//! delayed, duplicated and overtaken.
//!
//! | message | from | to | says |
//! |---|---|---|---|
//! | `PreVote` / `PreVoteGranted` | candidate to be / anyone | all voters | could I win? / you could have mine |
//! | `Vote` / `VoteGranted` | candidate / anyone | all voters | vote for me / you have mine, durably |
//! | `Append` / `AppendOk`, `AppendReject` | leader / replica | member | entries / durable up to there, or do not fit |
//! | `Held` | replica | leader | held up to there, though not on the disk yet ([`super::relaxed`]) |
//! | `LogEnd` / `LogEndOk` | replica in doubt / leader | leader | where does your log end? / there |
//! | `GrantedInDoubt` | anyone in doubt | appointed candidate | you have my vote, for what it is worth |
//! | `Heartbeat` / `HeartbeatOk` | leader / replica | member | I lead / I follow you |
//! | `Commit` | leader | member | apply up to here; no answer |
//! | `ReadIndex` / `ReadIndexOk` | replica / leader | leader | which index may be read? / this one |
//! | `TimeoutNow` | leader | chosen successor | campaign now |
//! | `Stale` | anyone | one of an earlier term | your term is over |
//! | `Wake` | a replica that misses its leader | members | if you lead (quietly), say so |
//! | `Ahead` | anyone | appointed candidate | the sender's log is longer |
//! | `Removed` | leader | one that is no member any more | do not campaign |
//!
//! `round` numbers let a leader know which of its questions an answer belongs to: a heartbeat or append that carries
//! `round` and is answered proves that the answerer followed this leader in this term after the round had begun.

use super::Entry;

/// A message of the protocol.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields that all have: `term` of the sender, `round` (above), `last_*` of the sender's log
pub enum Message {
    /// Would this replica vote for the sender in `term` (one above the sender's own)? Changes nothing.
    PreVote { term: u64, last_index: u64, last_term: u64 },
    /// It would, in that `term`.
    PreVoteGranted { term: u64 },
    /// Vote for the sender. With `transfer` the leader itself asked for it, so promises made to that leader do not count.
    Vote { term: u64, last_index: u64, last_term: u64, transfer: bool },
    /// The vote is given and durable.
    VoteGranted { term: u64 },
    /// Entries to follow the one at `prev_index`, of `prev_term`, consecutive. `commit` is the leader's. `admitted`: the
    /// receiver is a member since an entry before or at this one; 0 once it has acknowledged that.
    Append {
        term: u64,
        round: u64,
        prev_index: u64,
        prev_term: u64,
        commit: u64,
        admitted: u64,
        entries: Vec<Entry>,
    },
    /// The replica's log equals the leader's up to `match_index`, durably. `version`: of the configuration of an appointed group that a replica
    /// not in sync knows of, durably; else 0.
    AppendOk { term: u64, round: u64, match_index: u64, version: u64 },
    /// The replica's log equals the leader's up to `index`, and the process may die, but not the machine.
    Held { term: u64, round: u64, index: u64, version: u64 },
    /// Where does the leader's log end? A question of this life's and term's, by its number.
    LogEnd { term: u64, batch: u64 },
    /// At this entry.
    LogEndOk { term: u64, batch: u64, index: u64 },
    /// The vote of a replica that may have held more than it does.
    GrantedInDoubt { term: u64 },
    /// The entry at `prev_index` is not there or of another term; the replica's log may equal the leader's up to
    /// `hint_index`, whose term here is `hint_term`. Or the disk is full, and entries are not wanted now.
    AppendReject { term: u64, round: u64, prev_index: u64, hint_index: u64, hint_term: u64, disk_full: bool },
    /// The leader is there. `commit` is no more than what the receiver is known to hold. `quiet`: nothing more will be
    /// said until something happens.
    Heartbeat { term: u64, round: u64, commit: u64, quiet: bool },
    /// The replica follows and knows this `commit`; `quiet`: it agreed to be.
    HeartbeatOk { term: u64, round: u64, commit: u64, quiet: bool, disk_full: bool },
    /// What the receiver is known to hold is committed up to here.
    Commit { term: u64, commit: u64 },
    /// At which index may the reads of `batch` be answered?
    ReadIndex { term: u64, batch: u64 },
    /// At this one.
    ReadIndexOk { term: u64, batch: u64, index: u64 },
    /// Campaign at once: the sender hands its leadership over.
    TimeoutNow { term: u64 },
    /// A message of an earlier term came.
    Stale { term: u64 },
    /// The sender does not hear its leader.
    Wake { term: u64 },
    /// The membership committed at `index` does not contain the receiver.
    Removed { term: u64, index: u64 },
    /// To a candidate that was appointed: the sender holds more, up to that entry.
    Ahead { term: u64, last_index: u64, last_term: u64 },
}

impl Message {
    /// Heartbeats and their answers, which a driver may put together in one frame per peer
    /// ([`wire::Message::Many`](crate::wire::Message::Many)) without delaying anything that carries data.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self, Message::Heartbeat { .. } | Message::HeartbeatOk { .. })
    }

    /// Does it bring entries, so that it may be large?
    pub fn carries_entries(&self) -> bool {
        matches!(self, Message::Append { entries, .. } if !entries.is_empty())
    }

    /// The sender's term (for `PreVote` and `PreVoteGranted`: the term asked for).
    pub fn term(&self) -> u64 {
        match *self {
            Message::PreVote { term, .. }
            | Message::PreVoteGranted { term }
            | Message::Vote { term, .. }
            | Message::VoteGranted { term }
            | Message::Append { term, .. }
            | Message::AppendOk { term, .. }
            | Message::Held { term, .. }
            | Message::LogEnd { term, .. }
            | Message::LogEndOk { term, .. }
            | Message::GrantedInDoubt { term }
            | Message::AppendReject { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatOk { term, .. }
            | Message::Commit { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexOk { term, .. }
            | Message::TimeoutNow { term }
            | Message::Stale { term }
            | Message::Wake { term }
            | Message::Removed { term, .. }
            | Message::Ahead { term, .. } => term,
        }
    }
}
