//! What a replica has missed: taken from one other replica, piece after piece, all asked for by who takes it.
//!
//! - *Steps*: what the giver has kept, folded. They are applied all together, since what is in them depends on one another in any way.
//! - A *state*: slices, each of the moment at which it was read, and then what came after the first of them, as steps. Writes that the giver
//!   has not got are not in it: they are in what the taker has kept itself, and are applied to the new state in turn. The new state
//!   is made durable before it is looked at; until then the replica goes on with the one that it has.
//!
//! A giver gives nothing out that is not durable with it: it might die and use its names again. It keeps a list of pieces for each taker, and
//! folds nothing as long as somebody takes something, so that steps after a state are single mutations.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use data::merged::{HybridTime, MergedTable, Step, VersionVector, resolve};

#[cfg(any(test, feature = "planted-bugs"))]
use super::Bug;
use super::kept::Kept;
use super::message::{Body, Want, What};
use super::state::{Cursor, Meta, START, Slices, Which, slice_chunk, steps_chunk};
use super::{Causal, Event, Known, Message, Peer, SILENT, StateFile};
use crate::NodeId;
use crate::time::{Now, Time};

/// A giver is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// A giver that has not answered for this long is given up.
const GIVE_UP: Duration = Duration::from_secs(3);
/// A taker that has not asked for this long is forgotten.
const FORGET_TAKER: Duration = Duration::from_secs(20);
/// So many pieces of steps are on their way at a time.
const PIECES_AHEAD: u32 = 32;
/// What an entry of steps takes beside them, mostly: to ask for memory once.
const ENTRY_BYTES: usize = 256;
/// To apply what was missed takes long enough, and nothing is sent meanwhile: what others lack that is kept here goes out first. Whoever has not
/// asked for it is waited for so long,
const OTHERS_ASK: Duration = Duration::from_millis(300);
/// and who has asked for some of it within this time has not got all of it.
const OTHERS_TAKE: Duration = Duration::from_millis(250);
/// But for no longer than this.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// Something that is missing may be on its way for this long.
const PATIENCE: Duration = Duration::from_millis(100);
/// An entry of steps begins with this byte; mutations begin with theirs, which is another.
pub(super) const STEPS_ENTRY: u8 = 0x80;

/// What is given to another replica.
#[derive(Debug)]
pub(super) struct Outgoing {
    id: u64,
    /// Steps in pieces.
    steps: Option<List>,
    /// What is asked for, if it may be given once more is durable.
    later: Option<Want>,
    /// A slice that may be given once what it has is durable.
    slice: Option<Read>,
    /// The next one, which will be asked for: what it has may be durable by then.
    next_slice: Option<Read>,
    /// What was applied when the state was begun with.
    since: Option<VersionVector>,
    asked_at: Time,
}

/// A slice, read when the last entry was that one.
#[derive(Debug)]
struct Read {
    from: Cursor,
    next: Option<Cursor>,
    index: u64,
    body: Body,
}

impl Outgoing {
    /// If it is a state: who takes it will ask for what came after this.
    pub fn since(&self) -> Option<&VersionVector> {
        self.since.as_ref()
    }
}

/// Steps in pieces.
#[derive(Debug)]
struct List {
    /// Another one whenever they are cut anew: pieces of two lists do not fit together.
    number: u64,
    pieces: Vec<Bytes>,
    /// So many of them are on their way, or there.
    sent: usize,
    /// How many were there when it was asked last, and when that changed.
    have: usize,
    have_since: Time,
    /// What is known with all of them.
    vector: VersionVector,
}

/// What is taken from another replica.
#[derive(Debug)]
pub(super) struct Incoming {
    from: NodeId,
    id: u64,
    asked_at: Time,
    heard_at: Time,
    /// The state, if it is one, as far as it has come.
    state: Option<IncomingState>,
    /// Steps, of so many pieces of the list of that number. They are read as they come: to apply them takes long enough.
    steps: Vec<Step>,
    pieces: u32,
    list: u64,
    /// The bytes of those pieces.
    bytes: usize,
    /// What is known with all of them.
    vector: VersionVector,
    /// Pieces that came before others which come before them.
    ahead: BTreeMap<u32, Bytes>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Slices, from there on.
    Slices(Cursor),
    Steps,
    /// All is there, since then.
    There(Time),
    /// It is on its way to the disk.
    Written,
}

#[derive(Debug, Default)]
struct IncomingState {
    table: MergedTable,
    slices: Slices,
    /// Nothing in them is of later than this.
    latest: HybridTime,
    chunks: Vec<Bytes>,
    /// The steps behind the slices.
    steps: Vec<Step>,
    /// What tells what was taken away before: of steps that are in the slices, and of what the giver had forgotten.
    former: Vec<Step>,
    /// What is known with them.
    given: VersionVector,
    /// What was made here.
    own: Vec<Step>,
    /// What is known with all of it, and the last entry here that is in it.
    vector: VersionVector,
    index: u64,
}

impl Causal {
    /// When something of this is due.
    pub(super) fn repair_at(&self) -> Time {
        let asks_at = self.incoming.as_ref().map_or(Time::NEVER, |incoming| match incoming.stage {
            Stage::Slices(_) | Stage::Steps => incoming.asked_at + ASK_AGAIN,
            Stage::There(since) => self.others_have_at(since),
            Stage::Written => Time::NEVER,
        });
        let lacks = self.peers.values().filter_map(|peer| peer.lacking_since).min();
        let lacks_at = match self.incoming {
            None => lacks.map_or(Time::NEVER, |since| (since + PATIENCE).max(self.repair_again_at)),
            Some(_) => Time::NEVER,
        };
        let forgets = self.outgoing.values().map(|outgoing| outgoing.asked_at + FORGET_TAKER).min();
        asks_at.min(lacks_at).min(forgets.unwrap_or(Time::NEVER))
    }

    /// When those will have the steps that they lack and that are kept here, by what they ask for. All is there that this replica takes itself,
    /// since then.
    fn others_have_at(&self, since: Time) -> Time {
        let is_there = |peer: &Peer| peer.heard && peer.heard_at + SILENT > since;
        let have_at = |(node, peer): (&NodeId, &Peer)| match self.outgoing.get(node) {
            Some(outgoing) => outgoing.asked_at + OTHERS_TAKE,
            None if is_there(peer) && !peer.holds.includes(&self.kept.asked_for) => since + OTHERS_ASK,
            None => since,
        };
        let all_have_at = self.peers.iter().map(have_at).max();
        all_have_at.unwrap_or(since).min(since + WAIT_FOR_OTHERS)
    }

    /// Asks for what is missed, gives what was waiting for the disk.
    pub(super) fn repair(&mut self, now: Now) {
        self.outgoing.retain(|_, outgoing| outgoing.asked_at + FORGET_TAKER > now.time);
        let persisted = self.persisted;
        for (&node, outgoing) in &mut self.outgoing {
            if let Some(read) = outgoing.slice.take_if(|read| read.index <= persisted) {
                self.effects.send.push((node, Message::Piece { id: outgoing.id, body: read.body }));
            }
        }
        if self.kept.fold_index <= persisted {
            let wants =
                self.outgoing.iter_mut().filter_map(|(node, outgoing)| Some((*node, outgoing.later.take()?)));
            let wants: Vec<(NodeId, Want)> = wants.collect();
            wants.into_iter().for_each(|(node, want)| self.on_want(node, want, now));
        }
        for peer in self.peers.values_mut() {
            let lacks = peer.heard && !self.vector.includes(&peer.folded);
            peer.lacking_since = lacks.then(|| peer.lacking_since.unwrap_or(now.time));
        }
        self.wants_state &= self.peers.values().any(|peer| peer.lacking_since.is_some());
        let is_member = |node: &NodeId| self.peers.contains_key(node);
        match &self.incoming {
            Some(Incoming { stage: Stage::Written, .. }) => {}
            Some(Incoming { stage: Stage::There(since), from, .. }) if is_member(from) => {
                if self.others_have_at(*since) <= now.time {
                    self.take_incoming(now);
                }
            }
            Some(incoming) if !is_member(&incoming.from) || incoming.heard_at + GIVE_UP <= now.time => {
                self.incoming = None;
                self.begin_repair(now);
            }
            Some(incoming) if incoming.asked_at + ASK_AGAIN <= now.time => self.ask(now),
            Some(_) => {}
            None if self.repair_again_at > now.time => {}
            None => self.begin_repair(now),
        }
    }

    fn begin_repair(&mut self, now: Now) {
        let is_late = |since: Time| since + PATIENCE <= now.time || self.is_blank();
        let lacking = self.peers.iter().filter(|(_, peer)| peer.lacking_since.is_some_and(is_late));
        // The one that was heard last, rather one that has what is missing in steps.
        let has_steps = |base: &VersionVector| !self.wants_state && self.vector.includes(base);
        let best = lacking.max_by_key(|(_, peer)| (has_steps(&peer.base), !peer.away, peer.heard_at));
        let is_member = |node: &NodeId| self.peers.contains_key(node);
        let (from, has_steps) = match (self.audits.rebuild_from().filter(is_member), best) {
            (Some(from), _) => (from, false),
            (None, Some((&from, peer))) => {
                // What one keeps no more another one may, which need not have folded it.
                let keeps = |other: &Peer| {
                    other.heard && has_steps(&other.base) && other.holds.includes(&peer.folded)
                };
                let other = self.peers.iter().find(|(_, other)| !has_steps(&peer.base) && keeps(other));
                other.map_or((from, has_steps(&peer.base)), |(&other, _)| (other, true))
            }
            (None, None) => return,
        };
        self.next_want += 1;
        self.incoming = Some(Incoming {
            from,
            id: self.next_want,
            asked_at: now.time,
            heard_at: now.time,
            state: (!has_steps).then(IncomingState::default),
            steps: Vec::new(),
            pieces: 0,
            list: 0,
            bytes: 0,
            vector: VersionVector::new(),
            ahead: BTreeMap::new(),
            stage: if has_steps { Stage::Steps } else { Stage::Slices(START) },
        });
        self.ask(now);
    }

    fn ask(&mut self, now: Now) {
        let Some(incoming) = &mut self.incoming else { return };
        let what = match incoming.stage {
            Stage::Slices(from) => What::State { from },
            Stage::Steps => What::Steps { list: incoming.list, have: incoming.pieces },
            Stage::There(_) | Stage::Written => return,
        };
        incoming.asked_at = now.time;
        // Behind a state: what came after its first slice.
        let vector = match &incoming.state {
            Some(state) => {
                state.slices.0.first().map_or_else(VersionVector::new, |(_, vector)| vector.clone())
            }
            None => self.vector.clone(),
        };
        let want = Want { id: incoming.id, vector, what };
        self.effects.send.push((incoming.from, Message::Want(want)));
    }

    /// Another replica has missed something.
    pub(super) fn on_want(&mut self, from: NodeId, want: Want, now: Now) {
        if !self.peers.contains_key(&from) {
            return;
        }
        let fresh = || Outgoing {
            id: want.id,
            steps: None,
            later: None,
            slice: None,
            next_slice: None,
            since: None,
            asked_at: now.time,
        };
        let outgoing = self.outgoing.entry(from).or_insert_with(fresh);
        if outgoing.id > want.id {
            return;
        }
        if outgoing.id < want.id {
            *outgoing = fresh();
        }
        outgoing.asked_at = now.time;
        outgoing.later = None;
        match want.what {
            What::State { from: cursor } => {
                if outgoing.since.is_none() {
                    outgoing.since = Some(self.vector.clone());
                }
                let read = |from: Cursor| {
                    let mut slice = BytesMut::new();
                    let next = self.table.slice(from, self.options.slice_bytes, &mut slice);
                    let bytes = slice_chunk(from.0, &slice);
                    let (vector, latest) = (self.vector.clone(), self.clock.latest());
                    let body = Body::Slice { from, next, vector, latest, bytes };
                    Read { from, next, index: self.last_index, body }
                };
                let ahead = outgoing.next_slice.take().filter(|ahead| ahead.from == cursor);
                let slice = ahead.unwrap_or_else(|| read(cursor));
                outgoing.next_slice = slice.next.map(read);
                outgoing.slice = Some(slice);
                // What was made for another state of this taker is of no use.
                outgoing.steps = None;
            }
            What::Steps { list, have } => {
                if !want.vector.includes(&self.kept.base) {
                    self.effects.send.push((from, Message::Piece { id: want.id, body: Body::Gone }));
                    return;
                }
                if outgoing.steps.is_none() {
                    if self.kept.fold_index > self.persisted {
                        outgoing.later = Some(want);
                        return;
                    }
                    let mut pieces = Pieces::new(&want.vector, self.options.slice_bytes);
                    self.kept.for_all(self.persisted, &mut |step| pieces.push(step));
                    let pieces = pieces.finish();
                    self.next_want += 1;
                    let number = self.options.life.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.next_want;
                    let vector = self.durable.clone();
                    let (sent, have, have_since) = (0, 0, now.time);
                    outgoing.steps = Some(List { number, pieces, sent, have, have_since, vector });
                }
                let Some(list_here) = &mut outgoing.steps else { return };
                let number = &list_here.number;
                #[cfg(any(test, feature = "planted-bugs"))]
                let list = if self.options.planted == Some(Bug::ListsMixed) { *number } else { list };
                let have = if list == *number { have as usize } else { 0 };
                let is_stuck = have == list_here.have && list_here.have_since + ASK_AGAIN / 2 <= now.time;
                if have != list_here.have || is_stuck {
                    (list_here.have, list_here.have_since) = (have, now.time);
                }
                if is_stuck || list_here.sent < have {
                    // What was on its way is lost.
                    list_here.sent = have;
                }
                let up_to = (have + PIECES_AHEAD as usize).min(list_here.pieces.len());
                let of = list_here.pieces.len() as u32;
                for place in list_here.sent..up_to {
                    let (list, number, vector) = (list_here.number, place as u32, list_here.vector.clone());
                    let body =
                        Body::Steps { list, number, of, vector, bytes: list_here.pieces[place].clone() };
                    self.effects.send.push((from, Message::Piece { id: want.id, body }));
                }
                list_here.sent = list_here.sent.max(up_to);
            }
        }
    }

    /// A piece of what is missed has come.
    pub(super) fn on_piece(&mut self, from: NodeId, id: u64, body: Body, now: Now) {
        let Some(incoming) = &mut self.incoming else { return };
        if (incoming.from, incoming.id) != (from, id) {
            return;
        }
        incoming.heard_at = now.time;
        match (body, incoming.stage) {
            (Body::Gone, Stage::Steps) => {
                let had_state = incoming.state.is_some();
                self.incoming = None;
                // It said before that it keeps more: it will say what it keeps now.
                self.wants_state |= !had_state;
            }
            (Body::Slice { from: at, next, vector, latest, bytes }, Stage::Slices(wanted))
                if at == wanted =>
            {
                let Some(state) = &mut incoming.state else { return };
                let is_slice = bytes.first().is_some_and(|&first| first == slice_chunk(at.0, &[])[0]);
                if !is_slice || state.table.load(at.0, &bytes[1..]).is_err() {
                    self.incoming = None;
                    return self.effects.events.push(Event::Malformed { from });
                }
                state.slices.0.push((at, vector));
                state.latest = state.latest.max(latest);
                state.chunks.push(bytes);
                incoming.stage = next.map_or(Stage::Steps, Stage::Slices);
                self.ask(now);
            }
            (Body::Steps { list, number, of, vector, bytes }, Stage::Steps) => {
                #[cfg(any(test, feature = "planted-bugs"))]
                if self.options.planted == Some(Bug::ListsMixed) {
                    incoming.list = list;
                }
                if list != incoming.list {
                    (incoming.list, incoming.steps, incoming.pieces) = (list, Vec::new(), 0);
                    incoming.bytes = 0;
                    incoming.ahead.clear();
                }
                let have = incoming.pieces;
                if !(have..have.saturating_add(PIECES_AHEAD)).contains(&number) {
                    return;
                }
                incoming.ahead.insert(number, bytes);
                while let Some(next) = incoming.ahead.remove(&incoming.pieces) {
                    if Step::read_into(&next, &mut incoming.steps).is_err() {
                        self.incoming = None;
                        return self.effects.events.push(Event::Malformed { from });
                    }
                    incoming.pieces += 1;
                    incoming.bytes += next.len();
                }
                if incoming.pieces == have {
                    return;
                }
                if incoming.pieces < of {
                    return self.ask(now);
                }
                (incoming.vector, incoming.stage) = (vector, Stage::There(now.time));
                if self.others_have_at(now.time) <= now.time {
                    self.take_incoming(now);
                }
            }
            _ => {}
        }
    }

    /// All pieces have come: applies them.
    fn take_incoming(&mut self, now: Now) {
        let Some(mut incoming) = self.incoming.take() else { return };
        let from = incoming.from;
        let (steps, vector) = (std::mem::take(&mut incoming.steps), std::mem::take(&mut incoming.vector));
        // As a mutation by itself would wait for this node's clock, so do all of these.
        let limit_ms = now.wall_ms.saturating_add(self.options.max_skew.as_millis() as u64);
        if let Some(ahead) = steps.iter().find(|step| step.time().ms > limit_ms) {
            let (origin, ahead_ms) = (ahead.dot().origin, ahead.time().ms - now.wall_ms);
            return self.effects.events.push(Event::Skewed { origin, ahead_ms });
        }
        let Some(mut state) = incoming.state.take() else {
            return self.take_steps(from, steps, incoming.bytes, &vector, now);
        };
        if state.latest.ms > limit_ms {
            let origin = self.peers.get(&from).map_or(0, |peer| peer.origin);
            let ahead_ms = state.latest.ms - now.wall_ms;
            return self.effects.events.push(Event::Skewed { origin, ahead_ms });
        }
        // What is not kept here any more has to be in it.
        if !vector.includes(&state.slices.all()) || !vector.includes(&self.kept.base) {
            return;
        }
        let slices = &state.slices;
        let nothing = VersionVector::new();
        let known = |facet, key: &[u8]| slices.of(facet, key).unwrap_or(&nothing);
        let former: Vec<Step> = steps.iter().filter(|step| step.has_seen()).cloned().collect();
        let Ok(steps) = resolve(steps, &state.table, known, &Vec::new) else { return };
        state.table.apply_steps(&steps, known);
        // And what was made here.
        let own = self.kept.all_steps(u64::MAX);
        #[cfg(any(test, feature = "planted-bugs"))]
        let own = if self.has_bug(Bug::StateWithoutOwn) { Vec::new() } else { own };
        let Ok(own) = resolve(own, &state.table, |_, _| &vector, &|| former.clone()) else { return };
        state.table.apply_steps(&own, |_, _| &vector);
        (state.steps, state.former, state.given) = (steps, former, vector.clone());
        (state.own, state.vector) = (own, vector);
        state.vector.merge(&self.vector);
        state.index = self.last_index;
        self.effects.state = Some(self.file_of(&state));
        incoming.state = Some(state);
        incoming.stage = Stage::Written;
        self.incoming = Some(incoming);
    }

    /// Applies steps, as an entry of the log of about so many bytes.
    fn take_steps(&mut self, from: NodeId, steps: Vec<Step>, bytes: usize, vector: &VersionVector, now: Now) {
        if self.vector.includes(vector) {
            return;
        }
        let mut bytes = BytesMut::with_capacity(bytes + ENTRY_BYTES);
        bytes.put_u8(STEPS_ENTRY);
        vector.encode(&mut bytes);
        let known = self.vector.clone();
        let others = || self.kept.all_steps(u64::MAX);
        let Ok(new) = resolve(steps, &self.table, |_, _| &known, &others) else {
            // Others who were not away know what it lacks to read this; or only a state is left.
            self.wants_state = self.peers.values().all(|peer| !peer.away);
            self.repair_again_at = now.time + ASK_AGAIN;
            return;
        };
        new.iter().for_each(|step| step.write(&mut bytes));
        self.table.apply_steps(&new, |_, _| &known);
        self.learn(&new, vector);
        let index = self.note(Known::Steps(vector.clone()), bytes.freeze());
        self.unstable_all = index;
        self.kept.take_steps(new, vector, index);
        self.repairs += 1;
        self.effects.events.push(Event::Repaired { from, with_state: false });
    }

    /// What these steps brought is applied.
    pub(super) fn learn(&mut self, steps: &[Step], vector: &VersionVector) {
        self.vector.merge(vector);
        steps.iter().for_each(|step| self.clock.observe(step.time()));
    }

    /// What a state has to be made durable with.
    fn file_of(&self, state: &IncomingState) -> StateFile {
        let from = state.slices.0.first().map_or_else(VersionVector::new, |(_, vector)| vector.clone());
        let mut latest = self.clock;
        latest.observe(state.latest);
        state.steps.iter().chain(&state.own).for_each(|step| latest.observe(step.time()));
        let mut chunks = state.chunks.clone();
        let all = [(&state.steps, Which::Kept), (&state.own, Which::Own), (&state.former, Which::Former)];
        for (steps, which) in all {
            let pieces = pieces_of(steps, self.options.slice_bytes);
            chunks.extend(pieces.iter().map(|piece| steps_chunk(piece, which)));
        }
        let meta = Meta {
            base: state.given.clone(),
            from,
            given: state.given.clone(),
            to: state.vector.clone(),
            index: self.last_index,
            latest: latest.latest(),
            slices: state.slices.clone(),
        };
        StateFile { chunks, meta: meta.encode(), index: self.last_index }
    }

    /// The state that came from elsewhere is durable, in the file that was given out: it takes the place of the one that is here.
    pub fn state_is_durable(&mut self) {
        let Some(incoming) = self.incoming.take_if(|incoming| incoming.stage == Stage::Written) else {
            return;
        };
        let Some(mut state) = incoming.state else { return };
        // What was made here meanwhile.
        let mut late = Vec::new();
        self.kept.for_recent(state.index, u64::MAX, &mut |step| late.push(step.clone()));
        let others = || state.former.iter().chain(&state.own).cloned().collect();
        let Ok(late) = resolve(late, &state.table, |_, _| &state.vector, &others) else { return };
        state.table.apply_steps(&late, |_, _| &state.vector);
        let IncomingState { table, steps, given, own, vector, latest, mut former, .. } = state;
        // What this replica knew of what was taken away is as good as what the giver knew.
        self.kept.for_all(u64::MAX, &mut |step| former.extend(step.has_seen().then(|| step.clone())));
        self.learn(&steps, &vector);
        self.clock.observe(latest);
        let own = own.into_iter().chain(late).collect();
        let mut table_before = std::mem::replace(&mut self.table, table);
        self.table.take_conflicts(&mut table_before);
        self.wants_state = false;
        self.audits.is_rebuilt();
        self.kept = Kept::of(given, own, self.vector.clone(), self.last_index, former);
        self.durable.merge(&vector);
        self.repairs += 1;
        self.effects.events.push(Event::Repaired { from: incoming.from, with_state: true });
    }

    /// The state that came from elsewhere could not be made durable.
    pub fn state_failed(&mut self) {
        self.incoming.take_if(|incoming| incoming.stage == Stage::Written);
    }
}

/// The steps that `known` does not cover, and those that tell what others took away ([`resolve`]), in pieces; at least one.
pub(super) struct Pieces<'a> {
    known: &'a VersionVector,
    piece_bytes: usize,
    pieces: Vec<Bytes>,
    piece: BytesMut,
}

impl<'a> Pieces<'a> {
    pub fn new(known: &'a VersionVector, piece_bytes: usize) -> Pieces<'a> {
        Pieces { known, piece_bytes, pieces: Vec::new(), piece: BytesMut::new() }
    }

    pub fn push(&mut self, step: &Step) {
        if self.known.covers(step.dot()) && !step.has_seen() {
            return;
        }
        step.write(&mut self.piece);
        if self.piece.len() >= self.piece_bytes {
            self.pieces.push(self.piece.split().freeze());
        }
    }

    pub fn finish(mut self) -> Vec<Bytes> {
        if !self.piece.is_empty() || self.pieces.is_empty() {
            self.pieces.push(self.piece.freeze());
        }
        self.pieces
    }
}

/// All of these.
pub(super) fn pieces_of(steps: &[Step], piece_bytes: usize) -> Vec<Bytes> {
    let nothing = VersionVector::new();
    let mut pieces = Pieces::new(&nothing, piece_bytes);
    steps.iter().for_each(|step| pieces.push(step));
    pieces.finish()
}
