//! A replica of a `multi-primary` keyspace: it takes writes by itself, tells the others, and applies theirs once it has applied all that
//! they depend on (causal broadcast: Birman, Schiper and Stephenson 1991; causal+ consistency: Lloyd et al., COPS, SOSP 2011).
//!
//! - A *write* gets the next dot of this replica, a hybrid time, and as dependencies the vector of all that is applied here. It is
//!   applied at once and goes to the log. It is acknowledged, and told to others, only once it is durable here: a replica that dies with a
//!   write that nobody else has gives its dot to another one, and there must never be two mutations of one name.
//! - A *mutation from elsewhere* is applied when it is the next of its origin and its dependencies are covered; until then it is held. So
//!   what is applied here is always closed under causes. It is logged as well, so a replica can pass on what others made.
//! - Replicas tell one another their vectors of what is *durable*. Each sends its own mutations that another one has not, in order, again from
//!   where that one stands if there is no progress; and those of others if it has had them for a while and the other one still has not
//!   (their origin may be dead, or cut off from there).
//! - What all members hold durably that are not *away* is *stable*: nobody will ask for it again. Of what is not, the last mutations are kept one by one and those
//!   before as a fold ([`kept`]), which a member that was away takes all together ([`repair`]). One that is too far behind for that,
//!   or has nothing, takes a state whole ([`state`]), and adds to it what it has made itself.
//! - A mutation whose time is ahead of this node's clock by more than a bound is not applied, and its origin named, until the clock gets there.
//!   Without that one clock that is wrong would decide all conflicts.
//!
//! No I/O, no clock, no chance: see the crate. What is read here may not be durable yet; [`Causal::is_durable`] says whether an answer about a
//! key has to wait for that, so that a session never goes back.
//!
//! Where to read next: `write`, `receive`, `ship`, `repair`.

mod asked;
mod audit;
#[cfg(any(test, feature = "planted-bugs"))]
mod bug;
mod kept;
mod message;
mod receive;
mod repair;
mod rights;
mod ship;
mod snapshot;
mod stand_ins;
pub mod state;
mod write;

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

use bytes::Bytes;
use data::Position;
use data::merged::{Dot, HybridTime, Merge, MergedTable, VersionVector};
use data::table::position_of;

use self::asked::Asked;
use self::audit::Audits;
pub use self::audit::Range;
#[cfg(any(test, feature = "planted-bugs"))]
pub use self::bug::Bug;
use self::kept::{Kept, Logged};
pub use self::message::{Body, Holds, Message, Round, Want, What};
use self::repair::{Incoming, Outgoing};
pub use self::snapshot::Taking;
use self::stand_ins::StandIn;
use self::state::State;

use super::clock::HybridClock;
use crate::NodeId;
use crate::histogram::{Histogram, Recent};
use crate::time::{Now, Time};

/// The numbers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number by which what is written here is named.
    pub origin: u64,
    /// Another number in each life of the replica.
    pub life: u64,
    /// How far ahead of this node's clock the time of a mutation may be.
    pub max_skew: Duration,
    /// How long after something was sent without any progress it is sent again.
    pub resend_after: Duration,
    /// How long a mutation of another origin is here before it is passed on to who has not got it.
    pub relay_after: Duration,
    /// How often a replica tells what it holds though nothing has changed.
    pub tell_every: Duration,
    /// The most bytes of mutations in one message (one mutation more may be in it).
    pub batch_bytes: usize,
    /// Mutations that wait for what they depend on, at most; what comes beyond is dropped, and sent again later.
    pub held_limit: usize,
    /// So many bytes of mutations are kept one by one; older ones are folded.
    pub recent_bytes: usize,
    /// So many mutations are sent to a replica that has not said to have them.
    pub window: u64,
    /// The bytes of a slice of a state on its way to another replica, about.
    pub slice_bytes: usize,
    /// A fault to show that the tests find it.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub planted: Option<Bug>,
}

impl Options {
    /// The defaults of a node.
    pub fn new(origin: u64) -> Options {
        Options {
            origin,
            life: 0,
            max_skew: Duration::from_secs(60),
            resend_after: Duration::from_millis(200),
            relay_after: Duration::from_secs(1),
            tell_every: Duration::from_millis(500),
            batch_bytes: 1 << 20,
            held_limit: 100_000,
            recent_bytes: 4 << 20,
            window: 10_000,
            slice_bytes: 1 << 20,
            #[cfg(any(test, feature = "planted-bugs"))]
            planted: None,
        }
    }
}

/// Something to be noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The clock of this origin is ahead by so many milliseconds: what it writes is not applied here.
    Skewed { origin: u64, ahead_ms: u64 },
    /// A message could not be read.
    Malformed { from: NodeId },
    /// Two replicas that have applied the same hold different states, of all keys or of a range ([`audit`]): an alarm.
    Differs { from: NodeId, ours: u128, theirs: u128 },
    /// What this node holds for members that cannot be reached has come to so many bytes: no more is taken.
    HintsFull { bytes: u64 },
    /// What was missed is here now, as steps, or with a state.
    Repaired { from: NodeId, with_state: bool },
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be made durable: the number of each entry, and its bytes.
    pub persist: Vec<(u64, Bytes)>,
    /// To be sent. May be lost.
    pub send: Vec<(NodeId, Message)>,
    /// To be noticed.
    pub events: Vec<Event>,
    /// A state that came from elsewhere is to be made durable.
    pub state: Option<StateFile>,
}

/// A state that is to be made durable; [`Causal::state_is_durable`] when it is.
#[derive(Debug)]
pub struct StateFile {
    /// The chunks.
    pub chunks: Vec<Bytes>,
    /// What stands beside them.
    pub meta: Bytes,
    /// The entries of the log up to this one are in it.
    pub index: u64,
}

/// A replica as storage found it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// A state, and what stands beside it.
    pub state: Option<(State, Bytes)>,
    /// The entries of the log, in order: numbers and bytes. Those that are in the state may be among them.
    pub log: Vec<(u64, Bytes)>,
}

/// A replica that was heard within this time is not cut off.
const BACK_FOR: Duration = Duration::from_secs(5);

/// Steps that are folded in one batch.
const FOLDED_AT_ONCE: usize = 1_000;

/// What is known of another member.
#[derive(Debug, Default)]
struct Peer {
    /// What it kept of what is not stable, as it said last.
    base: VersionVector,
    folded: VersionVector,
    /// When it was heard last.
    heard_at: Time,
    /// The catalogue says that it is not waited for.
    away: bool,
    /// When something that it has is missing here, since when.
    lacking_since: Option<Time>,
    /// The version of the catalogue's record that it goes by.
    knows: u64,
    /// The number by which its writes are named.
    origin: u64,
    /// What is durable there; nothing is known before it has said so.
    holds: VersionVector,
    heard: bool,
    /// Of this replica's own mutations all up to this one were sent there.
    sent: u64,
    /// When something was sent first that it has not said to hold since, or when it last said more.
    waiting_since: Option<Time>,
    /// What it was told to be durable here, and when.
    told: VersionVector,
    told_at: Option<Time>,
    /// What was relayed to it is not relayed again before then.
    relay_at: Time,
}

/// Who was not heard for so long may be gone.
const SILENT: Duration = Duration::from_secs(2);

impl Peer {
    fn is_silent(&self, now: Now) -> bool {
        self.heard && self.heard_at + SILENT <= now.time
    }

    /// A sign of life.
    fn hear(&mut self, now: Now) {
        if self.is_silent(now) {
            // It is back: all that it lacks, at once.
            (self.sent, self.waiting_since, self.relay_at) = (0, None, now.time);
        }
        self.heard_at = now.time;
    }
}

/// See the module.
#[derive(Debug)]
pub struct Causal {
    options: Options,
    table: MergedTable,
    clock: HybridClock,
    /// All that is applied.
    vector: VersionVector,
    /// All that is durable.
    durable: VersionVector,
    /// What is not stable.
    kept: Kept,
    /// All that was here when nobody was away any more.
    nobody_away_since: Option<VersionVector>,
    /// How much later than made mutations of others came.
    staleness: Recent,
    /// After what was missed could not be taken it is not asked for before then.
    repair_again_at: Time,
    /// The number of the last entry, and of the last durable one.
    last_index: u64,
    persisted: u64,
    /// What is not durable yet.
    under_way: VecDeque<UnderWay>,
    /// For each key, by its position, the last entry about it that is not durable. Keys of one position wait for one another.
    unstable: BTreeMap<Position, u64>,
    /// What made them so, in the order of the entries.
    touched: VecDeque<(u64, Position)>,
    /// Until this one is durable, all keys are as if it were about them.
    unstable_all: u64,
    /// Mutations that wait for what they depend on, by origin and number.
    held: BTreeMap<u64, BTreeMap<u64, Merge>>,
    held_count: usize,
    /// When what is held is looked at again though nothing has come.
    retry_at: Time,
    /// When it was told last that the clock of an origin is ahead.
    skew_told: BTreeMap<u64, Time>,
    peers: BTreeMap<NodeId, Peer>,
    /// Who stands in for members that cannot be reached.
    stand_ins: BTreeMap<NodeId, StandIn>,
    /// What is being given to others, by who takes it.
    outgoing: BTreeMap<NodeId, Outgoing>,
    /// What is being taken.
    incoming: Option<Incoming>,
    /// What is kept by others cannot be taken: a state is wanted.
    wants_state: bool,
    next_want: u64,
    audits: Audits,
    asked: Asked,
    /// The version of the catalogue's record of the group that this replica goes by.
    knows: u64,
    /// Not all members may be known here: nothing is forgotten.
    knows_all_members: bool,
    /// All that any member held when all of them went by that version.
    held_by_any: Option<(u64, VersionVector)>,
    /// It is to go, and others hold this much of what it holds.
    holds_at_end: Option<VersionVector>,
    effects: Effects,
    duplicates: u64,
    repairs: u64,
    differences: u64,
}

/// An entry that is not durable yet.
#[derive(Debug)]
struct UnderWay {
    index: u64,
    known: Known,
}

/// What is known with an entry.
#[derive(Debug)]
enum Known {
    Mutation(Dot),
    Steps(VersionVector),
}

impl Causal {
    /// A replica among these members: nodes, and their origins. This one may be in it.
    ///
    /// # Errors
    /// An entry of the log is not a mutation, or comes before what it depends on: damage that storage did not see.
    pub fn new(
        options: Options,
        members: &[(NodeId, u64)],
        recovered: Recovered,
        now: Now,
    ) -> Result<Causal, &'static str> {
        let mut causal = Causal {
            table: MergedTable::new(),
            clock: HybridClock::default(),
            vector: VersionVector::new(),
            durable: VersionVector::new(),
            kept: Kept::default(),
            nobody_away_since: None,
            staleness: Recent::default(),
            repair_again_at: Time::default(),
            last_index: 0,
            persisted: 0,
            under_way: VecDeque::new(),
            unstable: BTreeMap::new(),
            touched: VecDeque::new(),
            unstable_all: 0,
            held: BTreeMap::new(),
            held_count: 0,
            retry_at: now.time,
            skew_told: BTreeMap::new(),
            peers: BTreeMap::new(),
            stand_ins: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            incoming: None,
            wants_state: false,
            // Of another life than what was asked for before.
            next_want: now.wall_ms << 20,
            audits: Audits::default(),
            asked: Asked::default(),
            knows: 0,
            knows_all_members: true,
            held_by_any: None,
            holds_at_end: None,
            effects: Effects::default(),
            duplicates: 0,
            repairs: 0,
            differences: 0,
            options,
        };
        causal.recover(recovered, now)?;
        causal.effects = Effects::default();
        causal.persisted = causal.last_index;
        causal.unstable.clear();
        causal.unstable_all = 0;
        causal.under_way.clear();
        causal.durable = causal.vector.clone();
        causal.set_members(members);
        Ok(causal)
    }

    /// These are the members from now on. What is held of an origin that is none any more may wait for what nobody has; it is let go. If
    /// somebody has that, all of it comes again from there.
    pub fn set_members(&mut self, members: &[(NodeId, u64)]) {
        let me = self.options.origin;
        self.peers.retain(|node, peer| members.contains(&(*node, peer.origin)));
        self.held.retain(|origin, _| members.iter().any(|(_, other)| other == origin));
        self.held_count = self.held.values().map(BTreeMap::len).sum();
        for &(node, origin) in members.iter().filter(|(_, origin)| *origin != me) {
            self.peers.entry(node).or_insert(Peer { origin, ..Peer::default() });
        }
    }

    /// These members are not waited for from now on: they take a state if what they lack is kept no more.
    pub fn set_away(&mut self, is_away: impl Fn(NodeId) -> bool) {
        self.peers.iter_mut().for_each(|(node, peer)| peer.away = is_away(*node));
    }

    /// This replica is as good as gone: others must not count on what comes to it from now on, so they are told of no more than it held by now.
    pub fn set_going(&mut self, is_going: bool) {
        match is_going {
            true => drop(self.holds_at_end.get_or_insert_with(|| self.durable.clone())),
            false => self.holds_at_end = None,
        }
    }

    /// What is written from now on is named by another number.
    pub fn set_origin(&mut self, origin: u64) {
        if self.options.origin != origin {
            self.options.origin = origin;
            // Nothing of that was sent to anybody.
            self.peers.values_mut().for_each(|peer| (peer.sent, peer.waiting_since) = (0, None));
        }
    }

    /// The state.
    pub fn table(&self) -> &MergedTable {
        &self.table
    }

    /// All that is applied.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// All that is durable.
    pub fn durable(&self) -> &VersionVector {
        &self.durable
    }

    /// What all members hold durably that are not away, as far as known here.
    pub fn stable(&self) -> VersionVector {
        let mut stable = self.durable.clone();
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(Bug::ForgottenEarly) {
            return stable;
        }
        self.peers.values().filter(|peer| !peer.away).for_each(|peer| stable.meet(&peer.holds));
        stable
    }

    /// How many members, this one among them, hold that mutation durably, as far as known here.
    pub fn copies_of(&self, dot: Dot) -> usize {
        let others = self.peers.values().filter(|peer| peer.holds.covers(dot)).count();
        others + usize::from(self.durable.covers(dot))
    }

    /// The other members, as far as known.
    pub fn others(&self) -> usize {
        self.peers.len()
    }

    /// Is all here that so many others have, of those of whom `counts` says so? Where nobody has anything, more than half of so many `seats` have to say so.
    pub fn has_caught_up_with(&self, others: usize, counts: impl Fn(NodeId) -> bool, seats: usize) -> bool {
        let nothing = VersionVector::new();
        let mut heard = self.peers.iter().filter(|(_, peer)| peer.heard);
        if heard.clone().all(|(_, peer)| peer.holds == nothing) {
            return 2 * (heard.count() + 1) > seats;
        }
        let has_all_of =
            |(node, peer): &(&NodeId, &Peer)| counts(**node) && self.durable.includes(&peer.holds);
        heard.by_ref().filter(has_all_of).count() >= others
    }

    /// This replica goes by that version of the catalogue's record of the group.
    pub fn set_knows(&mut self, version: u64) {
        self.knows = version;
    }

    /// Are all members known here? A node that has restarted may read an old catalogue first, which lacks some.
    pub fn set_knows_all_members(&mut self, knows: bool) {
        self.knows_all_members = knows;
    }

    /// Do all of these members go by that version, or a later one, and has each of them all that any had then?
    pub fn is_known_to(&mut self, members: &[NodeId], version: u64) -> bool {
        let peers: Option<Vec<&Peer>> = members.iter().map(|node| self.peers.get(node)).collect();
        let Some(peers) = peers.filter(|peers| peers.iter().all(|peer| peer.heard && peer.knows >= version))
        else {
            self.held_by_any = None;
            return false;
        };
        if self.held_by_any.as_ref().is_none_or(|(known, _)| *known != version) {
            let mut all = self.vector.clone();
            peers.iter().for_each(|peer| all.merge(&peer.holds));
            self.held_by_any = Some((version, all));
        }
        let Some((_, all)) = &self.held_by_any else { return false };
        self.durable.includes(all) && peers.iter().all(|peer| peer.holds.includes(all))
    }

    /// Is all here that another member has? If those of whom was heard have nothing, they have to be a majority of so many `seats`, this
    /// one among them: nobody has anything, then.
    pub fn has_caught_up(&self, seats: usize) -> bool {
        let nothing = VersionVector::new();
        let heard = self.peers.values().filter(|peer| peer.heard);
        let (empty, filled): (Vec<&Peer>, Vec<&Peer>) = heard.partition(|peer| peer.holds == nothing);
        match filled.is_empty() {
            true => 2 * (empty.len() + 1) > seats,
            false => filled.iter().any(|peer| self.vector.includes(&peer.holds)),
        }
    }

    /// Has this replica nothing, and never had?
    pub fn is_blank(&self) -> bool {
        self.last_index == 0
    }

    /// Do all others hold everything that is durable here, as far as known? Of those alone of whom `counts` says so.
    pub fn is_held_by_others(&self, counts: impl Fn(NodeId) -> bool) -> bool {
        let mut counted = self.peers.iter().filter(|(node, _)| counts(**node)).peekable();
        counted.peek().is_some()
            && self.durable == self.vector
            && counted.all(|(_, peer)| peer.heard && peer.holds.includes(&self.durable))
    }

    /// How many of those of whom `counts` says so hold everything that is here, as far as known; none while some of it is not durable.
    pub fn copies_held(&self, counts: impl Fn(NodeId) -> bool) -> usize {
        if self.durable != self.vector {
            return 0;
        }
        let holds = |peer: &Peer| peer.heard && peer.holds.includes(&self.durable);
        self.peers.iter().filter(|(node, peer)| counts(**node) && holds(peer)).count()
    }

    /// Can this replica take from all others that are not away what it lacks, mutation after mutation? Then it need not be away either.
    pub fn is_level(&self, now: Now) -> bool {
        let heard = |peer: &&Peer| peer.heard && peer.heard_at + BACK_FOR > now.time;
        let mut present = self.peers.values().filter(|peer| !peer.away).filter(heard).peekable();
        present.peek().is_some()
            && self.incoming.is_none()
            && present.all(|peer| self.durable.includes(&peer.base))
    }

    /// A member that was not heard for so long, and for which more than `most` bytes are kept.
    pub fn is_kept_for(&self, silent: Duration, most: u64, now: Now) -> Option<NodeId> {
        if (self.kept.bytes() as u64) <= most {
            return None;
        }
        let lacks = |peer: &Peer| !peer.holds.includes(&self.kept.folded);
        let silent = |peer: &Peer| !peer.away && peer.heard_at + silent <= now.time;
        let peer = self.peers.iter().find(|(_, peer)| silent(peer) && lacks(peer));
        peer.map(|(node, _)| *node)
    }

    /// The bytes of what is kept since some member may ask for it, about.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.bytes() as u64
    }

    /// Is everything durable that the state of this key comes from?
    pub fn is_durable(&self, key: &[u8]) -> bool {
        self.unstable_at(key) == 0
    }

    /// The entry that has to be durable for an answer about this key; 0 if there is none.
    pub fn unstable_at(&self, key: &[u8]) -> u64 {
        if self.unstable.is_empty() && self.unstable_all <= self.persisted {
            return 0;
        }
        let of_key = self.unstable.get(&position_of(key)).copied().unwrap_or(0);
        if self.unstable_all > self.persisted { of_key.max(self.unstable_all) } else { of_key }
    }

    /// The last entry.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The last entry that is durable.
    pub fn persisted_index(&self) -> u64 {
        self.persisted
    }

    /// What was missed came as a fold or a state so often.
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// So often another replica had another state than it ought to.
    pub fn differences(&self) -> u64 {
        self.differences
    }

    /// Mutations that wait for what they depend on.
    pub fn held(&self) -> usize {
        self.held_count
    }

    /// Mutations that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Entries that are kept since some member may ask for them.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The latest time that was given or seen: to be kept with a snapshot.
    pub fn latest(&self) -> HybridTime {
        self.clock.latest()
    }

    /// Everything up to this entry is durable.
    pub fn persisted(&mut self, index: u64) {
        self.persisted = self.persisted.max(index);
        while let Some(done) = self.under_way.pop_front_if(|entry| entry.index <= self.persisted) {
            match done.known {
                Known::Mutation(dot) => self.durable.raise(dot.origin, dot.counter),
                Known::Steps(vector) => self.durable.merge(&vector),
            }
        }
        while let Some((index, position)) = self.touched.pop_front_if(|(index, _)| *index <= self.persisted) {
            if let Entry::Occupied(last) = self.unstable.entry(position)
                && *last.get() == index
            {
                last.remove();
            }
        }
    }

    /// Gives out what is to be done.
    pub fn finish(&mut self, now: Now) -> Effects {
        self.retry_held(now);
        self.retry_at = now.time + self.options.resend_after;
        self.repair(now);
        self.audit(now);
        self.ship(now);
        self.hint(now);
        self.forget_stable(now);
        std::mem::take(&mut self.effects)
    }

    /// Applies a mutation that is next, and logs it.
    fn apply(&mut self, merge: Merge, bytes: Bytes, now: Now) {
        self.table.apply(&merge);
        self.vector.raise(merge.dot.origin, merge.dot.counter);
        self.clock.observe(merge.time);
        if merge.dot.origin != self.options.origin {
            let late = Duration::from_millis(now.wall_ms.saturating_sub(merge.time.ms));
            self.staleness.add(late, now.time.0 / 1000);
        }
        let index = self.note(Known::Mutation(merge.dot), bytes.clone());
        let mut last: Option<&Bytes> = None;
        for key in merge.changes.iter().map(data::merged::Change::key) {
            // Of most mutations all changes are of one key.
            if last != Some(key) {
                let position = position_of(key);
                self.unstable.insert(position, index);
                self.touched.push_back((index, position));
            }
            last = Some(key);
        }
        self.kept.push(Logged { index, dot: merge.dot, bytes, at: now.time });
    }

    /// The next entry of the log.
    fn note(&mut self, known: Known, bytes: Bytes) -> u64 {
        self.last_index += 1;
        let index = self.last_index;
        self.under_way.push_back(UnderWay { index, known });
        self.effects.persist.push((index, bytes));
        index
    }

    /// What everybody holds need not be kept, and what is old is folded.
    fn forget_stable(&mut self, now: Now) {
        #[cfg(any(test, feature = "planted-bugs"))]
        let forgets = self.has_bug(Bug::ForgottenMeanwhile);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let forgets = false;
        if !self.knows_all_members {
            return;
        }
        if self.incoming.is_some() && !forgets {
            // What is made here until a state is here has to be added to it; and steps that were read elsewhere may be older than the moment
            // at which all came to hold what tells how much of them is new (seed 889 of the tests).
            return;
        }
        let mut stable = self.stable();
        // Who is back is not left behind again, and who takes a state asks for what came after its beginning.
        for peer in self.peers.values() {
            let is_back = peer.heard_at + BACK_FOR > now.time && peer.holds.includes(&self.kept.base);
            if peer.away && peer.heard && is_back {
                stable.meet(&peer.holds);
            }
        }
        self.outgoing.values().filter_map(Outgoing::since).for_each(|since| stable.meet(since));
        let counted = self.peers.values().filter(|peer| !peer.away).map(|peer| peer.origin);
        let counted: Vec<u64> = counted.chain([self.options.origin]).collect();
        let is_awaited = |origin: u64| !counted.contains(&origin);
        let somebody_away = self.peers.values().any(|peer| peer.away);
        #[cfg(any(test, feature = "planted-bugs"))]
        let somebody_away = somebody_away && !self.has_bug(Bug::SeenForgotten);
        self.kept.forget(&stable, self.persisted, somebody_away.then_some(&is_awaited));
        self.forget_former(somebody_away);
        // Who takes a state asks for what came after it one by one.
        while self.kept.recent_bytes() > self.options.recent_bytes
            && self.outgoing.is_empty()
            && self.kept.oldest().is_some_and(|entry| entry.index <= self.persisted)
        {
            if self.kept.has_unfolded() {
                // Much may be; it goes on with the next batch.
                self.kept.fold_some(FOLDED_AT_ONCE);
                break;
            }
            self.kept.fold_oldest();
        }
    }

    /// Once nobody is away, and all have told what they have since, and that is here, no additions will come to what was taken away before.
    fn forget_former(&mut self, somebody_away: bool) {
        if somebody_away || !self.kept.has_former() {
            self.nobody_away_since = None;
            return;
        }
        let since = self.nobody_away_since.get_or_insert_with(|| self.vector.clone());
        let has_told =
            |peer: &Peer| peer.heard && peer.holds.includes(since) && self.vector.includes(&peer.holds);
        if self.peers.values().all(has_told) {
            self.kept.drop_former();
            self.nobody_away_since = None;
        }
    }

    /// How much later than made, by the clocks of both, mutations of others came lately.
    pub fn staleness(&self) -> Option<Histogram> {
        self.staleness.shown()
    }

    #[cfg(any(test, feature = "planted-bugs"))]
    fn has_bug(&self, bug: Bug) -> bool {
        self.options.planted == Some(bug)
    }
}

#[cfg(test)]
mod tests;
