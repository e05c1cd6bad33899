//! Elections: pre-vote (9.6), votes (3.4), timeouts, and the promise that makes leases possible (6.4.1, 4.2.3).
//!
//! Promise: a replica that hears of a leader does not vote for another for `election_timeout`, counted on its own clock
//! from what it heard; a vote asked for with the transfer flag is excepted, since the leader gave up its lease first.
//! The promise survives a restart because a replica that starts treats that as if it had just heard of a leader (unless
//! it is entirely new).
//!
//! A vote request and a vote both wait for durability of term, vote *and log*: a candidate that lost the end of its log
//! in a crash must not win with votes that were given to the longer one.

use super::Message;
use super::{Ballot, Raft, Role};
use crate::NodeId;
use crate::quorum::joint_agrees;
use crate::time::Time;

impl Raft {
    /// Campaign now if allowed (the preferred leader at a first start).
    pub fn campaign(&mut self, now: Time) {
        if !self.is_leader() && !self.is_appointed() && self.may_campaign() && now >= self.promise_until {
            self.start_pre_vote(now);
        }
    }

    /// The node may be dead: an appointed leader takes it out of sync soon; a follower of it starts an election soon, a quiet one too; the promise of the lease still
    /// holds.
    pub fn suspect(&mut self, node: NodeId, now: Time) {
        if self.is_leader() {
            return self.note_member_lost(node, now);
        }
        if self.leader != Some(node) {
            return;
        }
        self.suspected = true;
        let spread = self.random.duration_below(self.options.election_timeout / 4);
        let soon = now.max(self.promise_until) + spread;
        if self.quiet || soon < self.election_deadline {
            self.election_deadline = soon;
        }
        self.quiet = false;
    }

    /// The time without a leader begins anew.
    pub(super) fn arm_election_timer(&mut self, now: Time) {
        let least = self.options.election_timeout;
        self.election_deadline = now + least + self.random.duration_below(least);
    }

    /// After a start: if no leader shows up, this replica asks for votes as early as others may give them, ahead of those that
    /// draw a time.
    pub fn campaign_early(&mut self, now: Time) {
        self.election_deadline = now + self.options.election_timeout + self.options.heartbeat_interval;
    }

    /// No sign of a leader for too long (or no majority for a candidate).
    pub(super) fn on_election_timeout(&mut self, now: Time) {
        if self.is_appointed() {
            return self.on_appointed_timeout(now);
        }
        if self.may_campaign() {
            self.start_pre_vote(now);
            return;
        }
        self.set_leader(None);
        if self.membership().contains(self.id) && !self.is_removed() {
            self.arm_election_timer(now);
            self.look_for_leader();
        } else {
            self.election_deadline = Time::NEVER;
        }
    }

    /// A voter may, and one that would lose its vote by a membership that is not committed yet as far as it knows: it may
    /// be the only kind of replica that holds that entry (4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        self.memberships.has_voted_since(self.id, self.commit)
            && !self.is_removed()
            && !self.disk_full
            && !self.newcomer
    }

    /// Is there a committed membership, newer than what this replica knows, without it?
    pub fn is_removed(&self) -> bool {
        self.removed_at > self.memberships.current_index()
    }

    fn start_pre_vote(&mut self, now: Time) {
        self.set_role(Role::PreCandidate);
        self.set_leader(None);
        self.quiet = false;
        self.arm_election_timer(now);
        self.granted.clear();
        let ask = Message::PreVote {
            term: self.term() + 1,
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
        };
        for voter in self.other_voters() {
            self.send(voter, ask.clone());
        }
        self.count_pre_vote(self.id, now);
    }

    pub(super) fn start_campaign(&mut self, transfer: bool, now: Time) {
        self.set_ballot(self.term() + 1, Some(self.id));
        self.set_role(Role::Candidate);
        self.set_leader(None);
        self.quiet = false;
        self.arm_election_timer(now);
        self.granted.clear();
        let ask = Message::Vote {
            term: self.term(),
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            transfer,
        };
        for voter in self.other_voters() {
            self.send_after_persist(voter, ask.clone());
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::OwnVoteBeforeDurable) {
            let asked = std::mem::take(&mut self.outbox.send_after_persist);
            self.outbox.send.extend(asked);
            self.count_vote(self.id, now);
        }
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: NodeId,
        term: u64,
        last_index: u64,
        last_term: u64,
        now: Time,
    ) {
        if self.is_leader() {
            return self.on_sign_of_doubt(from, now);
        }
        if self.has_no_vote_yet() {
            return;
        }
        // It may know nobody who leads, and would go on asking, and have requests wait for it, for ever.
        self.tell_removed(from);
        if self.quiet {
            self.wake_as_follower(from, now);
        } else if term <= self.term() {
            self.send(from, Message::Stale { term: self.term() });
        } else if now >= self.promise_until && self.is_up_to_date(last_index, last_term) {
            self.send(from, Message::PreVoteGranted { term });
        }
    }

    pub(super) fn on_pre_vote_granted(&mut self, from: NodeId, term: u64, now: Time) {
        if self.role == Role::PreCandidate && term == self.term() + 1 {
            self.count_pre_vote(from, now);
        }
    }

    pub(super) fn on_vote(
        &mut self,
        from: NodeId,
        term: u64,
        last_index: u64,
        last_term: u64,
        transfer: bool,
        now: Time,
    ) {
        if self.is_appointed() {
            return self.on_canvass(from, term, last_index, last_term, transfer, now);
        }
        if term < self.term() {
            self.send(from, Message::Stale { term: self.term() });
            return;
        }
        if !transfer && self.is_leader() {
            self.on_sign_of_doubt(from, now);
            return;
        }
        if !transfer && now < self.promise_until {
            return;
        }
        if self.has_no_vote_yet() {
            return;
        }
        self.catch_up_term(term, now);
        let free = self.ballot.vote.is_none_or(|voted| voted == from);
        let undecided = matches!(self.role, Role::Follower | Role::PreCandidate);
        if undecided && free && self.is_up_to_date(last_index, last_term) {
            self.ballot.vote = Some(from);
            self.set_role(Role::Follower);
            self.quiet = false;
            self.arm_election_timer(now);
            self.send_after_persist(from, Message::VoteGranted { term });
        }
    }

    fn is_up_to_date(&self, last_index: u64, last_term: u64) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::VoteWithoutLogCheck) {
            return true;
        }
        self.log.is_up_to_date(last_index, last_term)
    }

    pub(super) fn on_vote_granted(&mut self, from: NodeId, term: u64, now: Time) {
        if self.role == Role::Candidate && term == self.term() {
            self.count_vote(from, now);
        }
    }

    fn count_pre_vote(&mut self, from: NodeId, now: Time) {
        if self.count(from) {
            self.start_campaign(false, now);
        }
    }

    pub(super) fn count_vote(&mut self, from: NodeId, now: Time) {
        if self.is_appointed() {
            if !self.granted.contains(&from) {
                self.granted.push(from);
            }
            self.weigh_candidacy(now);
        } else if self.count(from) {
            self.become_leader(now);
        }
    }

    /// Adds a vote. Is that enough now?
    fn count(&mut self, from: NodeId) -> bool {
        if !self.granted.contains(&from) {
            self.granted.push(from);
        }
        let (incoming, outgoing) = self.halves();
        joint_agrees(incoming, outgoing, |node| self.granted.contains(&node))
    }

    /// A message of a leader of `term` came: follow that one, unless its term is over. Says whether to go on with it.
    pub(super) fn follow(&mut self, from: NodeId, term: u64, now: Time) -> bool {
        if term < self.term() {
            self.send(from, Message::Stale { term: self.term() });
            return false;
        }
        self.catch_up_term(term, now);
        assert!(self.leading.is_none(), "{from:?} and this replica {:?} both lead in term {term}", self.id);
        assert!(
            self.leader.is_none_or(|leader| leader == from),
            "{from:?} and {:?} both lead in term {term}",
            self.leader
        );
        self.set_role(Role::Follower);
        if self.leader.is_none() {
            self.set_leader(Some(from));
            self.round_seen = 0;
        }
        self.promise_until = now + self.options.election_timeout;
        self.arm_election_timer(now);
        self.suspected = false;
        self.quiet = false;
        true
    }

    /// A chunk of a snapshot came from `from` in `term`: is that the leader we follow (now)? Resets the election timer.
    pub fn hear_leader(&mut self, from: NodeId, term: u64, now: Time) -> bool {
        !(self.is_leader() && term == self.term()) && self.follow(from, term, now)
    }

    /// There is a newer term: the one here is over.
    pub(super) fn catch_up_term(&mut self, term: u64, now: Time) {
        if term <= self.term() {
            return;
        }
        self.set_ballot(term, None);
        self.become_follower(now);
    }

    /// Stops leading or campaigning, in the term that it is; who leads is not known.
    pub(super) fn become_follower(&mut self, now: Time) {
        if self.role != Role::Follower || self.quiet {
            self.arm_election_timer(now);
        }
        self.quiet = false;
        self.suspected = false;
        if self.leading.take().is_some() {
            self.roll_back();
        }
        self.set_role(Role::Follower);
        self.set_leader(None);
    }

    fn set_ballot(&mut self, term: u64, vote: Option<NodeId>) {
        assert!(term > self.term(), "terms only rise");
        self.ballot = Ballot { term, vote };
        self.outbox.role_changed = true;
    }

    pub(super) fn set_role(&mut self, role: Role) {
        self.outbox.role_changed |= self.role != role;
        self.role = role;
    }

    /// Reads that went to the leader before do not get an answer any more.
    pub(super) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader == leader {
            return;
        }
        if self.leader.is_some() {
            self.refuse_asked_reads();
        }
        self.leader = leader;
        self.outbox.role_changed = true;
    }

    /// All voters but this replica.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let membership = self.membership();
        membership
            .members()
            .into_iter()
            .filter(|&node| node != self.id && membership.is_voter(node))
            .collect()
    }

    /// The planted absence of a promise at start.
    pub(super) fn has_bug_no_promise(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::NoPromiseAfterRestart);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }
}
