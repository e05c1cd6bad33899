//! Appointed leaders: the log of the `primary-replica` strategy (PacificA, Lin et al., MSR-TR-2008-25).
//!
//! Log, replication, repair, snapshots and reads are those of the consensus. What differs, and why, is all here:
//!
//! | | elected | appointed |
//! |---|---|---|
//! | who leads | whom a majority votes for | whom the catalogue appoints, in a term that it gives |
//! | voters | the membership in the log | the members in sync, as the catalogue says; all others are learners |
//! | committed | a majority holds it | as many hold it as the keyspace's acknowledgement asks for |
//! | lease, rounds | a majority has answered | every member in sync has answered |
//!
//! *Stable* is what every member in sync holds. Only that is applied by anyone but the primary, trimmed, put into snapshots
//! or remembered as committed: whoever is in sync may become primary, so it survives every failover. A primary may be ahead
//! of it (`async`, `semi-sync`): if it is deposed, it goes back to what is stable ([`Effects::rolled_back`](super::Effects)),
//! and entries after that which its successor does not have are given out before they are dropped
//! ([`Effects::lost`](super::Effects)).
//!
//! An appointed primary asks for votes before it leads, as a candidate does (`Vote`). A vote says two things: the voter takes
//! nothing of an earlier term any more, and does not hold more than the primary. Of the former members in sync so many have
//! to say so that one of them holds each acknowledged write ([`Configuration::consult`]); the rest are waited for as long
//! as a sign of life takes. If one is ahead, that one is to be appointed instead. Promises to a former primary are kept as
//! in elections, and a primary's lease needs those of all members in sync, so whichever of them is appointed waits it out.
//!
//! Where the keyspace is `DURABILITY relaxed`, acknowledgements count what is held rather than what is on the disk: [`super::relaxed`].
//!
//! A primary leads in a term once: after a restart it may have forgotten entries that it had sent, so it asks for another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::progress::Progress;
use super::relaxed::Relaxed;
use super::{Effects, Entry, EntryKind, Membership, Message, ProposeRefused, Raft, Role, SnapshotMeta};
use crate::NodeId;
use crate::configuration::{Acknowledgement, Configuration, Group, Wish};
use crate::contract::RELAXED_SYNC;
use crate::time::Time;

/// What is not yet stable may take so many times the bytes that a member may lag before writes are refused: members are
/// taken out of sync long before, unless the catalogue cannot be reached.
const REFUSE_AT_LAGS: u64 = 4;

/// What a replica of an appointed group knows beside its log.
#[derive(Debug)]
pub(super) struct Appointed {
    group: Group,
    /// The latest version of the configuration that this replica ever knew, and that is written.
    version_known: u64,
    version_written: u64,
    /// Every member in sync holds everything up to here.
    stable: u64,
    /// It may have led in this term already, or in an earlier one.
    led: u64,
    /// The candidate waits until then for members that need not answer.
    patient_until: Time,
    /// Who answered the candidate that it holds more: its last entry's term and index.
    ahead: BTreeMap<NodeId, (u64, u64)>,
    /// To be in sync, as soon as the catalogue says so: they count already.
    admitting: BTreeSet<NodeId>,
    /// The catalogue was asked to take them out of sync, and may have done so: their copies vouch for nothing any more.
    removing: BTreeSet<NodeId>,
    /// When what is wished for may be asked for again.
    ask_at: Time,
    asks: Vec<Wish>,
    /// Appended and not stable, at the primary.
    unstable: VecDeque<Appended>,
    /// Bytes that were ever appended.
    appended_bytes: u64,
    /// A member in sync has not been heard of for so long that nothing can be acknowledged.
    suspended: bool,
    rolled_back: Option<u64>,
    /// What this replica had acknowledged to clients as primary, up to here.
    acknowledged: u64,
    /// The terms in which it led in this life.
    led_terms: BTreeSet<u64>,
    lost: Vec<(Entry, Option<bool>)>,
    /// Who voted for the candidate, and may have held more than it does.
    granted_in_doubt: BTreeSet<NodeId>,
    pub(super) relaxed: Relaxed,
}

/// An entry that a primary appended.
#[derive(Clone, Copy, Debug)]
struct Appended {
    index: u64,
    at: Time,
    /// The bytes that were appended before it.
    before: u64,
}

impl Appointed {
    /// Whose copies count beside the primary's.
    fn vouching(&self, primary: NodeId) -> impl Iterator<Item = NodeId> {
        let in_sync = self.group.configuration.in_sync.iter().copied();
        in_sync.filter(move |node| *node != primary && !self.removing.contains(node))
    }

    fn unstable_bytes(&self) -> u64 {
        self.unstable.front().map_or(0, |first| self.appended_bytes - first.before)
    }

    /// What was appended after `index`, if it is not stable.
    fn lag_behind(&self, index: u64) -> Lag {
        let place = self.unstable.partition_point(|appended| appended.index <= index);
        let Some(first) = self.unstable.get(place) else { return Lag::default() };
        Lag {
            entries: (self.unstable.len() - place) as u64,
            bytes: self.appended_bytes - first.before,
            since: Some(first.at),
        }
    }
}

/// How far the members of a group are behind its primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Entries that not every member in sync holds.
    pub entries: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// Since when the oldest of them has been there.
    pub since: Option<Time>,
}

impl Raft {
    /// From now on leaders are appointed, and `group` says what the catalogue has decided so far.
    pub fn appoint(&mut self, group: &Group, now: Time) {
        if self.appointed.is_none() {
            let stable = self.commit;
            let question = self.random.draw() >> 8;
            self.appointed = Some(Box::new(Appointed {
                group: group.clone(),
                version_known: self.version_at_start.max(group.configuration.version),
                version_written: self.version_at_start,
                stable,
                // It votes for itself, durably, before it leads.
                led: self.ballot.term - u64::from(self.ballot.vote != Some(self.id) && self.ballot.term > 0),
                patient_until: Time(0),
                ahead: BTreeMap::new(),
                admitting: BTreeSet::new(),
                removing: BTreeSet::new(),
                ask_at: Time(0),
                asks: Vec::new(),
                unstable: VecDeque::new(),
                appended_bytes: 0,
                suspended: false,
                rolled_back: None,
                acknowledged: 0,
                led_terms: BTreeSet::new(),
                lost: Vec::new(),
                granted_in_doubt: BTreeSet::new(),
                relaxed: Relaxed::new(self.sound_at_start, self.options.losses, question),
            }));
            // It is in sync or it is not: that is not for its log to say.
            self.newcomer = false;
            self.log.keep_terms();
            return self.configured(now);
        }
        let Some(appointed) = &mut self.appointed else { return };
        let known = appointed.group.configuration.version;
        if group.configuration.version < known {
            return;
        }
        let same = group.configuration.version == known;
        appointed.group = group.clone();
        appointed.version_known = appointed.version_known.max(group.configuration.version);
        if !same {
            appointed.admitting.clear();
            appointed.removing.clear();
            appointed.ask_at = Time(0);
            self.configured(now);
        }
    }

    /// The configuration is another one.
    fn configured(&mut self, now: Time) {
        let Some(appointed) = &self.appointed else { return };
        let Configuration { term, primary, .. } = appointed.group.configuration;
        let membership = membership_of(&appointed.group);
        let led = appointed.led;
        if *self.memberships.current() != membership {
            self.memberships.set(membership);
            self.outbox.role_changed = true;
        }
        // Others may have told it of the term before the catalogue did.
        let is_fresh = term > self.term() || (term == self.term() && self.ballot.vote.is_none());
        if is_fresh && primary == self.id && term > led {
            self.begin_candidacy(term, now);
        } else if term > self.term() {
            self.catch_up_term(term, now);
        }
        if term == self.term() {
            if primary != self.id && self.leader.is_none() {
                self.set_leader(Some(primary));
            }
            if self.is_leader() {
                self.follow_membership(now);
                let candidates = self.memberships.current().learners.clone();
                if candidates.into_iter().any(|node| self.lacks_vouching(node)) {
                    self.wake_up(now);
                }
            }
        }
        if !self.is_leader() {
            self.election_deadline = self.election_deadline.min(now + self.options.election_timeout * 2);
        }
    }

    /// Appointed in a term that has not begun: asks whether anyone holds more.
    fn begin_candidacy(&mut self, term: u64, now: Time) {
        self.become_follower(now);
        self.ballot = super::Ballot { term, vote: Some(self.id) };
        self.outbox.role_changed = true;
        self.set_role(Role::Candidate);
        self.set_leader(None);
        self.quiet = false;
        self.granted.clear();
        let patience = self.options.election_timeout;
        let Some(appointed) = &mut self.appointed else { return };
        appointed.ahead.clear();
        appointed.granted_in_doubt.clear();
        appointed.patient_until = now.max(self.promise_until) + patience;
        self.canvass(now);
    }

    /// Asks those who have not answered.
    fn canvass(&mut self, now: Time) {
        self.election_deadline = now + self.options.heartbeat_interval;
        let Some(appointed) = &self.appointed else { return };
        let configuration = &appointed.group.configuration;
        let ask = Message::Vote {
            term: self.ballot.term,
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            transfer: configuration.handed_over,
        };
        for node in configuration.consulted() {
            if node != self.id && !self.granted.contains(&node) {
                self.outbox.send_after_persist.push((node, ask.clone()));
            }
        }
    }

    /// May the candidate lead? If another holds more, that one is to be appointed.
    pub(super) fn weigh_candidacy(&mut self, now: Time) {
        let Some(appointed) = &self.appointed else { return };
        if self.role != Role::Candidate || self.persistence.durable() != self.ballot {
            return;
        }
        let configuration = &appointed.group.configuration;
        if configuration.primary != self.id || configuration.term != self.term() || self.disk_full {
            return;
        }
        if !configuration.handed_over && now < self.promise_until {
            return;
        }
        let granted = |node: &NodeId| *node == self.id || self.granted.contains(node);
        let answered = |node: &NodeId| granted(node) || appointed.ahead.contains_key(node);
        if !configuration.consulted().iter().all(answered) && now < appointed.patient_until {
            return;
        }
        let best = appointed.ahead.iter().max_by_key(|&(node, last)| (*last, std::cmp::Reverse(*node)));
        if let Some((&best, _)) = best.filter(|_| !self.has_bug_lagging_promoted()) {
            return self.ask(Wish::Appoint(best), now);
        }
        // Whoever is in doubt may have vouched for what only it held; but if all have answered, nobody knows better.
        let in_doubt = |node: &NodeId| match *node == self.id {
            true => self.is_in_doubt(),
            false => appointed.granted_in_doubt.contains(node),
        };
        let sound = |node: &&NodeId| granted(node) && !in_doubt(node);
        let enough = configuration.witnesses.iter().filter(sound).count() >= configuration.consult as usize
            || configuration.witnesses.iter().chain(&configuration.dismissed).all(granted);
        if enough || self.has_bug_lagging_promoted() {
            self.become_leader(now);
            self.end_doubt();
            if let Some(appointed) = &mut self.appointed {
                appointed.led = self.ballot.term;
                appointed.led_terms.insert(self.ballot.term);
            }
        }
    }

    /// The catalogue has appointed the sender, who wants to know whether this replica holds more.
    pub(super) fn on_canvass(
        &mut self,
        from: NodeId,
        term: u64,
        last_index: u64,
        last_term: u64,
        handed_over: bool,
        now: Time,
    ) {
        if term < self.term() {
            return self.send(from, Message::Stale { term: self.term() });
        }
        if !handed_over && now < self.promise_until && !self.is_leader() {
            return;
        }
        self.catch_up_term(term, now);
        if self.ballot.vote.is_some_and(|voted| voted != from) || self.is_leader() {
            return;
        }
        self.ballot.vote = Some(from);
        self.arm_election_timer(now);
        self.quiet = false;
        let answer = match self.log.is_up_to_date(last_index, last_term) {
            true if self.is_in_doubt() => Message::GrantedInDoubt { term },
            true => Message::VoteGranted { term },
            false => {
                Message::Ahead { term, last_index: self.log.last_index(), last_term: self.log.last_term() }
            }
        };
        self.send_after_persist(from, answer);
    }

    /// The sender's log is no longer than this candidate's, but it may have been.
    pub(super) fn on_granted_in_doubt(&mut self, from: NodeId, term: u64, now: Time) {
        if let (Role::Candidate, true, Some(appointed)) =
            (self.role, term == self.term(), self.appointed.as_mut())
        {
            appointed.granted_in_doubt.insert(from);
            self.count_vote(from, now);
        }
    }

    /// The sender holds more than this candidate.
    pub(super) fn on_ahead(&mut self, from: NodeId, term: u64, last_index: u64, last_term: u64, now: Time) {
        let is_candidate = self.role == Role::Candidate && term == self.term();
        if let Some(appointed) = self.appointed.as_mut().filter(|_| is_candidate) {
            appointed.ahead.insert(from, (last_term, last_index));
            self.weigh_candidacy(now);
        }
    }

    /// What is due at a replica that does not lead.
    pub(super) fn on_appointed_timeout(&mut self, now: Time) {
        if self.role == Role::Candidate {
            self.canvass(now);
            return self.weigh_candidacy(now);
        }
        self.arm_election_timer(now);
        let Some(appointed) = &self.appointed else { return };
        let configuration = &appointed.group.configuration;
        if configuration.primary == self.id {
            if configuration.term == self.term() && appointed.led >= configuration.term {
                self.ask(Wish::Renew, now);
            }
            return;
        }
        let primary = configuration.primary;
        let takes_part = appointed.group.places(self.id);
        let may_follow_it = configuration.in_sync.contains(&self.id);
        self.set_leader(None);
        if may_follow_it {
            self.ask(Wish::Suspect, now);
        }
        if takes_part {
            self.send(primary, Message::Wake { term: self.term() });
        }
    }

    /// One wish at a time, and not again before it could be answered. That the primary is missed is said in any case.
    fn ask(&mut self, wish: Wish, now: Time) {
        let again_at = now + self.options.heartbeat_interval * 3;
        let Some(appointed) = &mut self.appointed else { return };
        if now >= appointed.ask_at || wish == Wish::Suspect {
            appointed.ask_at = again_at;
            appointed.asks.push(wish);
        }
    }

    /// At each heartbeat of the primary: who is in sync, and who not any more?
    pub(super) fn look_after_members(&mut self, now: Time) {
        let timeout = self.options.election_timeout;
        let held_by_all = self.reached_by_all(|node| self.held_at(node));
        // Failovers may rely on the policy only once what was acknowledged under a weaker one is held as it asks.
        let is_held_so =
            self.group().is_some_and(|group| self.held_by(group.policy.acknowledgement) >= self.commit);
        #[cfg(any(test, feature = "planted-bugs"))]
        let admits_unvouched = self.has_bug(super::Bug::AdmitsUnvouched);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let admits_unvouched = false;
        let missing_fence = self.has_bug_missing_fence();
        let Some(appointed) = &mut self.appointed else { return };
        let Some(leading) = &mut self.leading else { return };
        let group = &appointed.group;
        let configuration = &group.configuration;
        let heard = |node: &NodeId| {
            leading
                .progress
                .get(node)
                .is_some_and(|progress| now < progress.heard_at + timeout && !progress.lost)
        };
        let others: Vec<NodeId> =
            configuration.in_sync.iter().copied().filter(|&node| node != self.id).collect();
        let is_silent = |(node, progress): (&NodeId, &Progress)| {
            let counts = others.contains(node) || appointed.admitting.contains(node);
            counts && now >= progress.heard_at + timeout * 2
        };
        appointed.suspended = !missing_fence && leading.progress.iter().any(is_silent);
        if leading.lease_given_up && leading.transfer.is_none() {
            return self.ask(Wish::Renew, now);
        }
        if leading.transfer.is_some() || now < appointed.ask_at {
            return;
        }
        if configuration.term != self.ballot.term {
            return;
        }
        if self.commit >= leading.first_index
            && appointed.stable >= leading.first_index
            && is_held_so
            && (!configuration.witnesses.is_empty()
                || !configuration.dismissed.is_empty()
                || configuration.guaranteed != group.policy.acknowledgement)
        {
            let acknowledgement = group.policy.acknowledgement;
            return self.ask(Wish::Confirm(acknowledgement), now);
        }
        let first_index = leading.first_index;
        let has_settled = |node: &&NodeId| {
            leading.progress.get(node).is_some_and(|progress| progress.match_index >= first_index)
        };
        if let Some(&settled) = configuration.settling.iter().find(has_settled) {
            return self.ask(Wish::Settled(settled), now);
        }
        // Those who lag hold what is not stable back, and those who are silent everything.
        let policy = group.policy;
        let most = Duration::from_millis(policy.max_lag_ms.max(1));
        let is_old = |lag: &Lag, most: Duration| lag.since.is_some_and(|since| now >= since + most);
        let lag = appointed.lag_behind(held_by_all);
        let too_far = is_old(&lag, most) || lag.bytes > policy.max_lag_bytes;
        // And those whose disks do not keep up.
        let unsynced = appointed.lag_behind(appointed.stable);
        let not_durable = is_old(&unsynced, most + RELAXED_SYNC * 2)
            || unsynced.bytes > policy.max_lag_bytes.saturating_mul(2);
        let stable = appointed.stable;
        let counts = |progress: &Progress| if policy.relaxed { progress.held } else { progress.match_index };
        let lags = |node: &NodeId| {
            leading.progress.get(node).is_none_or(|progress| {
                (too_far && counts(progress) <= held_by_all)
                    || (not_durable && progress.match_index <= stable)
            })
        };
        let gone = |node: &NodeId| !heard(node) || lags(node);
        // Where the group moves, those go last that are not to hold it any more.
        let all_there = configuration.replicas.iter().all(|node| configuration.in_sync.contains(node));
        let unwanted = |node: &NodeId| all_there && !configuration.replicas.contains(node);
        // And whoever does not count any more, until the catalogue has decided.
        let leaves = |node: &NodeId| gone(node) || unwanted(node) || appointed.removing.contains(node);
        let leaving: Vec<NodeId> = others.iter().copied().filter(leaves).collect();
        let held = |node: &NodeId| leading.progress.get(node).map_or(0, counts);
        if !leaving.is_empty() {
            // What was acknowledged has to be held by as many of those who stay as it was promised to.
            let mut left: Vec<u64> = others.iter().filter(|node| !leaving.contains(node)).map(held).collect();
            left.sort_unstable_by(|a, b| b.cmp(a));
            let copies = configuration.guaranteed.copies(left.len()).min(left.len());
            let safe = copies == 0 || left[copies - 1] >= self.commit;
            if safe {
                appointed.removing.extend(&leaving);
                return self.ask(Wish::Remove(leaving), now);
            }
            return;
        }
        // What all hold may be acknowledged for that reason, so whoever comes in does, too: it may be primary on its own word.
        let ready = |node: &&NodeId| {
            let caught_up = |progress: &Progress| {
                progress.is_replicating()
                    && progress.match_index >= appointed.stable
                    && counts(progress) >= held_by_all
                    && progress.acked_round > leading.woken_after_round
                    && (progress.is_vouched_in(configuration.version) || admits_unvouched)
            };
            !configuration.in_sync.contains(node)
                && **node != self.id
                && heard(node)
                && leading.progress.get(node).is_some_and(caught_up)
        };
        // One that counts already is asked for until the catalogue has decided.
        let next = appointed.admitting.first().or_else(|| configuration.replicas.iter().find(ready)).copied();
        if let Some(node) = next {
            appointed.admitting.insert(node);
            leading.rounds.forget_confirmed();
            self.confirm_rounds();
            self.ask(Wish::Admit(node), now);
        }
    }

    /// A member may be dead: with its next heartbeat the primary wants to do without it.
    pub(super) fn note_member_lost(&mut self, node: NodeId, now: Time) {
        if !self.is_appointed() {
            return;
        }
        self.wake_up(now);
        let Some(leading) = &mut self.leading else { return };
        if let Some(progress) = leading.progress.get_mut(&node) {
            progress.lost = true;
            leading.heartbeat_at = now;
        }
    }

    /// The successor holds everything, and this primary has given up its lease.
    pub(super) fn ask_for_successor(&mut self, to: NodeId, now: Time) {
        if let Some(appointed) = &mut self.appointed {
            appointed.ask_at = Time(0);
        }
        self.ask(Wish::Appoint(to), now);
    }

    /// Who has to hold an entry for it to be stable, and to answer for a lease: those in sync, and those about to be.
    fn counted(&self) -> impl Iterator<Item = NodeId> {
        let appointed = self.appointed.as_ref();
        let in_sync = appointed.map_or(&[][..], |appointed| &appointed.group.configuration.in_sync);
        let in_sync = if self.has_bug_stale_in_sync() { &[][..] } else { in_sync };
        in_sync.iter().chain(appointed.into_iter().flat_map(|appointed| &appointed.admitting)).copied()
    }

    /// The largest value that everyone who counts has reached.
    pub(super) fn reached_by_all(&self, value_of: impl Fn(NodeId) -> u64) -> u64 {
        self.counted().map(value_of).min().unwrap_or(u64::MAX)
    }

    /// Is there a configuration that is not written yet?
    pub(super) fn has_news(&self) -> bool {
        self.appointed.as_ref().is_some_and(|appointed| appointed.version_known > appointed.version_written)
    }

    /// The version to be written; from now on it is.
    pub(super) fn write_version(&mut self) -> u64 {
        let Some(appointed) = &mut self.appointed else { return 0 };
        appointed.version_written = appointed.version_known;
        appointed.version_known
    }

    /// The latest version that was handed out to be written.
    pub(super) fn version_written(&self) -> u64 {
        self.appointed.as_ref().map_or(self.version_at_start, |appointed| appointed.version_written)
    }

    /// What an acknowledgement says of the configurations that this replica knows of: up to which it is not given up, even if a restart shows it
    /// earlier ones. Of no interest from one that is in sync.
    pub(super) fn version_vouched(&self) -> u64 {
        match &self.appointed {
            Some(appointed) if !appointed.group.configuration.in_sync.contains(&self.id) => {
                self.persistence.version_durable()
            }
            _ => 0,
        }
    }

    /// What a member that is to be in sync has acknowledged does not tell that it will keep it: it may know only configurations from before it was
    /// wanted, and would give it up for the next of them.
    pub(super) fn lacks_vouching(&self, node: NodeId) -> bool {
        let Some(appointed) = &self.appointed else { return false };
        let configuration = &appointed.group.configuration;
        let is_candidate = configuration.replicas.contains(&node) && !configuration.in_sync.contains(&node);
        let progress = self.leading.as_ref().and_then(|leading| leading.progress.get(&node));
        is_candidate && progress.is_some_and(|progress| !progress.is_vouched_in(configuration.version))
    }

    /// The latest version of the group's configuration that this replica ever knew.
    pub fn version_known(&self) -> u64 {
        self.appointed.as_ref().map_or(0, |appointed| appointed.version_known)
    }

    /// Is it an appointed group's?
    pub fn is_appointed(&self) -> bool {
        self.appointed.is_some()
    }

    /// What is stable and what may be acknowledged, at the primary.
    pub(super) fn advance_appointed(&mut self, now: Time) {
        let Some(leading) = &self.leading else { return };
        let Some(appointed) = &self.appointed else { return };
        let configuration = &appointed.group.configuration;
        let own_durable = self.own_match();
        let durable = |node: NodeId| {
            if node == self.id {
                own_durable
            } else {
                leading.progress.get(&node).map_or(0, |p| p.match_index)
            }
        };
        let own = self.held_at(self.id);
        // What all hold whoever is primary next has, unless their machines die; what is stable even then.
        let held_by_all = self.reached_by_all(|node| self.held_at(node)).min(own);
        let stable = self.reached_by_all(durable).min(own_durable);
        let stable = if self.has_bug_stable_before_durable() { held_by_all } else { stable };
        let copies = self.held_by_others();
        // A policy that asks for less than what is guaranteed holds once the catalogue says so.
        let wanted = match appointed.group.policy.acknowledgement {
            policy if policy.rank() < configuration.guaranteed.rank() => configuration.guaranteed,
            policy => policy,
        };
        let least = match wanted {
            Acknowledgement::Async => 0,
            _ => appointed.group.policy.min_in_sync.saturating_sub(1) as usize,
        };
        let held_by = |wanted: usize| match wanted {
            0 => own,
            _ => copies.get(wanted - 1).map_or(0, |held| (*held).min(own)),
        };
        let enough = match wanted {
            // All, and with them whoever may be in sync by now without this primary knowing it.
            Acknowledgement::Sync => held_by_all.min(held_by(least)),
            Acknowledgement::SemiSync(wanted) => held_by(least.max(wanted as usize)),
            Acknowledgement::Async => held_by(0),
        };
        // With others in sync the primary alone cannot know that it is the primary, but for its lease.
        let has_others = configuration.in_sync.len() > 1 || !appointed.admitting.is_empty();
        let alone = wanted == Acknowledgement::Async && has_others;
        let may_acknowledge = !alone || now < self.bare_lease_until() || self.has_bug_missing_fence();
        // What all hold survives without a lease; but they may be too few for what the keyspace asks.
        let commit = match wanted {
            Acknowledgement::Async if may_acknowledge => enough.max(held_by_all),
            Acknowledgement::Async => held_by_all,
            _ => enough,
        };
        // Whoever is asked after a failover knows of the primary's reign only what was confirmed: until then a machine that dies must not
        // take with it what was acknowledged.
        let is_confirmed = configuration.witnesses.is_empty();
        let commit = if self.wants_relaxed() && !is_confirmed { commit.min(stable) } else { commit };
        let commit = if self.has_bug_ack_before_ship() { self.log.durable().max(commit) } else { commit };
        let counts = |index: u64| self.log.term_at(index) == Some(self.term());
        let (counts_commit, counts_stable) = (counts(commit), counts(stable));
        let is_first = !is_confirmed && counts_stable && appointed.stable < leading.first_index;
        if counts_commit && commit > self.commit {
            self.commit_up_to(commit);
        }
        if counts_stable {
            self.set_stable(stable.min(self.commit));
        }
        if let (true, Some(leading)) = (is_first, &mut self.leading) {
            // It can be confirmed, and need not wait for the next heartbeat.
            leading.heartbeat_at = now;
        }
        if let Some(appointed) = &mut self.appointed {
            appointed.acknowledged = appointed.acknowledged.max(self.commit);
        }
    }

    /// How far the log here is held as `acknowledgement` asks, at the primary; elsewhere 0.
    pub fn held_by(&self, acknowledgement: Acknowledgement) -> u64 {
        let held = self.held_by_others();
        match acknowledgement {
            Acknowledgement::Sync if self.is_leader() => {
                self.reached_by_all(|node| self.held_at(node)).min(self.commit)
            }
            Acknowledgement::Sync => self.stable(),
            Acknowledgement::Async => self.commit,
            Acknowledgement::SemiSync(copies) => {
                held.get((copies as usize).saturating_sub(1)).copied().unwrap_or(0).min(self.commit)
            }
        }
    }

    /// How many members in sync, beside this primary, hold everything up to `index`. `durably`: how many have it on their disks,
    /// this primary included; none if this one has not.
    pub fn copies_of(&self, index: u64, durably: bool) -> usize {
        if !durably {
            return self.held_by_others().into_iter().filter(|held| *held >= index).count();
        }
        if self.log.durable() < index {
            return 0;
        }
        let (Some(leading), Some(appointed)) = (&self.leading, &self.appointed) else { return 0 };
        let others = appointed.vouching(self.id);
        let durable =
            |node: &NodeId| leading.progress.get(node).is_some_and(|progress| progress.match_index >= index);
        1 + others.filter(durable).count()
    }

    /// How far a member holds the log as acknowledgements count it, at the primary.
    fn held_at(&self, node: NodeId) -> u64 {
        let relaxed = self.wants_relaxed();
        if node == self.id {
            // Only what this replica would know to have lost.
            return if self.is_relaxed() { self.log.held() } else { self.own_match() };
        }
        let progress = self.leading.as_ref().and_then(|leading| leading.progress.get(&node));
        progress.map_or(0, |progress| if relaxed { progress.held } else { progress.match_index })
    }

    /// How far each of the others in sync holds the log, the most first; nothing where this replica does not lead.
    fn held_by_others(&self) -> Vec<u64> {
        let (Some(_), Some(appointed)) = (&self.leading, &self.appointed) else { return Vec::new() };
        let others = appointed.vouching(self.id);
        let mut held: Vec<u64> = others.map(|node| self.held_at(node)).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        held
    }

    fn set_stable(&mut self, index: u64) {
        let Some(appointed) = &mut self.appointed else { return };
        if index <= appointed.stable {
            return;
        }
        appointed.stable = index;
        while appointed.unstable.pop_front_if(|appended| appended.index <= index).is_some() {}
        let applied = self.applied_by_table.min(index);
        self.log.set_applied(applied.max(self.log.applied()));
    }

    /// An entry was appended by the primary.
    pub(super) fn note_unstable(&mut self, index: u64, bytes: usize, now: Time) {
        if let Some(appointed) = &mut self.appointed {
            let before = appointed.appended_bytes;
            appointed.unstable.push_back(Appended { index, at: now, before });
            appointed.appended_bytes += bytes as u64;
        }
    }

    /// Does the primary alone acknowledge writes?
    pub(super) fn nobody_waits_for_members(&self) -> bool {
        self.appointed.as_ref().is_some_and(|appointed| {
            let policy = appointed.group.policy.acknowledgement;
            [policy, appointed.group.configuration.guaranteed] == [Acknowledgement::Async; 2]
        })
    }

    /// Everything up to here survives every failover, as far as known here.
    pub fn stable(&self) -> u64 {
        self.appointed.as_ref().map_or(self.commit, |appointed| appointed.stable)
    }

    /// A follower's part of that: what its primary says is stable.
    pub(super) fn follow_stable(&mut self) {
        if self.leading.is_none() {
            let commit = self.commit;
            self.set_stable(commit);
        }
    }

    /// This replica leads no more: what it had committed alone is not committed any more.
    pub(super) fn roll_back(&mut self) {
        let Some(appointed) = &mut self.appointed else { return };
        appointed.unstable.clear();
        appointed.admitting.clear();
        appointed.removing.clear();
        appointed.suspended = false;
        appointed.led = appointed.led.max(self.ballot.term);
        let stable = appointed.stable;
        if self.commit > stable {
            self.commit = stable;
            appointed.rolled_back = Some(stable);
            if self.handed_out > stable {
                self.handed_out = stable;
                self.applied_by_table = self.applied_by_table.min(stable);
            }
        }
    }

    /// Entries from `from` on are about to be dropped.
    pub(super) fn note_lost(&mut self, from: u64) {
        self.keep_lost(from, &|_| true);
    }

    /// All entries go, in favour of a state. What stands in the log that it comes from is not lost: two entries of the same
    /// index and term are the same.
    pub(super) fn note_replaced(&mut self, meta: &SnapshotMeta) {
        let term_there = |index: u64| {
            let after = meta.terms.partition_point(|(first, _)| *first <= index);
            after.checked_sub(1).map(|place| meta.terms[place].1)
        };
        let is_lost = |entry: &Entry| entry.index > meta.index || term_there(entry.index) != Some(entry.term);
        self.keep_lost(self.commit + 1, &is_lost);
    }

    fn keep_lost(&mut self, from: u64, is_lost: &dyn Fn(&Entry) -> bool) {
        if self.has_bug_suffix_not_saved() {
            return;
        }
        let Some(appointed) = &mut self.appointed else { return };
        for index in from..=self.log.last_index() {
            let Some(entry) = self.log.get(index) else { continue };
            if entry.kind == EntryKind::Normal && is_lost(entry) {
                let is_own = appointed.led_terms.contains(&entry.term);
                let acknowledged = is_own.then_some(index <= appointed.acknowledged);
                appointed.lost.push((entry.clone(), acknowledged));
            }
        }
        appointed.acknowledged = appointed.acknowledged.min(from.saturating_sub(1));
    }

    pub(super) fn give_out_appointed(&mut self, effects: &mut Effects) {
        if let Some(appointed) = &mut self.appointed {
            effects.asks.append(&mut appointed.asks);
            effects.lost.append(&mut appointed.lost);
            effects.rolled_back = appointed.rolled_back.take();
        }
    }

    /// May the primary take writes?
    pub(super) fn may_acknowledge(&self) -> Result<(), ProposeRefused> {
        let Some(appointed) = &self.appointed else { return Ok(()) };
        let policy = &appointed.group.policy;
        let have = appointed.group.configuration.in_sync.len() as u32;
        let need = match policy.acknowledgement {
            Acknowledgement::SemiSync(copies) => policy.min_in_sync.max(copies + 1),
            _ => policy.min_in_sync,
        };
        if have < need {
            return Err(ProposeRefused::NotInSync { have, need });
        }
        if appointed.unstable_bytes() > policy.max_lag_bytes.saturating_mul(REFUSE_AT_LAGS) {
            return Err(ProposeRefused::Lagging { bytes: appointed.unstable_bytes() });
        }
        Ok(())
    }

    /// Is it certain that nothing can be acknowledged now?
    pub fn is_suspended(&self) -> bool {
        self.appointed.as_ref().is_some_and(|appointed| appointed.suspended)
    }

    /// Is everyone in sync, and known to be, so that the group may rest?
    pub(super) fn is_whole(&self) -> bool {
        self.appointed.as_ref().is_none_or(|appointed| {
            let configuration = &appointed.group.configuration;
            configuration.in_sync.len() == configuration.replicas.len()
                && configuration.witnesses.is_empty()
                && configuration.dismissed.is_empty()
                && configuration.settling.is_empty()
                && configuration.guaranteed == appointed.group.policy.acknowledgement
                && appointed.unstable.is_empty()
        })
    }

    /// How far the members in sync are behind this primary.
    pub fn lag(&self) -> Lag {
        let (Some(appointed), true) = (&self.appointed, self.is_leader()) else { return Lag::default() };
        appointed.lag_behind(self.reached_by_all(|node| self.held_at(node)))
    }

    /// What is known of the group.
    pub fn group(&self) -> Option<&Group> {
        self.appointed.as_ref().map(|appointed| &appointed.group)
    }

    fn has_bug_lagging_promoted(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::LaggingReplicaPromoted);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    fn has_bug_stale_in_sync(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::StaleInSyncSet);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    fn has_bug_stable_before_durable(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::StableBeforeDurable);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    fn has_bug_missing_fence(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::MissingFence);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    fn has_bug_ack_before_ship(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::AcknowledgedBeforeShipped);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    fn has_bug_suffix_not_saved(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::SuffixNotSaved);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }
}

/// Those in sync count as voters, all others get the log.
fn membership_of(group: &Group) -> Membership {
    let configuration = &group.configuration;
    let mut learners: Vec<NodeId> = configuration
        .replicas
        .iter()
        .chain(&configuration.settling)
        .chain(&group.readers)
        .copied()
        .filter(|replica| !configuration.in_sync.contains(replica))
        .collect();
    learners.sort_unstable();
    learners.dedup();
    Membership { voters: configuration.in_sync.clone(), outgoing: Vec::new(), learners }
}
