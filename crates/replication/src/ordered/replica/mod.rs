//! One replica of one partition under a strategy that orders its writes in a log, which is `raft` so far: consensus
//! decides the log, this module what stands in it and what clients are told.
//!
//! A write ([`write`]) is prepared by the leader against the state *after* the writes ahead of it, proposed, and answered
//! once it is committed and applied ([`apply`]). A read ([`read`]) is answered from the applied state, on any replica, once
//! it is certain that this state holds everything that was committed when the read came. Expiry is a write too: a key is
//! there until its deletion is committed. [`snapshot`] cuts the log, [`transfer`] brings a replica up that is too far
//! behind for the log, [`members`] changes who takes part, [`split`] makes two partitions of one.
//!
//! Invariants: nothing uncommitted is ever visible to a client. A request leaves in exactly one way: answered through
//! [`Outbox::answers`], or handed back untouched through [`Outbox::elsewhere`], which is allowed only as long as it
//! cannot have had an effect.

mod apply;
mod awaiting;
mod demand;
mod digests;
mod members;
pub(crate) mod payload;
mod placed;
mod read;
mod snapshot;
pub(crate) mod split;
mod tokens;
mod transfer;
mod unstable;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::{Pending, Table};

use crate::configuration::{Ask, Group, Wish};
use crate::consistency::Seen;
use crate::contract::{Call, Event, Lost, Output, Reply, Role};
use crate::ordered::pace::Pace;
use crate::ordered::raft::{self, Effects, Raft};
use crate::placement::{PartitionPlacement, Split};
use crate::shard::outbox::{Outbox, Work};
use crate::shard::{Options, PartitionStatus, Recovered, sweep_at};
use crate::time::{Now, Time};
use crate::{NodeId, PartitionId};

pub use tokens::TOKEN_BYTES;

use self::awaiting::Awaited;
use self::digests::Digests;
use self::read::{Freshness, Waiting};
use self::split::Extent;
use self::tokens::Tokens;

/// A partition that has just come about tries this often, and for this long, to have the leader that it is to have: the
/// others may be there a moment later than this replica.
const EAGER_EVERY: Duration = Duration::from_millis(20);
const EAGER_FOR: Duration = Duration::from_secs(1);

/// One replica of a partition.
#[derive(Debug)]
pub(crate) struct Replica {
    partition: PartitionId,
    options: Options,
    slots: Option<(u16, u16)>,
    /// Where the catalogue wants it; `None`: no catalogue says.
    placed: Option<PartitionPlacement>,
    report_at: Time,
    raft: Raft,
    /// The state after entry `applied`.
    table: Table,
    applied: u64,
    applied_term: u64,
    /// A loaded snapshot was taken while writes went on: the state is exact only from this entry on.
    exact_at: u64,
    /// The latest time in the log; stamps never go below it.
    last_stamp_ms: u64,
    tokens: Tokens,
    digests: Digests,

    /// What the payloads of the next entries are cut from.
    payloads: BytesMut,
    /// Prepared and not yet applied (leader only).
    pending: Pending,
    /// Proposed and not yet settled, in the order of the log. Outlives leadership: what became of a proposal is known
    /// when another entry stands in its place.
    proposals: VecDeque<write::Proposal>,
    /// Tokens of proposals under way.
    pending_tokens: BTreeMap<Bytes, u64>,
    /// Came to a leader that does not serve: it has not yet applied all that former leaders committed, or is handing over.
    parked: Vec<Work>,
    /// Reads since the last `finish`: they share one question to the consensus.
    open_reads: Vec<Waiting>,
    asked_reads: BTreeMap<u64, Vec<Waiting>>,
    next_ticket: u64,
    freshness: Freshness,
    /// Waiting until the entry of that index is applied.
    apply_waits: BTreeMap<u64, Vec<Waiting>>,
    next_sweep: Time,

    /// Answers that wait for more copies, and `WAIT`s.
    held_back: Vec<demand::HeldBack>,
    waits: Vec<demand::Waits>,
    /// Clients that wait until there is something to pop.
    awaited: Awaited,
    /// Lost, and what their keys were before is not known yet.
    lost_here: Vec<Lost>,
    /// Applied, and not held by every member in sync: a primary's that may have to be taken back.
    unstable: VecDeque<unstable::Unstable>,
    /// Digests of states that are not stable yet.
    untold_digests: VecDeque<(u64, u128)>,
    /// The bytes that it takes to take them back.
    undo_bytes: u64,
    log_bytes: u64,
    taking: Option<snapshot::Taking>,
    next_snapshot: u64,
    transfers: BTreeMap<NodeId, transfer::Transfer>,
    copies: Pace,
    incoming: Option<transfer::Incoming>,
    /// The newest durable snapshot of our own: the log up to it may go once no transfer needs it.
    compactable: u64,
    change: Option<members::Change>,
    preferred: Option<NodeId>,
    extent: Extent,
    /// The split that the catalogue wants.
    split_wanted: Option<Split>,
    /// A split is proposed: what is from this slot on will not be here.
    splitting: Option<u16>,
    /// The catalogue has a record of the partition that this one was split into last; and the log is about to say so.
    child_has_record: bool,
    settling: bool,
    /// What this one was split into, and is not durable by itself here.
    children_to_come: Vec<PartitionId>,
    /// Who is to hold a copy for reads alone; sorted.
    readers: Vec<NodeId>,
    /// Reads that came since the last look and that another replica could answer as well.
    relaxed_reads: u32,
    /// A snapshot is to be taken, however short the log.
    wants_snapshot: bool,
    /// It asks for votes again and again until then, if there is no leader.
    eager_until: Time,
    was_leader: bool,
    was_quiet: bool,
    leading_since: Time,
    disk_full: bool,
    /// This node is about to stop: leadership is not taken back.
    retiring: bool,
    seed: u64,
    announced_lease: Time,
    effects: Effects,
}

impl Replica {
    /// A replica as it starts, from what storage found.
    pub fn new(
        options: Options,
        recovered: Recovered,
        placement: Option<&PartitionPlacement>,
        group: Option<&Group>,
        now: Now,
    ) -> Replica {
        let partition = recovered.partition;
        // Another one in each life of each replica, whatever the driver gives.
        let life = options.incarnation.rotate_left(32) ^ u64::from(partition.0);
        let seed = options.seed ^ life.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let start = snapshot::start_from(recovered, placement);
        let applied = start.initial.snapshot.index;
        let exact_at = start.initial.snapshot.exact_at;
        let fresh = applied == 0 && start.initial.entries.is_empty() && start.initial.hard_state.term == 0;
        let applied_term = start.initial.snapshot.term;
        let mut raft =
            Raft::new(options.node, partition, options.raft.clone(), start.initial, seed, now.time);
        let mut preferred = placement.and_then(|placement| placement.replicas.first().copied());
        let mut slots = placement.map(|placement| (placement.first_slot, placement.last_slot));
        let mut table = start.table;
        if let Some(group) = group {
            raft.appoint(group, now.time);
            let (first, last) = (group.configuration.first_slot, group.configuration.last_slot);
            preferred = group.configuration.preferred();
            slots = Some((first, last));
            table.set_slots(first, last);
        }
        match preferred == Some(options.node) && group.is_none() {
            true if fresh => raft.campaign(now.time),
            true => raft.campaign_early(now.time),
            false => {}
        }
        Replica {
            partition,
            slots,
            placed: None,
            report_at: Time::default(),
            raft,
            table,
            applied,
            applied_term,
            exact_at,
            last_stamp_ms: start.last_stamp_ms,
            tokens: start.tokens,
            digests: Digests::default(),
            payloads: BytesMut::new(),
            pending: Pending::default(),
            proposals: VecDeque::new(),
            pending_tokens: BTreeMap::new(),
            parked: Vec::new(),
            open_reads: Vec::new(),
            asked_reads: BTreeMap::new(),
            next_ticket: 0,
            freshness: Freshness::default(),
            apply_waits: BTreeMap::new(),
            next_sweep: Time::NEVER,
            held_back: Vec::new(),
            waits: Vec::new(),
            awaited: Awaited::default(),
            lost_here: Vec::new(),
            unstable: VecDeque::new(),
            untold_digests: VecDeque::new(),
            undo_bytes: 0,
            log_bytes: 0,
            taking: None,
            next_snapshot: start.next_snapshot,
            transfers: BTreeMap::new(),
            copies: Pace::default(),
            incoming: None,
            compactable: 0,
            change: None,
            preferred,
            extent: start.extent,
            split_wanted: None,
            splitting: None,
            child_has_record: false,
            settling: false,
            children_to_come: Vec::new(),
            readers: Vec::new(),
            relaxed_reads: 0,
            wants_snapshot: false,
            eager_until: Time::default(),
            was_leader: false,
            was_quiet: false,
            leading_since: Time::default(),
            disk_full: false,
            retiring: false,
            seed,
            announced_lease: Time::default(),
            effects: Effects::default(),
            options,
        }
    }

    /// Takes a request.
    pub fn handle(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        self.note_deadline(work.deadline, now.time);
        let Some(work) = self.if_here(work, outbox) else { return };
        match &work.call {
            Call::Command { command, .. } if command.is_read() => self.read(work, now, outbox),
            Call::Fingerprint { .. } => self.read(work, now, outbox),
            Call::Command { .. } | Call::Transaction { .. } => self.write(work, now, outbox),
            Call::Admin(_) => self.admin(work, now, outbox),
            Call::Demanding { .. } | Call::Quorum { .. } | Call::At { .. } | Call::After { .. } => {
                unreachable!("the shard takes wishes apart")
            }
        }
    }

    /// A message of the consensus.
    pub fn step(&mut self, from: NodeId, message: raft::Message, now: Now) {
        if self.retiring && matches!(message, raft::Message::TimeoutNow { .. }) {
            return;
        }
        self.raft.step(from, message, now.time);
    }

    /// What the token stands for is durable.
    pub fn persisted(&mut self, token: raft::PersistToken, now: Now) {
        self.raft.persisted(token, now.time);
    }

    /// What the token stands for survives the death of the process.
    pub fn written(&mut self, token: raft::PersistToken) {
        self.raft.written(token);
    }

    /// Entries read back from the disk.
    pub fn fetched(&mut self, from: u64, entries: Vec<raft::Entry>, now: Now) {
        self.raft.fetched(from, entries, now.time);
    }

    /// A node may have died.
    pub fn suspect(&mut self, node: NodeId, now: Now) {
        self.raft.suspect(node, now.time);
    }

    /// The disk ran full, or has space again.
    pub fn set_disk_full(&mut self, full: bool) {
        self.disk_full = full;
        self.raft.set_disk_full(full);
    }

    /// A new placement: another node may be preferred as leader. With `governed` it is the catalogue's, and what it wants
    /// is to be done.
    pub fn set_placement(&mut self, placement: Option<&PartitionPlacement>, governed: bool) {
        self.preferred = placement.and_then(|placement| placement.wanted().first().copied());
        self.slots = placement.map(|placement| (placement.first_slot, placement.last_slot));
        if let (Some((first, last)), true) = (self.slots, self.extent == Extent::default()) {
            self.table.set_slots(first, last);
        }
        self.placed = placement.filter(|_| governed).cloned();
        self.report_at = Time::default();
    }

    /// What the catalogue says of the group, whose leaders it appoints.
    pub fn set_group(&mut self, group: &Group, now: Now) {
        let configuration = &group.configuration;
        let preferred = configuration.preferred();
        if self.preferred != preferred {
            self.preferred = preferred;
            // What an operator wants, or a move, is not put off.
            self.leading_since = Time::default();
        }
        self.slots = Some((configuration.first_slot, configuration.last_slot));
        self.table.set_slots(configuration.first_slot, configuration.last_slot);
        self.readers.clone_from(&group.readers);
        self.readers.sort_unstable();
        self.raft.appoint(group, now.time);
    }

    /// The latest version of the group's configuration that is known here.
    pub fn version_known(&self) -> u64 {
        self.raft.version_known()
    }

    fn ask_catalogue(&self, wishes: &mut Vec<Wish>, outbox: &mut Outbox) {
        let Some(group) = self.raft.group() else { return };
        let (partition, version, from) = (self.partition, group.configuration.version, self.options.node);
        outbox.asks.extend(wishes.drain(..).map(|wish| Ask { partition, version, from, wish }));
    }

    fn empty_table(&self) -> Table {
        self.slots.map_or_else(Table::new, |(first, last)| Table::with_slots(first, last))
    }

    /// Is the applied state exact?
    pub fn is_exact(&self) -> bool {
        self.applied >= self.exact_at
    }

    /// Is this replica the leader, with everything that former leaders committed applied, and not about to hand over?
    pub fn is_serving(&self) -> bool {
        self.raft.is_leader()
            && !self.raft.is_transferring()
            && !self.raft.is_suspended()
            && self.applied_term == self.raft.term()
            && self.applied >= self.exact_at
    }

    /// The clock of commands: never behind what the log has seen.
    fn clock_ms(&self, now: Now) -> u64 {
        now.wall_ms.max(self.last_stamp_ms)
    }

    /// Time-driven work that is due.
    pub fn wake(&mut self, now: Now, alive: &dyn Fn(NodeId) -> bool, outbox: &mut Outbox) {
        if self.raft.wake_at() <= now.time {
            self.raft.tick(now.time);
        }
        if self.next_sweep <= now.time {
            self.sweep(now, outbox);
        }
        self.transfer_wake(now, outbox);
        self.lead_elsewhere(now, alive);
        if now.time < self.eager_until && self.raft.leader().is_none() {
            self.raft.campaign(now.time);
        }
    }

    /// When [`Replica::wake`] is to be called.
    pub fn wake_at(&self, now: Now) -> Time {
        let mut at = self.raft.wake_at().min(self.next_sweep);
        at = at.min(self.demands_wake_at()).min(self.awaited.wake_at());
        at = at.min(self.transfer_wake_at()).min(self.lead_elsewhere_at()).min(self.report_wake_at());
        if self.raft.has_more_to_apply() {
            at = now.time;
        }
        if now.time < self.eager_until && self.raft.leader().is_none() {
            at = at.min(now.time + EAGER_EVERY);
        }
        if let (true, Some(expiry_ms)) =
            (self.raft.is_leader() && !self.disk_full, self.table.next_expiry_ms())
        {
            let wait = Duration::from_millis(expiry_ms.saturating_sub(self.clock_ms(now)).clamp(5, 60_000));
            at = at.min(now.time + wait);
        }
        at
    }

    /// Has this replica been told that it is no member any more, though its own log may not say so?
    pub fn is_removed(&self) -> bool {
        self.raft.is_removed()
    }

    /// Keeps what is proposed from now on back ([`Raft::gather`]).
    pub fn gather(&mut self, gathering: bool) {
        self.raft.gather(gathering);
    }

    /// Sends members nothing that no client waits for ([`Raft::keep_back`]).
    pub fn keep_back(&mut self, keeps_back: bool) {
        self.raft.keep_back(keeps_back);
    }

    /// Writes sent to members and not answered, and writes not sent, where no client waits for that ([`Raft::to_ship`]).
    pub fn to_ship(&self) -> (u64, u64) {
        self.raft.to_ship()
    }

    /// Writes sent and not committed, and writes kept back ([`Raft::under_way`]).
    pub fn under_way(&self) -> (u64, u64) {
        self.raft.under_way()
    }

    /// Ends a batch: asks the consensus what came of it, applies, answers.
    pub fn finish(&mut self, now: Now, outbox: &mut Outbox) {
        self.expire_due(now);
        // Applying may lead to new proposals (requests that were parked, keys found expired), hence the second round.
        loop {
            self.ask_reads(now, outbox);
            let mut effects = std::mem::take(&mut self.effects);
            self.raft.finish(now.time, &mut effects);
            let more = self.take_effects(&mut effects, now, outbox);
            self.effects = effects;
            if !more && self.open_reads.is_empty() {
                break;
            }
        }
        self.answer_demands(now, outbox);
        self.end_awaiting(now, outbox);
        self.follow_placement(now, outbox);
        self.take_split_on(now);
        let moves = self.placed.as_ref().is_some_and(|placed| !placed.moving_to.is_empty());
        self.raft.keep_awake(moves || self.change.is_some() || self.split_wanted.is_some());
        self.compare_when_quiet(outbox);
        self.take_snapshot(outbox);
        self.announce_lease(now, outbox);
    }

    /// Oracles check that no two leaders hold leases at once. A lease that was told and is given up early (leadership is
    /// handed over) is told as ending now.
    fn announce_lease(&mut self, now: Now, outbox: &mut Outbox) {
        if !self.options.announce_applied {
            return;
        }
        let until = match self.raft.has_lease(now.time) {
            true => self.raft.lease_until(),
            false if self.announced_lease > now.time => now.time,
            false => return,
        };
        if until != self.announced_lease {
            let (partition, term) = (self.partition, self.raft.term());
            self.announced_lease = until;
            outbox.event(Event::Lease { partition, term, until });
        }
    }

    /// Returns whether requests went on that may have led to proposals.
    fn take_effects(&mut self, effects: &mut Effects, now: Now, outbox: &mut Outbox) -> bool {
        let partition = self.partition;
        if let Some(stable) = effects.rolled_back.take() {
            self.roll_back_to(stable, outbox);
        }
        if effects.role_changed {
            self.role_changed(now, outbox);
        }
        effects.role_changed = false;
        for (to, message) in effects.send.drain(..) {
            outbox.send_consensus(partition, to, message);
        }
        if !effects.lost.is_empty() {
            let lost = effects.lost.drain(..).map(|(entry, acknowledged)| Lost {
                index: entry.index,
                term: entry.term,
                acknowledged,
                found_ms: now.wall_ms,
                payload: entry.payload,
                before: None,
            });
            let lost: Vec<Lost> = lost.collect();
            outbox.lost(partition, lost.clone());
            self.lost_here = lost;
            self.print_lost(now, outbox);
        }
        let how = (effects.persist_relaxed, effects.waits_for_write);
        outbox.persist_as(how, partition, &mut effects.persist, effects.persist_token.take());
        self.ask_catalogue(&mut effects.asks, outbox);
        for (to, message) in effects.send_after_persist.drain(..) {
            outbox.send_gated(partition, to, message);
        }
        for (to, message) in effects.send_after_write.drain(..) {
            outbox.send_written(partition, to, message);
        }
        for (index, membership, committed) in effects.memberships.drain(..) {
            outbox.event(Event::Membership {
                partition,
                index,
                voters: membership.voters,
                outgoing: membership.outgoing,
                learners: membership.learners,
                committed,
            });
        }
        if let Some((from, to)) = effects.fetch.take() {
            let max_bytes = self.options.raft.max_append_bytes;
            outbox.outputs.push(Output::Fetch { partition, from, to, max_bytes });
        }
        for node in effects.needs_snapshot.drain(..) {
            self.start_transfer(node, now, outbox);
        }
        let mut more = false;
        let (applied_before, layout_before) = (self.applied, self.extent.layout());
        let mut committed = effects.committed.drain(..);
        for count in 0.. {
            if count % Table::TOUCHED_AT_ONCE == 0 {
                self.touch(committed.as_slice());
            }
            let Some(entry) = committed.next() else { break };
            self.apply(entry, now, outbox);
            // After each entry: a read must not see the writes that came after it.
            more |= self.wake_applied(now, outbox);
        }
        if self.applied > applied_before {
            self.raft.applied(self.applied);
        }
        // What was proposed behind a split goes out at once.
        more |= self.extent.layout() > layout_before;
        // Once more without an entry: a state from elsewhere may have gone past what they waited for.
        more |= self.wake_applied(now, outbox);
        self.keep_stable(outbox);
        if self.change.is_some() {
            self.members_applied(now);
        }
        for (ticket, answer) in effects.reads.drain(..) {
            more |= self.read_settled(ticket, answer.ok(), now, outbox);
        }
        if self.is_serving() && !self.parked.is_empty() {
            more = true;
            for work in std::mem::take(&mut self.parked) {
                self.handle(work, now, outbox);
            }
        }
        more
    }

    fn role_changed(&mut self, now: Now, outbox: &mut Outbox) {
        let role = self.raft.role();
        let leader = self.raft.leader();
        outbox.event(Event::Role { partition: self.partition, term: self.raft.term(), role, leader });
        if role == Role::Leader {
            self.was_leader = true;
            self.leading_since = now.time;
            return;
        }
        self.step_down(leader, outbox);
    }

    /// Not the leader (any more): what has had no effect goes elsewhere, proposals wait for the log to tell.
    fn step_down(&mut self, leader: Option<NodeId>, outbox: &mut Outbox) {
        self.give_up_demands(outbox);
        self.send_awaiting_away(outbox);
        self.pending.clear();
        self.pending_tokens.clear();
        self.transfers.clear();
        self.splitting = None;
        self.settling = false;
        self.was_leader = false;
        let may_drop = self.raft.is_appointed();
        for work in self.parked.drain(..) {
            // As in `give_up_wait`: it may have to be of no less than what this replica drops now.
            let work = match work.relaxed() {
                Some(_) if may_drop => Work { ordered: true, ..work.strictly() },
                _ => work,
            };
            outbox.elsewhere.push((self.partition, work, leader));
        }
        let mut lost = Vec::new();
        for waits in self.apply_waits.values_mut() {
            // What waits only for committed entries stays; what waited for proposals of ours may wait in vain.
            lost.extend(waits.extract_if(.., |waiting| !waiting.survives_leadership()));
        }
        for waiting in lost {
            if waiting.is_retry() {
                outbox.answers.push((waiting.work.requester, retry_unknown()));
            } else {
                self.give_up_wait(waiting.work, outbox);
            }
        }
        self.apply_waits.retain(|_, waits| !waits.is_empty());
        self.change = None;
    }

    fn note_deadline(&mut self, deadline: Time, now: Time) {
        if deadline != Time::NEVER {
            self.next_sweep = self.next_sweep.min(sweep_at(deadline, now));
        }
    }

    /// Answers what is past its deadline: a proposal is unknown, anything else never happened.
    fn sweep(&mut self, now: Now, outbox: &mut Outbox) {
        let late = |deadline: Time| deadline <= now.time;
        for proposal in &mut self.proposals {
            if late(proposal.deadline)
                && let Some(requester) = proposal.requester.take()
            {
                let text = "the write was proposed but not committed in time: it may or may not happen";
                outbox.answers.push((requester, Reply::Unknown(text.into())));
            }
        }
        let mut refused: Vec<Work> = self.parked.extract_if(.., |work| late(work.deadline)).collect();
        let waits = self.apply_waits.values_mut().chain(self.asked_reads.values_mut());
        for waits in waits {
            for waiting in waits.extract_if(.., |waiting| late(waiting.work.deadline)) {
                if waiting.is_retry() {
                    outbox.answers.push((waiting.work.requester, retry_unknown()));
                } else {
                    refused.push(waiting.work);
                }
            }
        }
        self.apply_waits.retain(|_, waits| !waits.is_empty());
        outbox.unserved.extend(refused.into_iter().map(|work| (self.partition, work)));
        let waiting = self.proposals.iter().any(|proposal| proposal.requester.is_some())
            || !self.parked.is_empty()
            || !self.apply_waits.is_empty()
            || self.asked_reads.values().any(|waits| !waits.is_empty());
        let reads = self.apply_waits.values().chain(self.asked_reads.values()).flatten();
        let first = reads.map(|waiting| waiting.work.deadline).min().unwrap_or(Time::NEVER);
        self.next_sweep = if waiting { sweep_at(first, now.time) } else { Time::NEVER };
    }

    /// A look at this replica.
    pub fn status(&self) -> PartitionStatus {
        PartitionStatus {
            partition: self.partition,
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            membership: self.raft.membership().clone(),
            commit: self.raft.commit(),
            applied: self.applied,
            last_index: self.raft.last_index(),
            log_start: self.raft.log_start(),
            keys: self.table.len() as u64,
            expiring: self.table.expiring() as u64,
            bytes: self.table.bytes(),
            digest: self.table.digest(),
            digest_mismatches: self.digests.mismatches,
            tokens: self.tokens.len() as u64,
            quiet: self.raft.is_quiet(),
            group: self.raft.group().cloned(),
            stable: self.raft.stable(),
            lag: self.raft.lag(),
            merged: None,
            staleness: self.staleness(),
        }
    }

    /// What who is answered here has seen at the most.
    pub fn seen(&self) -> Seen {
        Seen::Log { term: self.applied_term, index: self.applied }
    }

    /// Everything up to here survives whatever happens, as far as known here.
    pub fn stable(&self) -> u64 {
        self.raft.stable()
    }

    /// The term of an entry of the log here.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.raft.term_at(index)
    }

    /// The last entry that is applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The applied state.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Who takes part, as far as known here.
    pub fn membership(&self) -> &raft::Membership {
        self.raft.membership()
    }

    /// The leader, as far as known.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.leader()
    }

    /// Does this replica lead?
    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }
}

fn retry_unknown() -> Reply {
    Reply::Unknown("the write with this token was proposed before and not committed in time".into())
}
