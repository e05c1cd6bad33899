//! One replica of a `multi-primary` or `leaderless` keyspace: takes requests of clients, and stands between [`Causal`] and the shard.
//!
//! It serves once it has a seat with an origin ([`crate::primaries`]), has noted durably that the origin is its own, and holds something: what
//! it had before, or what another replica has. A request is served at once, from what is here ([`serve`]); its answer goes out when all that it
//! comes from is durable here. In a `multi-primary` keyspace no other replica is asked, so it does not matter who can be reached; in a `leaderless` one as
//! many as the keyspace or the client says ([`quorum`]).
//!
//! [`snapshot`] makes states durable and lets the log before them go.
//!
//! Invariant: as in `ordered::replica`, a request leaves in exactly one way.

mod quorum;
mod rights;
mod serve;
mod sloppy;
mod snapshot;

use std::collections::BTreeMap;
use std::time::Duration;

use data::merged::MergedTable;

use self::quorum::Rounds;
use self::rights::Short;
use self::serve::Answers;
use self::sloppy::Sloppy;
use self::snapshot::Snapshots;
use super::causal::{self, Causal, Message};
use crate::configuration::{Ask, Wish};
use crate::contract::{Event, Role, Write};
use crate::ordered::raft::{Entry, EntryKind, Lag, Membership, PersistToken};
use crate::primaries::{Primaries, Seat};
use crate::shard::outbox::Outbox;
use crate::shard::{Content, MergedStatus, Options, PartitionStatus, Recovered};
use crate::time::{Now, Time};
use crate::wire;
use crate::{NodeId, PartitionId, Placement};

/// How often the catalogue is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// A replica that was not heard for so long is not waited for if much is kept for it.
const SILENT: Duration = Duration::from_secs(2);
/// To so many counters rights are handed over with one write.
const HANDED_OVER_AT_ONCE: usize = 512;
/// The token of a state record.
const STATE_TOKEN: PersistToken = PersistToken(u64::MAX);
/// The same, of one that says what is known.
const KNOWN_TOKEN: PersistToken = PersistToken(u64::MAX - 1);
/// The version of state records; no other strategy's begin with it.
const STATE_VERSION: u8 = 0xc2;
/// All entries are of this term: nobody is elected.
const TERM: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Replica {
    partition: PartitionId,
    options: Options,
    primaries: Primaries,
    /// The number that is drawn for a claim.
    claim: u64,
    /// The origin that is durably this replica's.
    origin: Option<u64>,
    /// The one that is being made so.
    noting: Option<u64>,
    /// The version of the catalogue's record in which one of the two was given to it, 0: none was.
    seated_in: u64,
    /// It goes durably by this version of the catalogue's record, or a later one: with an older one, as a node reads it that has just started, it
    /// does nothing that others rely on.
    known: u64,
    /// The version that is being made so.
    noting_known: u64,
    /// The version since which the members are these.
    members_since: u64,
    asked_at: Option<Time>,
    /// What storage found, until it is begun with.
    found: Option<Recovered>,
    causal: Option<Causal>,
    /// It holds what another one had, or had something itself.
    is_filled: bool,
    answers: Answers,
    rounds: Rounds,
    sloppy: Sloppy,
    /// Of the members of the cluster.
    zones: BTreeMap<NodeId, u16>,
    short: Short,
    snapshots: Snapshots,
    writes: Vec<Write>,
    /// Commands see no time before this.
    clock_ms: u64,
    seed: u64,
    disk_full: bool,
    events: u64,
}

impl Replica {
    /// A replica as it starts, from what storage found.
    pub fn new(options: Options, recovered: Recovered, primaries: &Primaries) -> Replica {
        let partition = recovered.partition;
        let seed = options.seed ^ options.incarnation.rotate_left(17) ^ u64::from(partition.0);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let noted = recovered.state.as_ref().map(|state| match &state[..] {
            [STATE_VERSION, rest @ ..] if rest.len() == 16 => (number(&rest[..8]), number(&rest[8..])),
            _ => panic!("the state record of group {:08x} was written by another version", partition.0),
        });
        Replica {
            partition,
            claim: crate::random::Random::new(seed).draw() | 1,
            snapshots: Snapshots::after(recovered.newest_snapshot),
            options,
            primaries: primaries.clone(),
            origin: noted.map(|(origin, _)| origin),
            noting: None,
            seated_in: noted.map_or(0, |(_, version)| version),
            known: noted.map_or(0, |(_, version)| version),
            noting_known: 0,
            members_since: primaries.version,
            asked_at: None,
            found: Some(recovered),
            causal: None,
            is_filled: false,
            answers: Answers::default(),
            rounds: Rounds::default(),
            sloppy: Sloppy::default(),
            zones: BTreeMap::new(),
            short: Short::default(),
            writes: Vec::new(),
            clock_ms: 0,
            seed,
            disk_full: false,
            events: 0,
        }
    }

    /// The catalogue says who takes part.
    pub fn set_primaries(&mut self, primaries: &Primaries, placement: &Placement) {
        let zones = &placement.zones;
        self.sloppy.set_active(&placement.active);
        if self.zones != *zones {
            self.zones.clone_from(zones);
        }
        if primaries.version <= self.primaries.version {
            return;
        }
        if !self.primaries.members().eq(primaries.members()) {
            self.members_since = primaries.version;
        }
        self.rounds.look_anew();
        if self
            .primaries
            .counted_origins()
            .any(|counted| !primaries.counted_origins().any(|one| one == counted))
        {
            self.rounds.ask_anew();
        }
        self.primaries = primaries.clone();
        self.asked_at = None;
        let members = self.other_members();
        if let Some(causal) = &mut self.causal {
            causal.set_members(&members);
            causal.set_away(|node| primaries.seats.get(&node).is_some_and(|seat| seat.away));
        }
    }

    /// This node may have a seat again, with another origin than what it has written by so far: that is no other replica.
    fn other_members(&self) -> Vec<(NodeId, u64)> {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(causal::Bug::CountsItself) {
            return self.primaries.members().collect();
        }
        self.primaries.members().filter(|(node, _)| *node != self.options.node).collect()
    }

    /// Does a record without a seat for this replica say that it has none any more? A node that has restarted may know only an old catalogue for
    /// a while, from a time when it had none yet.
    pub fn has_lost_its_seat(&self, primaries: &Primaries) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(causal::Bug::OldCatalogueTaken) {
            return true;
        }
        primaries.version > self.seated_in
    }

    fn seat(&self) -> Option<Seat> {
        self.primaries.seats.get(&self.options.node).copied()
    }

    /// Does it take requests?
    pub fn is_serving(&self) -> bool {
        self.is_filled
            && self.causal.is_some()
            && self.seat().is_some_and(|seat| {
                let counts = seat.joined || self.primaries.leaderless.is_none();
                !seat.leaving && counts && Some(seat.origin) == self.origin
            })
            && self.primaries.version >= self.known
    }

    fn note(&mut self, origin: u64, version: u64, token: PersistToken, outbox: &mut Outbox) {
        let mut state = vec![STATE_VERSION];
        state.extend_from_slice(&origin.to_le_bytes());
        state.extend_from_slice(&version.to_le_bytes());
        let (partition, state) = (self.partition, state.into());
        self.writes.push(Write::State { partition, state });
        outbox.persist(self.partition, &mut self.writes, Some(token));
    }

    /// Does this replica go durably by that version? It will soon.
    fn note_known(&mut self, version: u64, outbox: &mut Outbox) -> bool {
        let Some(origin) = self.origin.filter(|_| self.known < version) else { return true };
        if self.noting_known <= self.known && self.noting.is_none() {
            self.noting_known = version;
            self.note(origin, version, KNOWN_TOKEN, outbox);
        }
        false
    }

    /// Gets an origin, begins with it, goes.
    fn take_seat(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(seat) = self.seat() else { return };
        match self.origin {
            Some(origin) if origin == seat.origin => self.begin(origin, now),
            _ if seat.origin != 0 && seat.claim == self.claim => {
                if self.noting != Some(seat.origin) {
                    self.noting = Some(seat.origin);
                    self.seated_in = self.primaries.version;
                    self.note(seat.origin, self.seated_in, STATE_TOKEN, outbox);
                }
                return;
            }
            _ => return self.ask(Wish::Claim(self.claim), now, outbox),
        }
        // What is forgotten since all members hold it must not be forgotten after a start with fewer of them.
        let knows_all = self.note_known(self.members_since, outbox) && self.primaries.version >= self.known;
        if let Some(causal) = &mut self.causal {
            causal.set_knows_all_members(knows_all);
        }
        self.ask_about_absence(seat, now, outbox);
        self.tell_what_is_known(seat, now, outbox);
        let Some(causal) = &self.causal else { return };
        let seats = self.primaries.seats.len();
        self.is_filled |= match self.primaries.leaderless {
            None => !causal.is_blank() || causal.has_caught_up(seats),
            Some(_) => {
                let needed = self.primaries.needed_to_join(self.options.node);
                let counts = |node: NodeId| self.primaries.counted().any(|other| other == node);
                seat.joined || causal.has_caught_up_with(needed, counts, seats)
            }
        };
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(causal::Bug::CountsBeforeCaughtUp) {
            self.is_filled = true;
        }
        if self.primaries.leaderless.is_some() && !seat.joined && !seat.leaving {
            if self.is_filled {
                self.ask(Wish::Join, now, outbox);
            }
            return;
        }
        let stays =
            |node: NodeId| self.primaries.seats.get(&node).is_some_and(|seat| !seat.leaving && !seat.away);
        let is_idle = self.answers.is_empty() && self.short.is_empty() && self.rounds.is_empty();
        #[cfg(any(test, feature = "planted-bugs"))]
        let at_once = self.options.planted == Some(causal::Bug::LeavesAtOnce);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let at_once = false;
        let me = self.options.node;
        // All that stay and are not away: a read that was asked before this one goes may be answered by the fewer that are there then. And so many of
        // all, since those that are away are asked again.
        let is_held = || {
            let counts = |node| self.primaries.staying(me).any(|other| other == node);
            let needed = match self.primaries.leaderless {
                Some(_) => self.primaries.needed_to_go(me),
                None => Some(0),
            };
            causal.is_held_by_others(stays)
                && needed.is_some_and(|needed| causal.copies_held(counts) >= needed)
        };
        if seat.leaving && is_idle && (at_once || is_held()) {
            let heir = self.primaries.members().find(|(node, _)| stays(*node));
            let is_due = self.asked_at.is_none_or(|at| at + ASK_INTERVAL <= now.time);
            if let (true, Some((_, heir)), true, Some(causal)) =
                (self.primaries.bounded, heir, is_due, &mut self.causal)
                && causal.hand_over(heir, HANDED_OVER_AT_ONCE, now) > 0
            {
                // When they hold that, too.
                return;
            }
            if !self.note_known(self.primaries.version, outbox) {
                return;
            }
            if let Some(causal) = &mut self.causal {
                causal.set_going(true);
            }
            self.ask(Wish::Leave, now, outbox);
        } else if !seat.leaving
            && self.primaries.version >= self.known
            && let Some(causal) = &mut self.causal
        {
            causal.set_going(false);
        }
    }

    /// All replicas go by the number of copies that it was raised to.
    fn tell_what_is_known(&mut self, seat: Seat, now: Now, outbox: &mut Outbox) {
        let raised = self.primaries.raised;
        if raised == 0 || !self.note_known(raised, outbox) || !seat.joined {
            return;
        }
        let me = self.options.node;
        let others: Vec<NodeId> = self.primaries.counted().filter(|node| *node != me).collect();
        #[cfg(any(test, feature = "planted-bugs"))]
        let others = match self.options.planted {
            Some(causal::Bug::RaisedUnknown) => Vec::new(),
            _ => others,
        };
        if self.causal.as_mut().is_some_and(|causal| causal.is_known_to(&others, raised)) {
            self.ask(Wish::Known, now, outbox);
        }
    }

    /// Another replica is not to be waited for any more, or this one can be again.
    fn ask_about_absence(&mut self, seat: Seat, now: Now, outbox: &mut Outbox) {
        let Some(causal) = &self.causal else { return };
        if seat.away && causal.is_level(now) {
            return self.ask(Wish::Return, now, outbox);
        }
        let most = self.options.snapshot_log_bytes.max(causal.table().bytes());
        if let Some(node) = causal.is_kept_for(SILENT, most, now).filter(|_| !seat.away) {
            self.ask(Wish::Eject(node), now, outbox);
        }
    }

    fn ask(&mut self, wish: Wish, now: Now, outbox: &mut Outbox) {
        if self.asked_at.is_none_or(|at| at + ASK_INTERVAL <= now.time) {
            self.asked_at = Some(now.time);
            let (partition, version, from) = (self.partition, self.primaries.version, self.options.node);
            outbox.asks.push(Ask { partition, version, from, wish });
        }
    }

    fn begin(&mut self, origin: u64, now: Now) {
        if let Some(causal) = &mut self.causal {
            causal.set_origin(origin);
        }
        let Some(found) = self.found.take() else { return };
        let members = self.other_members();
        let state = found.snapshot.map(|(meta, content)| match content {
            Content::Merged(state) => (*state, meta),
            Content::Table(_) => panic!("group {:08x} has a snapshot of another strategy", self.partition.0),
        });
        let end = found.log_start + found.entries.len() as u64;
        let log = found.entries.into_iter().map(|entry| (entry.index, entry.payload)).collect();
        let mut options = causal::Options { life: self.options.incarnation, ..causal::Options::new(origin) };
        #[cfg(any(test, feature = "planted-bugs"))]
        {
            options.planted = self.options.planted;
        }
        // What is small there is small here, so that a simulator sees all of it.
        options.recent_bytes = options.recent_bytes.min(self.options.snapshot_log_bytes as usize / 16);
        if self.primaries.leaderless.is_some_and(|options| options.sloppy) {
            // What is folded a node that begins to stand in cannot take.
            options.recent_bytes *= 8;
        }
        options.slice_bytes = options.slice_bytes.min(self.options.snapshot_log_bytes as usize);
        let mut causal = Causal::new(options, &members, causal::Recovered { state, log }, now)
            .unwrap_or_else(|reason| panic!("group {:08x}: {reason}", self.partition.0));
        causal.set_knows(self.known);
        // It may have said that it is to go.
        causal.set_going(self.primaries.version < self.known);
        causal.set_away(|node| self.primaries.seats.get(&node).is_some_and(|seat| seat.away));
        if causal.last_index() > end {
            // The state is from after all that the log holds.
            self.writes.push(Write::Reset { partition: self.partition, index: causal.last_index() });
        }
        self.causal = Some(causal);
    }

    /// A message of another replica.
    pub fn receive(&mut self, from: NodeId, message: Message, now: Now) {
        // They are handed over with a write.
        if matches!(message, Message::Rights { .. }) && (self.disk_full || !self.primaries.bounded) {
            return;
        }
        // Who has not caught up yet does not know what it ought to hold.
        if matches!(message, Message::Ask { .. }) && !self.is_filled {
            return;
        }
        if let Some(causal) = &mut self.causal {
            causal.receive(from, message, now);
        }
    }

    /// What the token stands for is durable.
    pub fn persisted(&mut self, token: PersistToken) {
        if token == STATE_TOKEN {
            self.origin = self.noting.take().or(self.origin);
            self.known = self.known.max(self.seated_in);
        } else if token == KNOWN_TOKEN {
            self.known = self.known.max(self.noting_known);
            self.seated_in = self.seated_in.max(self.known);
            if let Some(causal) = &mut self.causal {
                causal.set_knows(self.known);
            }
        } else if let Some(causal) = &mut self.causal {
            causal.persisted(token.0);
        }
    }

    /// The disk ran full, or has space again.
    pub fn set_disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// When [`Replica::finish`] is to be called.
    pub fn wake_at(&self, now: Now) -> Time {
        let mut at = self
            .answers
            .wake_at()
            .min(self.short.wake_at())
            .min(self.rounds.wake_at())
            .min(self.sloppy.wake_at());
        if let Some(asked_at) = self.asked_at {
            at = at.min(asked_at + ASK_INTERVAL);
        }
        let Some(causal) = &self.causal else { return at };
        at = at.min(causal.wake_at());
        if let (true, Some(expiry_ms)) =
            (self.is_serving() && !self.disk_full, causal.table().next_expiry_ms())
        {
            let clock_ms = now.wall_ms.max(self.clock_ms);
            let wait = Duration::from_millis(expiry_ms.saturating_sub(clock_ms).clamp(5, 60_000));
            at = at.min(now.time + wait);
        }
        at
    }

    /// Ends a batch.
    pub fn finish(&mut self, now: Now, outbox: &mut Outbox) {
        self.take_seat(now, outbox);
        // What is not asked for any more need not be asked for again.
        self.asked_at = self.asked_at.filter(|at| *at + ASK_INTERVAL > now.time);
        self.retry_short(now, outbox);
        self.find_stand_ins(now);
        self.run_rounds(now, outbox);
        self.expire_due(now);
        self.resume_parked(now, outbox);
        self.give_out(now, outbox);
        if self.resume_parked(now, outbox) {
            // What is written by that is not to wait for the next batch.
            self.give_out(now, outbox);
        }
        self.answer_durable(now, outbox);
        self.take_snapshot(outbox);
    }

    /// Gives out what there is to persist and to send.
    fn give_out(&mut self, now: Now, outbox: &mut Outbox) {
        let partition = self.partition;
        if let Some(causal) = &mut self.causal {
            let causal::Effects { persist, send, events, state } = causal.finish(now);
            let last = persist.last().map(|(index, _)| *index);
            for (index, payload) in persist {
                self.snapshots.log_bytes += payload.len() as u64;
                let entry = Entry { index, term: TERM, kind: EntryKind::Normal, payload };
                self.writes.push(Write::Append { partition, entry });
            }
            outbox.persist(partition, &mut self.writes, last.map(PersistToken));
            for (to, message) in send {
                outbox.send(to, wire::Message::Causal { partition, message });
            }
            if let Some(file) = state {
                self.snapshots.write_incoming(partition, file, outbox);
            }
            self.events += events.len() as u64;
            outbox.outputs.extend(
                events
                    .into_iter()
                    .map(|event| crate::contract::Output::Event(Event::Causal { partition, event })),
            );
        }
    }

    /// The replica is given up: who waits is answered.
    pub fn give_up(&mut self, outbox: &mut Outbox) {
        self.answers.give_up(outbox);
        self.rounds.give_up(outbox);
        self.short.give_up(outbox);
    }

    /// The state.
    pub fn merged_table(&self) -> Option<&MergedTable> {
        self.causal.as_ref().map(Causal::table)
    }

    /// The replica's causal state.
    pub fn causal(&self) -> Option<&Causal> {
        self.causal.as_ref()
    }

    fn merged_status(&self, causal: &Causal, applied: u64) -> MergedStatus {
        MergedStatus {
            origin: self.origin.unwrap_or(0),
            others: causal.others() as u64,
            away: self.primaries.seats.values().filter(|seat| seat.away).count() as u64,
            not_everywhere: applied - causal.stable().iter().map(|dot| dot.counter).sum::<u64>(),
            kept: causal.kept() as u64,
            kept_bytes: causal.kept_bytes(),
            held: causal.held() as u64,
            repairs: causal.repairs(),
            conflicts: causal.table().conflicts().noted,
            leaderless: self.primaries.leaderless.is_some(),
            rounds: self.rounds.asked,
            read_repairs: causal.read_repairs(),
            stand_ins: causal.stand_ins().filter(|node| causal.has_stand_in(*node)).count() as u64,
        }
    }

    /// A look at this replica.
    pub fn status(&self) -> PartitionStatus {
        let empty = MergedTable::new();
        let table = self.merged_table().unwrap_or(&empty);
        let mut voters: Vec<NodeId> = self.primaries.seats.keys().copied().collect();
        voters.sort_unstable();
        let applied =
            self.causal.as_ref().map_or(0, |causal| causal.vector().iter().map(|dot| dot.counter).sum());
        let durable =
            self.causal.as_ref().map_or(0, |causal| causal.durable().iter().map(|dot| dot.counter).sum());
        let serving = self.is_serving();
        PartitionStatus {
            partition: self.partition,
            role: if serving { Role::Leader } else { Role::Learner },
            term: self.origin.unwrap_or(0),
            leader: serving.then_some(self.options.node),
            membership: Membership { voters, ..Membership::default() },
            commit: durable,
            applied,
            last_index: self.causal.as_ref().map_or(0, Causal::last_index),
            log_start: self.snapshots.log_start,
            keys: table.len() as u64,
            expiring: table.expiring() as u64,
            bytes: table.bytes(),
            digest: table.digest(),
            digest_mismatches: self.causal.as_ref().map_or(0, Causal::differences),
            tokens: 0,
            quiet: false,
            group: None,
            stable: self
                .causal
                .as_ref()
                .map_or(0, |causal| causal.stable().iter().map(|dot| dot.counter).sum()),
            lag: Lag::default(),
            merged: self.causal.as_ref().map(|causal| self.merged_status(causal, applied)),
            staleness: self.causal.as_ref().and_then(Causal::staleness),
        }
    }
}
