//! Leading: heartbeats, rounds and check-quorum (6.2, 6.4).
//!
//! A *round* is one `finish` in which the leader sent something that asks for an answer. Every such message carries the
//! round's number and every answer brings it back, so the leader knows, for the latest round that a majority has
//! answered, when it had *begun*: that is where its lease runs from, and what confirms a read.
//!
//! Heartbeats are due at multiples of the interval on the node's clock, for all groups at once, so that a driver can put
//! them into one frame per peer.

use std::collections::{BTreeMap, VecDeque};

use super::progress::Progress;
use super::transfer::Transfer;
use super::{Message, Raft, Role};
use crate::NodeId;
use crate::quorum::{joint_agrees, joint_reached};
use crate::time::Time;

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leading {
    /// All other members, and those that just ceased to be.
    pub progress: BTreeMap<NodeId, Progress>,
    /// The first entry of this term: until it is committed, what is committed is not known for certain (6.4).
    pub first_index: u64,
    pub rounds: Rounds,
    pub heartbeat_at: Time,
    pub heartbeat_due: bool,
    /// The last time that something happened that a quiet group would not do.
    pub active_at: Time,
    /// The last round before it was woken from being quiet. Whoever has answered no later one is only supposed to be there.
    pub woken_after_round: u64,
    /// The round of the heartbeat that made the group quiet.
    pub quiet_round: u64,
    pub transfer: Option<Transfer>,
    /// A successor was told to campaign in this term: its request may still be under way, so there is no lease any more.
    pub lease_given_up: bool,
    /// Whose entries were read back from disk last; the next in turn is served next.
    pub served_from_disk: NodeId,
}

impl Leading {
    /// The next thing that is due.
    pub fn wake_at(&self) -> Time {
        let transfer = self.transfer.as_ref().map_or(Time::NEVER, |transfer| transfer.gives_up_at);
        self.heartbeat_at.min(transfer)
    }
}

/// Which rounds have begun, and which one a majority has answered.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    latest: u64,
    /// Is `latest` the round of the `finish` that is going on?
    open: bool,
    /// Begin of the rounds after `confirmed`.
    begun: VecDeque<(u64, Time)>,
    confirmed: u64,
    confirmed_begun: Option<Time>,
}

impl Rounds {
    /// The round of this `finish`.
    pub fn open(&mut self, now: Time) -> u64 {
        if !self.open {
            self.open = true;
            self.latest += 1;
            self.begun.push_back((self.latest, now));
        }
        self.latest
    }

    /// The last round that was begun.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// This `finish` is over.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// The latest round that a majority has answered; `u64::MAX` if nobody has to.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// When that had begun.
    pub fn confirmed_begun(&self) -> Option<Time> {
        self.confirmed_begun
    }

    fn confirm(&mut self, round: u64) {
        self.confirmed = round;
        while let Some(&(first, begun)) = self.begun.front()
            && first <= round
        {
            self.confirmed_begun = Some(begun);
            self.begun.pop_front();
        }
    }

    /// The members changed: earlier answers say nothing about a majority of the new ones.
    pub fn forget_confirmed(&mut self) {
        self.confirmed = 0;
        self.confirmed_begun = None;
    }
}

impl Raft {
    pub(super) fn become_leader(&mut self, now: Time) {
        self.set_role(Role::Leader);
        self.set_leader(Some(self.id));
        self.election_deadline = Time::NEVER;
        self.granted.clear();
        self.leading = Some(Box::new(Leading {
            progress: BTreeMap::new(),
            first_index: self.log.last_index() + 1,
            rounds: Rounds::default(),
            heartbeat_at: self.next_heartbeat(now),
            heartbeat_due: false,
            active_at: now,
            woken_after_round: 0,
            quiet_round: 0,
            transfer: None,
            lease_given_up: false,
            served_from_disk: NodeId(0),
        }));
        self.follow_membership(now);
        self.append_noop(now);
    }

    /// Has a majority of these answered lately?
    pub(super) fn hears_majority_of(&self, voters: &[NodeId], now: Time) -> bool {
        let Some(leading) = &self.leading else { return false };
        let heard = |node: NodeId| {
            let lately = |progress: &super::progress::Progress| {
                progress.acked_round > leading.woken_after_round
                    && progress.heard_at + self.options.election_timeout > now
            };
            node == self.id || leading.progress.get(&node).is_some_and(lately)
        };
        joint_agrees(voters, &[], heard)
    }

    /// The next multiple of the interval after `now`.
    pub(super) fn next_heartbeat(&self, now: Time) -> Time {
        let interval = (self.options.heartbeat_interval.as_nanos() as u64).max(1);
        Time((now.0 / interval + 1).saturating_mul(interval))
    }

    /// Check-quorum: the leader steps down then, unless it hears of more members before.
    pub(super) fn quorum_deadline(&self) -> Time {
        let Some(leading) = &self.leading else { return Time::NEVER };
        let (incoming, outgoing) = self.halves();
        let heard_at = joint_reached(incoming, outgoing, |node| {
            if node == self.id { u64::MAX } else { leading.progress.get(&node).map_or(0, |p| p.heard_at.0) }
        });
        Time(heard_at) + self.options.election_timeout
    }

    pub(super) fn on_leader_tick(&mut self, now: Time) {
        if self.quiet {
            return;
        }
        if now >= self.quorum_deadline() && !self.is_appointed() {
            self.become_follower(now);
            return;
        }
        self.give_up_transfer_if_due(now);
        let next_heartbeat = self.next_heartbeat(now);
        let Some(leading) = &mut self.leading else { return };
        if now < leading.heartbeat_at {
            return;
        }
        leading.heartbeat_at = next_heartbeat;
        leading.heartbeat_due = true;
        leading.progress.retain(|_, progress| progress.departs_at.is_none_or(|at| now < at));
        self.look_after_members(now);
        self.fall_quiet_if_idle(now);
    }

    /// An answer to something that this leader sent came from `from`: it has answered `round`, unless the term is over.
    /// Says whether to go on with it.
    pub(super) fn answered(&mut self, from: NodeId, term: u64, round: u64, now: Time) -> bool {
        self.catch_up_term(term, now);
        if term != self.term() {
            return false;
        }
        let Some(leading) = &mut self.leading else { return false };
        let Some(progress) = leading.progress.get_mut(&from) else { return false };
        if round <= progress.since_round {
            return false;
        }
        progress.heard_at = now;
        progress.lost = false;
        if round > progress.acked_round && round <= leading.rounds.latest {
            progress.acked_round = round;
            self.confirm_rounds();
        }
        true
    }

    /// Counts who has answered which round.
    pub(super) fn confirm_rounds(&mut self) {
        let Some(leading) = &self.leading else { return };
        let answered = |node| {
            if node == self.id { u64::MAX } else { leading.progress.get(&node).map_or(0, |p| p.acked_round) }
        };
        let (incoming, outgoing) = self.halves();
        let confirmed = match self.is_appointed() {
            true => self.reached_by_all(answered),
            false => joint_reached(incoming, outgoing, answered),
        };
        if let Some(leading) = &mut self.leading {
            leading.rounds.confirm(confirmed);
        }
    }

    /// The membership in force is another (or this replica has just become leader): keeps a progress for each other
    /// member, and for a while for those that leave.
    pub(super) fn follow_membership(&mut self, now: Time) {
        let members = self.membership().members();
        let learners = self.membership().learners.clone();
        let next_index = self.log.last_index() + 1;
        let departs_at = now + self.options.election_timeout * 10;
        let id = self.id;
        let changed_at = self.memberships.current_index();
        let Some(leading) = &mut self.leading else { return };
        // One that comes back may have forgotten everything since it left.
        leading.progress.retain(|node, progress| progress.departs_at.is_none() || !members.contains(node));
        let admitted = changed_at.max(leading.first_index);
        let since_round = leading.rounds.latest;
        for (node, progress) in &mut leading.progress {
            progress.departs_at =
                if members.contains(node) { None } else { Some(progress.departs_at.unwrap_or(departs_at)) };
        }
        for &node in members.iter().filter(|&&node| node != id) {
            leading.progress.entry(node).or_insert_with(|| {
                let mut progress = Progress::new(next_index, admitted, since_round, now);
                // A voter that came in without having been a learner may be needed to commit that very entry.
                if changed_at >= leading.first_index && learners.contains(&node) {
                    progress.snapshot_after = changed_at;
                }
                progress
            });
        }
        leading.rounds.forget_confirmed();
        self.confirm_rounds();
    }

    pub(super) fn on_heartbeat_ok(
        &mut self,
        from: NodeId,
        round: u64,
        commit: u64,
        quiet: bool,
        disk_full: bool,
        now: Time,
    ) {
        let change_index = self.memberships.current_index();
        let unvouched = self.lacks_vouching(from);
        let Some(leading) = &mut self.leading else { return };
        let disagrees = self.quiet && !quiet && round >= leading.quiet_round;
        let Some(progress) = leading.progress.get_mut(&from) else { return };
        progress.commit_known = progress.commit_known.max(commit);
        progress.disk_full = disk_full;
        if commit < progress.settles_at && progress.match_index >= progress.settles_at {
            // A newcomer that restarted does not know any more since when it is a member: it is told again.
            progress.admitted = progress.settles_at;
            progress.ping = progress.is_replicating();
        }
        if round > progress.append_round {
            // It was asked after the last append and may not have got that one, or its answer was lost.
            progress.waiting = false;
            // Nor may it have been told since when it is a member, which it has to acknowledge.
            let lacks = progress.match_index + 1 < progress.next_index || progress.admitted > 0 || unvouched;
            progress.ping |= progress.is_replicating() && lacks;
        }
        if progress.departs_at.is_some() && progress.commit_known >= change_index {
            leading.progress.remove(&from);
        }
        if disagrees {
            self.wake_up(now);
        }
    }

    /// Heartbeats to everyone, if they are due.
    pub(super) fn broadcast_heartbeat(&mut self, now: Time) {
        let term = self.term();
        let shared = self.stable();
        let Some(leading) = &mut self.leading else { return };
        if !std::mem::take(&mut leading.heartbeat_due) || leading.progress.is_empty() {
            return;
        }
        let round = leading.rounds.open(now);
        if self.quiet {
            leading.quiet_round = round;
        }
        for (&node, progress) in &mut leading.progress {
            let commit = shared.min(progress.match_index);
            progress.commit_sent = progress.commit_sent.max(commit);
            self.outbox.send.push((node, Message::Heartbeat { term, round, commit, quiet: self.quiet }));
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: NodeId,
        round: u64,
        commit: u64,
        quiet: bool,
        suspected: bool,
    ) {
        self.on_commit(commit);
        if quiet && round >= self.round_seen && !suspected {
            self.fall_quiet_with(commit);
        }
        self.suspected = suspected && quiet;
        self.round_seen = self.round_seen.max(round);
        self.promise(
            from,
            Message::HeartbeatOk {
                term: self.term(),
                round,
                commit: self.commit_to_report(),
                quiet: self.quiet,
                disk_full: self.disk_full,
            },
        );
        self.ask_for_log_end(from);
    }
}
