//! Raft, sans-I/O: one [`Raft`] is one replica's part in the consensus of one partition (Ongaro, "Consensus: Bridging
//! Theory and Practice", 2014; the numbers in comments are its sections).
//!
//! Inputs come in through the methods of [`Raft`], with the time on this node's monotonic clock; [`Raft::finish`] gives
//! out what they led to. Persistence is asynchronous: the leader's appends may go before its own write is durable, but
//! nothing is *claimed* before it: votes and acknowledgements wait in [`Effects::send_after_persist`], the own vote and
//! the own copy count when the token of their batch comes back ([`Raft::persisted`]).
//!
//! Invariants, asserted in release builds too: what is committed is never dropped or changed, the commit index never
//! falls, `applied <= commit <= last`, a term has one leader.
//!
//! Where to read next: `message` (who says what to whom), then by verb: `elect` (votes, timeouts), `lead` (heartbeats, rounds,
//! check-quorum), `write` (append, commit), `read` (lease, read-index), `repair` (probe, fetch, snapshot),
//! `membership`, `transfer`, `quiet`; below them `log`, `progress`, `persist`.

mod appointed;
#[cfg(any(test, feature = "planted-bugs"))]
mod bug;
mod elect;
mod finish;
mod lead;
mod log;
mod membership;
mod message;
mod newcomer;
mod persist;
mod progress;
mod quiet;
mod read;
mod relaxed;
mod repair;
#[cfg(test)]
mod tests;
mod transfer;
mod types;
mod write;

pub use appointed::Lag;
#[cfg(any(test, feature = "planted-bugs"))]
pub use bug::Bug;
pub use message::Message;
pub use types::{
    Effects, Entry, EntryKind, HardState, Initial, Membership, Options, PersistToken, ProposeRefused,
    ReadRefused, SnapshotMeta,
};

use crate::contract::Role;
use crate::ordered::pace::Pace;
use crate::random::Random;
use crate::time::Time;
use crate::{NodeId, PartitionId};
use finish::Outbox;
use lead::Leading;
use log::Log;
use membership::Memberships;
use persist::{Ballot, Persistence};
use read::Reads;

/// One replica of one group.
#[derive(Debug)]
pub struct Raft {
    id: NodeId,
    partition: PartitionId,
    options: Options,
    random: Random,

    ballot: Ballot,
    /// Never `Learner`: that is a follower without a vote, see [`Raft::role`].
    role: Role,
    leader: Option<NodeId>,
    /// There is one exactly while `role` is `Leader`.
    leading: Option<Box<Leading>>,
    /// Who granted the (pre-)vote that is being asked for.
    granted: Vec<NodeId>,
    /// Until then no vote is given to anyone but the leader that was heard of last.
    promise_until: Time,
    election_deadline: Time,
    /// The leader may be dead; a sign of life takes it back.
    suspected: bool,
    /// The latest round heard from this leader.
    round_seen: u64,
    /// The membership in force at this committed index does not contain this replica, which may not know that one yet.
    removed_at: u64,
    quiet: bool,
    disk_full: bool,
    /// What clients propose is neither sent nor written for now.
    gathering: bool,
    /// What no client waits for is not sent to members for now.
    keeps_back: bool,
    /// Something is to be done with the group for which it has to stay awake.
    busy: bool,
    /// How fast new members are sent old entries; and did one have to wait for that?
    copies: Pace,
    copies_wait: bool,
    /// See [`newcomer`].
    newcomer: bool,
    /// The highest `admitted` of the appends that were taken in this life.
    admission: Option<u64>,
    /// The state on disk says that this is a newcomer, and it is none any more.
    newcomer_written: bool,
    /// It has just ceased to be one, and the batch of this number makes that durable.
    admitting: Option<PersistToken>,

    log: Log,
    persistence: Persistence,
    memberships: Memberships,
    commit: u64,
    /// The commit index that was handed out to be made durable last.
    commit_written: u64,
    /// Handed out to be applied up to here.
    handed_out: u64,
    /// Entries from here on are being read back from disk.
    fetching: Option<u64>,
    reads: Reads,
    /// See [`HardState::version`].
    version_at_start: u64,
    /// See [`HardState::sound`].
    sound_at_start: Option<u64>,
    /// Leaders are not elected but appointed.
    appointed: Option<Box<appointed::Appointed>>,
    /// The table has applied everything up to here.
    applied_by_table: u64,
    outbox: Outbox,
}

impl Raft {
    /// A replica as it starts. It promises nothing to anyone for one election timeout after the start, since it may
    /// have promised before the crash. `seed` must differ from start to start of one replica (mix in the process'
    /// incarnation), so that late answers to an earlier life's reads are not taken for answers to this one's.
    ///
    /// # Panics
    /// The log has a gap, or its memberships cannot be read: storage checks its records, so this is a broken invariant.
    pub fn new(
        id: NodeId,
        partition: PartitionId,
        options: Options,
        initial: Initial,
        seed: u64,
        now: Time,
    ) -> Raft {
        let Initial { hard_state, snapshot, entries } = initial;
        // Nothing of it was ever durable here, so it has promised nothing.
        let is_new = hard_state == HardState::default() && entries.is_empty();
        let (entries, reset) = repair::entries_after(&snapshot, entries);
        let memberships = Memberships::new(&snapshot, &entries);
        let mut log = Log::new(snapshot.index, snapshot.term, entries, options.memory_tail_bytes);
        log.know_terms(&snapshot.terms);
        let term = hard_state.term.max(log.last_term());
        let vote = hard_state.vote.filter(|_| term == hard_state.term);
        let commit = hard_state.commit.max(snapshot.exact_at).min(log.last_index()).max(snapshot.index);
        let mut raft = Raft {
            id,
            partition,
            random: Random::new(seed),
            ballot: Ballot { term, vote },
            role: Role::Follower,
            leader: None,
            leading: None,
            granted: Vec::new(),
            promise_until: if is_new { Time(0) } else { now + options.election_timeout },
            election_deadline: Time::NEVER,
            suspected: false,
            round_seen: 0,
            removed_at: 0,
            quiet: false,
            disk_full: false,
            gathering: false,
            keeps_back: false,
            busy: false,
            copies: Pace::default(),
            copies_wait: false,
            newcomer: hard_state.newcomer,
            admission: None,
            newcomer_written: hard_state.newcomer,
            admitting: None,
            log,
            persistence: Persistence::new(
                Ballot { term: hard_state.term, vote: hard_state.vote },
                hard_state.sound,
                hard_state.version,
            ),
            memberships,
            commit,
            commit_written: hard_state.commit,
            handed_out: snapshot.index,
            fetching: None,
            reads: Reads::new(seed),
            version_at_start: hard_state.version,
            sound_at_start: hard_state.sound,
            appointed: None,
            applied_by_table: snapshot.index,
            outbox: Outbox { reset, role_changed: true, ..Outbox::default() },
            options,
        };
        if raft.has_bug_no_promise() {
            raft.promise_until = Time(0);
        }
        raft.arm_election_timer(now);
        raft
    }

    /// The part that this replica plays.
    pub fn role(&self) -> Role {
        if self.role == Role::Follower && !self.membership().is_voter(self.id) {
            return Role::Learner;
        }
        self.role
    }

    /// The latest term seen.
    pub fn term(&self) -> u64 {
        self.ballot.term
    }

    /// The leader, as far as known.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Does this replica lead (as far as it knows)?
    pub fn is_leader(&self) -> bool {
        self.leading.is_some()
    }

    /// Everything up to here is committed.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// The term of the entry at `index`, if it is known.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.log.term_at(index)
    }

    /// The last entry of the log, durable or not.
    pub fn last_index(&self) -> u64 {
        self.log.last_index()
    }

    /// The index after which the log (on disk) begins.
    pub fn log_start(&self) -> u64 {
        self.log.start()
    }

    /// The membership in force: the latest in the log, committed or not.
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// The latest membership at or before `index` (for snapshots), and the term of the entry at `index`. `None` if the
    /// log here does not reach to that entry, back or forth.
    pub fn meta_at(&self, index: u64) -> Option<SnapshotMeta> {
        let term = self.log.term_at(index)?;
        let membership = self.memberships.at(index)?.clone();
        #[cfg(any(test, feature = "planted-bugs"))]
        let membership = match self.has_bug(Bug::SnapshotWithOldMembership) {
            true => self.memberships.first().clone(),
            false => membership,
        };
        let terms = if self.is_appointed() { self.log.terms_up_to(index) } else { Vec::new() };
        Some(SnapshotMeta { index, term, membership, exact_at: index, terms })
    }

    /// From the next [`Raft::finish`] on, does a leader keep what is proposed to itself? What has been gathered goes out,
    /// with everything after it, in the first `finish` without. Entries of the protocol's own never wait, nor does what
    /// stands before them.
    pub fn gather(&mut self, gathering: bool) {
        self.gathering = gathering;
    }

    /// From the next [`Raft::finish`] on, does a primary that acknowledges alone send its members nothing new?
    pub fn keep_back(&mut self, keeps_back: bool) {
        self.keeps_back = keeps_back;
    }

    /// How many entries such a primary has sent that are not answered, and how many it has not sent, to the member of whom that is
    /// most.
    pub fn to_ship(&self) -> (u64, u64) {
        let Some(leading) = self.leading.as_ref().filter(|_| self.nobody_waits_for_members()) else {
            return (0, 0);
        };
        let replicating = leading.progress.values().filter(|progress| progress.is_replicating());
        let released = self.log.released();
        replicating.fold((0, 0), |(sent, kept), progress| {
            let next = progress.next_index.min(released + 1);
            (sent.max(next - 1 - progress.held.min(next - 1)), kept.max(released + 1 - next))
        })
    }

    /// Is something to be done with the group, so that its leader must not fall quiet?
    pub fn keep_awake(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// How many entries a leader has sent that are not committed, and how many it has gathered.
    pub fn under_way(&self) -> (u64, u64) {
        match self.leading {
            Some(_) => {
                (self.log.released().saturating_sub(self.commit), self.log.last_index() - self.log.released())
            }
            None => (0, 0),
        }
    }

    /// May others count on what this replica holds? Not if neither the latest membership that it knows to be committed nor
    /// any later one in its log has it. A later one may be committed long since: after a restart this replica does not
    /// know.
    pub fn may_be_counted_on(&self) -> bool {
        !self.is_removed() && self.memberships.contain_since(self.id, self.commit)
    }

    /// The index of the membership in force.
    pub fn membership_index(&self) -> u64 {
        self.memberships.current_index()
    }

    /// Is the membership in force committed (no change under way)?
    pub fn membership_is_committed(&self) -> bool {
        self.memberships.current_index() <= self.commit && !self.membership().is_joint()
    }

    /// This replica's own log is durable up to here.
    pub fn durable_index(&self) -> u64 {
        self.log.durable()
    }

    /// The leader's view of a member: the last entry it is known to hold durably. `None` if this is not the leader or
    /// that is no member.
    pub fn match_index(&self, node: NodeId) -> Option<u64> {
        let leading = self.leading.as_ref()?;
        if node == self.id {
            return Some(self.durable_index());
        }
        leading.progress.get(&node).map(|progress| progress.match_index)
    }

    /// A message came from another replica.
    ///
    /// # Panics
    /// It shows that safety is broken already: a second leader in a term.
    pub fn step(&mut self, from: NodeId, message: Message, now: Time) {
        match message {
            Message::PreVote { term, last_index, last_term } => {
                self.on_pre_vote(from, term, last_index, last_term, now);
            }
            Message::PreVoteGranted { term } => self.on_pre_vote_granted(from, term, now),
            Message::Vote { term, last_index, last_term, transfer } => {
                self.on_vote(from, term, last_index, last_term, transfer, now);
            }
            Message::VoteGranted { term } => self.on_vote_granted(from, term, now),
            Message::Append { term, round, prev_index, prev_term, commit, admitted, entries } => {
                if self.follow(from, term, now)
                    && self.on_append(from, round, (prev_index, prev_term), commit, entries)
                {
                    self.on_admitted(admitted);
                }
            }
            Message::Heartbeat { term, round, commit, quiet } => {
                let suspected = self.suspected;
                if self.follow(from, term, now) {
                    self.on_heartbeat(from, round, commit, quiet, suspected);
                }
            }
            Message::Commit { term, commit } => {
                if self.follow(from, term, now) {
                    self.on_commit(commit);
                }
            }
            Message::AppendOk { term, round, match_index, version } => {
                if self.answered(from, term, round, now) {
                    self.on_append_ok(from, match_index, version);
                }
            }
            Message::Held { term, round, index, version } => {
                if self.answered(from, term, round, now) {
                    self.on_held(from, index, version);
                }
            }
            Message::LogEnd { term, batch } => self.on_log_end(from, term, batch, now),
            Message::LogEndOk { term, batch, index } => self.on_log_end_ok(term, batch, index),
            Message::GrantedInDoubt { term } => self.on_granted_in_doubt(from, term, now),
            Message::AppendReject { term, round, prev_index, hint_index, hint_term, disk_full } => {
                if self.answered(from, term, round, now) {
                    self.on_append_reject(from, prev_index, (hint_index, hint_term), disk_full, now);
                }
            }
            Message::HeartbeatOk { term, round, commit, quiet, disk_full } => {
                if self.answered(from, term, round, now) {
                    self.on_heartbeat_ok(from, round, commit, quiet, disk_full, now);
                }
            }
            Message::ReadIndex { term, batch } => self.on_read_index(from, term, batch, now),
            Message::ReadIndexOk { term, batch, index } => self.on_read_index_ok(from, term, batch, index),
            Message::TimeoutNow { term } => self.on_timeout_now(from, term, now),
            Message::Stale { term } => self.catch_up_term(term, now),
            Message::Wake { term } => self.on_wake(from, term, now),
            Message::Removed { term, index } => self.on_removed(term, index, now),
            Message::Ahead { term, last_index, last_term } => {
                self.on_ahead(from, term, last_index, last_term, now);
            }
        }
    }

    /// Everything that [`Effects::persist`] gave out up to and including the one named by `token` is durable.
    pub fn persisted(&mut self, token: PersistToken, now: Time) {
        let Some(index) = self.persistence.complete(token) else { return };
        self.admitting.take_if(|admitting| *admitting <= token);
        self.log.set_durable(index);
        self.tell_durable();
        self.admit_if_caught_up();
        if self.role == Role::Candidate && self.persistence.durable() == self.ballot {
            self.count_vote(self.id, now);
        }
        self.advance_commit();
    }

    /// The table has applied everything up to here: memory before it may be released.
    ///
    /// # Panics
    /// That was never handed out.
    pub fn applied(&mut self, index: u64) {
        assert!(index <= self.handed_out, "applied {index}, handed out {}", self.handed_out);
        self.applied_by_table = index;
        self.log.set_applied(index.min(self.stable()).max(self.log.applied()));
    }

    /// The disk is full: do not accept entries, as follower; nor campaign; nor propose, as leader.
    pub fn set_disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// Old entries go to new members no faster than this; 0: as fast as it goes.
    pub fn limit_copies(&mut self, bytes_per_second: u64) {
        self.copies.bytes_per_second = bytes_per_second;
    }

    /// Time-driven work is due at this time.
    pub fn wake_at(&self) -> Time {
        let own = match &self.leading {
            Some(_) if self.quiet => Time::NEVER,
            Some(leading) if self.is_appointed() => leading.wake_at(),
            Some(leading) => leading.wake_at().min(self.quorum_deadline()),
            None => self.election_deadline,
        };
        let copies = if self.copies_wait { self.copies.paid_at() } else { Time::NEVER };
        own.min(self.reads.wake_at(self.leader.is_some())).min(copies)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        if self.is_leader() {
            self.on_leader_tick(now);
        } else if now >= self.election_deadline {
            self.on_election_timeout(now);
        }
        self.on_read_tick(now);
    }

    /// The membership in force, as (incoming, outgoing) voters: what [`crate::quorum`] asks for.
    fn halves(&self) -> (&[NodeId], &[NodeId]) {
        let membership = self.memberships.current();
        let outgoing = membership.outgoing.as_slice();
        #[cfg(any(test, feature = "planted-bugs"))]
        let outgoing = if self.has_bug(Bug::JointNeedsOneMajority) { &[] } else { outgoing };
        (&membership.voters, outgoing)
    }

    #[cfg(any(test, feature = "planted-bugs"))]
    pub(in crate::ordered) fn has_bug(&self, bug: Bug) -> bool {
        self.options.planted == Some(bug)
    }
}
