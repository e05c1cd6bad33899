//! Many mutations as few, for a replica that was away: of all that was done to an element meanwhile only what it needs.
//!
//! A fold takes mutations in the order in which a replica applied them, and keeps *steps*: changes that are applied in order, all
//! together. What a later one had seen and takes away anyway is left out: a value that was replaced, an addition that was removed. A
//! removal takes over what the one before had [`Seen`], since the replica that was away may have parts that only that one took
//! away. Additions of one origin become one, at the place of the first. Steps that nobody had seen are concurrent and stay.
//!
//! So a fold is as large as what was changed, however often (the delta of delta-state types, Almeida, Shoker and Baquero 2018, made of
//! operations). It can be taken by every replica that has all from before it, and whatever of it. One thing is not in it: what additions came
//! to at a point in the middle. A replica that knows the first of those in a step, and has no part since somebody took them away, finds it
//! in what that one had seen ([`resolve`]).

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::element::{Context, Seen};
use super::{Change, Dot, Facet, HybridTime, Merge, MergedTable, VersionVector, change};
use crate::table::{Malformed, Position, position_of};
use crate::varint::{self, Reader};

/// So many changes of elements of one key are stored together.
const STORED_TOGETHER: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// In the order in which tables have them: who applies them goes through memory in order.
    keys: BTreeMap<(Position, Bytes), OfKey>,
    len: usize,
    bytes: usize,
}

/// A change, and what it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    dot: Dot,
    time: HybridTime,
    /// What its origin had applied.
    vector: VersionVector,
    /// The number of the first of the additions that it is made of; otherwise its own.
    begin: u64,
    change: Change,
}

/// A part was added to in steps of which some are known, and is not there, and nobody is known who took it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl Step {
    /// Its name: that of the last mutation in it.
    pub fn dot(&self) -> Dot {
        self.dot
    }

    /// When it was made.
    pub fn time(&self) -> HybridTime {
        self.time
    }

    /// What it changes.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// What a mutation does, in order.
    pub fn all_of(merge: Merge) -> impl Iterator<Item = Step> {
        let Merge { dot, time, vector, changes } = merge;
        let step = move |change| Step { dot, time, vector: vector.clone(), begin: dot.counter, change };
        changes.into_iter().map(step)
    }

    /// Appends it.
    pub fn write(&self, out: &mut BytesMut) {
        varint::put(out, self.begin);
        // The length of what follows, which is mostly one byte.
        let at = out.len();
        out.put_u8(0);
        change::write(self.dot, self.time, &self.vector, std::slice::from_ref(&self.change), out);
        let length = out.len() - at - 1;
        if length < 0x80 {
            out[at] = length as u8;
        } else {
            let merge = out.split_off(at + 1);
            out.truncate(at);
            varint::put(out, length as u64);
            out.put_slice(&merge);
        }
    }

    /// The steps in `bytes`, as [`Step::write`] wrote them, one after the other.
    ///
    /// # Errors
    /// They are none.
    pub fn read_all(bytes: &Bytes) -> Result<Vec<Step>, Malformed> {
        let mut steps = Vec::new();
        Step::read_into(bytes, &mut steps)?;
        Ok(steps)
    }

    /// The same, behind others.
    ///
    /// # Errors
    /// They are none; some of them may have been added.
    pub fn read_into(bytes: &Bytes, steps: &mut Vec<Step>) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let begin = reader.varint()?;
            let merge = Merge::read(&mut Reader::new(reader.block()?), bytes)?;
            let Merge { dot, time, vector, mut changes } = merge;
            let change = changes.pop().filter(|_| changes.is_empty() && begin <= dot.counter);
            let change = change.ok_or(Malformed("a step that is not one change"))?;
            steps.push(Step { dot, time, vector, begin, change });
        }
        Ok(())
    }

    /// Are they applied together? What takes a key away and the string that the same mutation puts there (`SET`), or changes of elements of one key.
    fn goes_with(&self, next: &Step) -> bool {
        match (&self.change, &next.change) {
            (Change::Clear { .. }, Change::Put { facet: Facet::String, .. }) => self.dot == next.dot,
            (one, other) => {
                one.container().is_some() && one.facet() == other.facet() && one.key() == other.key()
            }
        }
    }

    fn context(&self) -> Context<'_> {
        Context { dot: self.dot, vector: &self.vector }
    }

    /// Another addition of the same run.
    fn go_on(&mut self, next: &Step) {
        if let (Change::Add { addition: sum, .. }, Change::Add { addition, .. }) =
            (&mut self.change, &next.change)
        {
            // They may overlap: what was before the first is what counts.
            let before = sum.total.saturating_sub(sum.amount);
            sum.total = addition.total;
            sum.amount = sum.total.saturating_sub(before);
        }
        (self.dot, self.time) = (next.dot, self.time.max(next.time));
        self.vector.merge(&next.vector);
    }

    /// Is an earlier step, which this one had seen, of no use beside this one? Then what that one had seen of parts is taken over.
    fn takes_over(&mut self, earlier: &Step) -> bool {
        match (&mut self.change, &earlier.change) {
            (
                Change::Put { facet, name, seen, .. } | Change::Remove { facet, name, seen, .. },
                Change::Put { facet: f, name: n, seen: former, .. }
                | Change::Remove { facet: f, name: n, seen: former, .. },
            ) if (&*facet, &*name) == (f, n) => absorb(seen, former),
            (
                Change::Put { facet, name, .. } | Change::Remove { facet, name, .. },
                Change::Add { facet: f, name: n, .. },
            ) if (&*facet, &*name) == (f, n) => {}
            (
                Change::Clear { seen, .. },
                Change::Put { facet, name, seen: former, .. }
                | Change::Remove { facet, name, seen: former, .. },
            ) => absorb_at(seen, *facet, name, former),
            (Change::Clear { seen, .. }, Change::Clear { seen: former, .. }) => {
                former.iter().for_each(|(facet, name, former)| absorb_at(seen, *facet, name, former));
            }
            (Change::Clear { .. }, Change::Add { .. }) => {}
            _ => return false,
        }
        true
    }

    /// What it had seen of parts, by place.
    fn all_seen(&self) -> Vec<(Facet, &Bytes, &[Seen])> {
        match &self.change {
            Change::Put { facet, name, seen, .. } | Change::Remove { facet, name, seen, .. } => {
                vec![(*facet, name, seen)]
            }
            Change::Clear { seen, .. } => {
                seen.iter().map(|(facet, name, seen)| (*facet, name, &seen[..])).collect()
            }
            Change::Add { .. } => Vec::new(),
        }
    }

    /// The bytes that it takes, about. An addition that goes on takes no more than its first.
    pub fn weight(&self) -> usize {
        // A vector is left out: additions gather origins in theirs.
        const FIXED: usize = 160;
        let of_change = match &self.change {
            Change::Put { key, name, value, seen, .. } => {
                key.len() + name.len() + value.len() + 32 * seen.len()
            }
            Change::Remove { key, name, seen, .. } => key.len() + name.len() + 32 * seen.len(),
            Change::Add { key, name, .. } => key.len() + name.len(),
            Change::Clear { key, seen } => {
                let places = seen.iter().map(|(_, name, seen)| 32 + name.len() + 32 * seen.len());
                key.len() + places.sum::<usize>()
            }
        };
        FIXED + of_change
    }

    /// What is left of it where it is known: what it had seen of the parts of those origins. `None`: nothing.
    pub fn seen_alone(&self, is_wanted: impl Fn(u64) -> bool) -> Option<Step> {
        let of = |seen: &[Seen]| -> Vec<Seen> {
            seen.iter().filter(|seen| is_wanted(seen.origin)).copied().collect()
        };
        let change = match &self.change {
            Change::Put { key, facet, name, seen, .. } | Change::Remove { key, facet, name, seen } => {
                let seen = of(seen);
                let (key, facet, name) = (key.clone(), *facet, name.clone());
                (!seen.is_empty()).then_some(Change::Remove { key, facet, name, seen })?
            }
            Change::Clear { key, seen } => {
                let seen = seen.iter().map(|(facet, name, seen)| (*facet, name.clone(), of(seen)));
                let seen: Vec<_> = seen.filter(|(.., seen)| !seen.is_empty()).collect();
                (!seen.is_empty()).then_some(Change::Clear { key: key.clone(), seen })?
            }
            Change::Add { .. } => return None,
        };
        Some(Step { change, ..self.clone() })
    }

    /// Had it seen parts of anything?
    pub fn has_seen(&self) -> bool {
        match &self.change {
            Change::Put { seen, .. } | Change::Remove { seen, .. } => !seen.is_empty(),
            Change::Clear { seen, .. } => !seen.is_empty(),
            Change::Add { .. } => false,
        }
    }

    /// Does this take something away to which the other adds?
    fn is_beneath(&self, other: &Step) -> bool {
        let Change::Add { facet, name, .. } = &other.change else { return false };
        match &self.change {
            Change::Put { facet: f, name: n, .. } | Change::Remove { facet: f, name: n, .. } => {
                (facet, name) == (f, n)
            }
            Change::Clear { .. } => true,
            Change::Add { .. } => false,
        }
    }
}

/// The steps of a key, each with its place among them.
#[derive(Clone, Debug, Default)]
struct OfKey {
    elements: BTreeMap<(Facet, Bytes), Vec<(u64, Step)>>,
    /// Those that are about all elements.
    clears: Vec<(u64, Step)>,
    next: u64,
}

impl OfKey {
    fn len(&self) -> usize {
        self.elements.values().map(Vec::len).sum::<usize>() + self.clears.len()
    }

    fn weight(&self) -> usize {
        self.elements.values().flatten().chain(&self.clears).map(|(_, step)| step.weight()).sum()
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Takes those of an element out that are of no use beside a later step which had seen them. `covered`: what that one had seen.
fn take_over(by: &mut Step, covered: &VersionVector, steps: &mut Vec<(u64, Step)>) {
    let mut place = 0;
    while place < steps.len() {
        let earlier = &steps[place].1;
        // Additions which it had not seen depend on what is before them.
        let unseen = |(_, other): &(u64, Step)| !covered.covers(other.dot) && earlier.is_beneath(other);
        let is_of_no_use = covered.covers(earlier.dot) && !steps[place + 1..].iter().any(unseen);
        match is_of_no_use && by.takes_over(earlier) {
            true => {
                steps.remove(place);
            }
            false => place += 1,
        }
    }
}

impl Fold {
    /// Of nothing.
    pub fn new() -> Fold {
        Fold::default()
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All steps, in order.
    pub fn for_each(&self, mut take: impl FnMut(&Step)) {
        let mut in_order: Vec<&(u64, Step)> = Vec::new();
        for steps in self.keys.values() {
            in_order.extend(steps.elements.values().flatten().chain(&steps.clears));
            in_order.sort_unstable_by_key(|(place, _)| *place);
            in_order.drain(..).for_each(|(_, step)| take(step));
        }
    }

    /// The next mutation in order.
    pub fn take(&mut self, merge: Merge) {
        Step::all_of(merge).for_each(|step| self.take_step(step));
    }

    /// The next step of another fold. It must not be known already, or known in part at the most.
    pub fn take_step(&mut self, mut step: Step) {
        let key = step.change.key();
        let steps = self.keys.entry((position_of(key), key.clone())).or_default();
        let mut covered = step.vector.clone();
        // A mutation that puts something and then takes it away has seen what it has put.
        covered.raise(step.dot.origin, step.dot.counter);
        let (element, addition) = match &step.change {
            Change::Put { facet, name, .. } | Change::Remove { facet, name, .. } => {
                (Some((*facet, name.clone())), None)
            }
            Change::Add { facet, name, addition, .. } => (Some((*facet, name.clone())), Some(addition.first)),
            Change::Clear { .. } => (None, None),
        };
        let place = steps.next();
        let weigh = |steps: &[(u64, Step)]| steps.iter().map(|(_, step)| step.weight()).sum::<usize>();
        match (element, addition) {
            (Some(element), Some(first)) => {
                let of_element = steps.elements.entry(element).or_default();
                let is_of_run = |(_, earlier): &&mut (u64, Step)| {
                    matches!(&earlier.change, Change::Add { addition, .. } if addition.first == first)
                        && earlier.dot.origin == step.dot.origin
                };
                match of_element.iter_mut().rev().find(is_of_run) {
                    Some((_, last)) => last.go_on(&step),
                    None => {
                        self.bytes += step.weight();
                        push(of_element, (place, step));
                        self.len += 1;
                    }
                }
            }
            (Some(element), None) => {
                let of_element = steps.elements.entry(element).or_default();
                self.len -= of_element.len();
                self.bytes -= weigh(of_element);
                take_over(&mut step, &covered, of_element);
                push(of_element, (place, step));
                self.len += of_element.len();
                self.bytes += weigh(of_element);
            }
            (None, _) => {
                self.len -= steps.len();
                self.bytes -= steps.weight();
                for of_element in steps.elements.values_mut() {
                    take_over(&mut step, &covered, of_element);
                }
                steps.elements.retain(|_, of_element| !of_element.is_empty());
                let is_unseen = |(_, other): &&(u64, Step)| {
                    matches!(other.change, Change::Add { .. }) && !covered.covers(other.dot)
                };
                let unseen = steps.elements.values().flatten().filter(is_unseen).map(|(at, _)| *at).max();
                steps.clears.retain(|(at, earlier)| {
                    let is_of_no_use =
                        covered.covers(earlier.dot) && unseen.is_none_or(|unseen| unseen < *at);
                    !(is_of_no_use && step.takes_over(earlier))
                });
                push(&mut steps.clears, (place, step));
                self.len += steps.len();
                self.bytes += steps.weight();
            }
        }
    }
}

/// There is mostly one, and a step is large: no more room is made than for that.
fn push(steps: &mut Vec<(u64, Step)>, step: (u64, Step)) {
    if steps.capacity() == 0 {
        steps.reserve_exact(1);
    }
    steps.push(step);
}

/// Of each origin the most that either had seen.
fn absorb(seen: &mut Vec<Seen>, former: &[Seen]) {
    for former in former {
        match seen.iter_mut().find(|seen| seen.origin == former.origin) {
            Some(seen) if seen.last < former.last => *seen = *former,
            Some(_) => {}
            None => seen.push(*former),
        }
    }
}

fn absorb_at(all: &mut Vec<(Facet, Bytes, Vec<Seen>)>, facet: Facet, name: &Bytes, former: &[Seen]) {
    if former.is_empty() {
        return;
    }
    match all.iter_mut().find(|(other, at, _)| (*other, &at[..]) == (facet, &name[..])) {
        Some((.., seen)) => absorb(seen, former),
        None => all.push((facet, name.clone(), former.to_vec())),
    }
}

/// Key, facet and name.
type Place = (Bytes, Facet, Bytes);

/// What steps had seen of parts.
fn seen_by_place<'a>(steps: impl Iterator<Item = &'a Step>) -> BTreeMap<Place, Vec<Seen>> {
    let mut all: BTreeMap<Place, Vec<Seen>> = BTreeMap::new();
    for step in steps {
        for (facet, name, seen) in step.all_seen().into_iter().filter(|(.., seen)| !seen.is_empty()) {
            all.entry((step.change.key().clone(), facet, name.clone())).or_default().extend(seen);
        }
    }
    all
}

/// What of steps is not known, for a replica with this state. `known`: what of a facet of a key is applied; the caller sees to it that all
/// from before the fold is. `others`: steps that the replica keeps itself. Who took away what it has no part of is among them, or among
/// the steps: all hold whatever is in neither, and then the additions before it are not in the fold.
///
/// # Errors
/// See [`Ambiguous`]; but for what is said above, it cannot be.
pub fn resolve<'a>(
    mut steps: Vec<Step>,
    table: &MergedTable,
    known: impl Fn(Facet, &[u8]) -> &'a VersionVector,
    others: &dyn Fn() -> Vec<Step>,
) -> Result<Vec<Step>, Ambiguous> {
    // How much of each step is not known. What is left of those of which some is, in order.
    let mut unknown = Vec::with_capacity(steps.len());
    let mut rests = VecDeque::new();
    // It is seldom needed.
    let mut all_seen: Option<BTreeMap<Place, Vec<Seen>>> = None;
    for step in &steps {
        let Change::Add { key, facet, name, addition } = &step.change else {
            // What it does not know of any facet.
            let facets: &[Facet] = match &step.change {
                Change::Put { facet, .. } | Change::Remove { facet, .. } => std::slice::from_ref(facet),
                _ => &Facet::ALL,
            };
            let is_new = facets.iter().any(|facet| !known(*facet, step.change.key()).covers(step.dot));
            unknown.push(if is_new { Unknown::All } else { Unknown::Nothing });
            continue;
        };
        let known = known(*facet, key).get(step.dot.origin);
        if known >= step.dot.counter {
            unknown.push(Unknown::Nothing);
            continue;
        }
        if known < step.begin || table.element(key, *facet, name).has_part_of(step.dot.origin) {
            unknown.push(Unknown::All);
            continue;
        }
        let all_seen = all_seen.get_or_insert_with(|| seen_by_place(steps.iter().chain(&others())));
        let at_place = all_seen.get(&(key.clone(), *facet, name.clone())).into_iter().flatten();
        let of_origin = at_place.filter(|seen| seen.origin == step.dot.origin && seen.last <= known);
        let taken = of_origin.max_by_key(|seen| seen.last).ok_or(Ambiguous)?;
        if taken.last < step.begin && taken.last != addition.before {
            return Err(Ambiguous);
        }
        let mut rest = step.clone();
        rest.begin = known + 1;
        if let (Change::Add { addition, .. }, true) = (&mut rest.change, taken.last >= step.begin) {
            addition.before = taken.last;
            addition.amount = addition.total.saturating_sub(taken.total);
        }
        unknown.push(Unknown::Rest);
        rests.push_back(rest);
    }
    let mut unknown = unknown.into_iter();
    steps.retain_mut(|step| match unknown.next() {
        Some(Unknown::All) => true,
        Some(Unknown::Rest) => rests.pop_front().map(|rest| *step = rest).is_some(),
        Some(Unknown::Nothing) | None => false,
    });
    Ok(steps)
}

/// How much of a step a replica does not know.
#[derive(Clone, Copy, Debug)]
enum Unknown {
    All,
    /// What came after the first of its additions.
    Rest,
    Nothing,
}

impl MergedTable {
    /// Applies steps, in order, as [`resolve`] gave them for this state and with the same `known`.
    pub fn apply_steps<'a>(&mut self, steps: &[Step], known: impl Fn(Facet, &[u8]) -> &'a VersionVector) {
        for steps in steps.chunk_by(Step::goes_with) {
            let Some(Step { dot, time, vector, change, .. }) = steps.first() else { continue };
            let Some((facet, kind)) = change.container() else {
                let changes = steps.iter().map(|step| &step.change);
                let is_new = |facet, key: &[u8]| !known(facet, key).covers(*dot);
                self.apply_changes(*dot, *time, vector, changes, is_new);
                continue;
            };
            let key = change.key();
            let known = known(facet, key);
            // Many new elements in one piece would each move those behind it.
            for steps in steps.chunks(STORED_TOGETHER) {
                let new = steps.iter().filter(|step| !known.covers(step.dot));
                let changes = new.map(|step| (step.context(), step.time, &step.change));
                self.change_all(key, facet, kind, changes);
            }
        }
    }
}
