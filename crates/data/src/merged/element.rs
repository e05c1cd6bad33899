//! One element as all replicas have it in the end.
//!
//! **Versions.** A mutation that puts a value, or removes the element, takes away those versions that its vector covers. Applied in any order
//! that keeps causes before effects the same versions are left: a version goes exactly if some mutation covers it.
//!
//! **Parts.** What an origin adds is one number that grows (or falls) from addition to addition: `total`, as of its addition
//! `last`, since `first`. A mutation that puts or removes says what it had [`Seen`] of each part; `floor` is the most of a part that any
//! such mutation had seen, and the part counts for `total - floor`. If everything of a part was seen it is gone. An addition says what
//! the total was before it, so one that comes to a replica where all before it was taken away already finds its floor there. So
//! an increment at the same time as a `DEL` or a `SET` counts, once, and nothing before it does: where a counter is one number for each origin
//! that a removal can only drop as a whole (Almeida and Baquero 2019, section on embedded counters), what was there before comes back with it.

use bytes::{BufMut, Bytes};

use super::{Change, Dot, VersionVector};
use crate::table::Malformed;
use crate::varint::{self, Reader};

/// Hybrid time (Kulkarni et al. 2014): milliseconds of wall clock, and a number that orders what is of one millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HybridTime {
    /// Milliseconds since the epoch.
    pub ms: u64,
    /// Within the millisecond.
    pub logical: u32,
}

/// A value that was put, and that nobody who had seen it has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The mutation that put it.
    pub dot: Dot,
    /// When.
    pub time: HybridTime,
    /// What.
    pub value: Bytes,
}

impl Version {
    /// Of two that were put at the same time the later one is shown; the origin decides what the clocks do not.
    fn precedence(&self) -> (HybridTime, Dot) {
        (self.time, self.dot)
    }
}

/// What one origin has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Who.
    pub origin: u64,
    /// Its first addition, since there last was none of it here.
    pub first: u64,
    /// Its last one.
    pub last: u64,
    /// The sum since the first.
    pub total: i128,
    /// The last addition that somebody had seen who put or removed the element; 0 if nobody had.
    pub floor_at: u64,
    /// The sum up to there.
    pub floor: i128,
}

/// How much of a part somebody had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose part.
    pub origin: u64,
    /// Up to which addition.
    pub last: u64,
    /// The sum up to there.
    pub total: i128,
}

/// An addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The origin's first one, since it last had no part here (this one, if it is the first).
    pub first: u64,
    /// The one before; 0 if this is the first.
    pub before: u64,
    /// What it adds.
    pub amount: i128,
    /// The sum since the first.
    pub total: i128,
}

/// The causal context of a mutation: what its origin had applied, and itself, since one that puts something and then takes it away has
/// seen what it has put.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The mutation.
    pub dot: Dot,
    /// What its origin had applied.
    pub vector: &'a VersionVector,
}

impl Context<'_> {
    /// Had whoever made it seen this?
    pub fn covers(&self, dot: Dot) -> bool {
        let is_own = dot.origin == self.dot.origin && dot.counter <= self.dot.counter;
        is_own || self.vector.covers(dot)
    }
}

/// The bytes of a version beside its value and of a part, mostly: to ask for memory once.
const VERSION_BYTES: usize = 24;
const PART_BYTES: usize = 24;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// In the order of their dots.
    versions: Vec<Version>,
    /// In the order of their origins.
    parts: Vec<Part>,
}

impl Element {
    /// Has it neither versions nor parts? Then it is not there.
    pub fn is_absent(&self) -> bool {
        self.versions.is_empty() && self.parts.is_empty()
    }

    /// The values that were put at the same time.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The one that is shown.
    pub fn winner(&self) -> Option<&Version> {
        self.versions.iter().max_by_key(|version| version.precedence())
    }

    /// Does anything but versions make the value?
    pub fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Has this origin added to it what nobody has taken away?
    pub fn has_part_of(&self, origin: u64) -> bool {
        self.parts.iter().any(|part| part.origin == origin)
    }

    /// What each origin has added, as far as nobody has taken it away.
    pub fn parts(&self) -> impl Iterator<Item = (u64, i128)> {
        self.parts.iter().map(|part| (part.origin, part.total.saturating_sub(part.floor)))
    }

    /// The sum of all that was added.
    pub fn sum(&self) -> i128 {
        self.parts().fold(0, |sum: i128, (_, amount)| sum.saturating_add(amount))
    }

    /// All that is there of the parts: what somebody who puts or removes now has seen.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = |part: &Part| Seen { origin: part.origin, last: part.last, total: part.total };
        self.parts.iter().map(seen).collect()
    }

    /// The next addition of this origin, as the mutation with number `counter`.
    pub fn addition(&self, origin: u64, counter: u64, amount: i128) -> Addition {
        match self.parts.iter().find(|part| part.origin == origin) {
            Some(part) => {
                let total = part.total.saturating_add(amount);
                Addition { first: part.first, before: part.last, amount, total }
            }
            None => Addition { first: counter, before: 0, amount, total: amount },
        }
    }

    /// Somebody who had applied that, and had seen that much of the parts, removes the element.
    pub fn remove(&mut self, context: Context<'_>, seen: &[Seen]) {
        #[cfg(test)]
        if fault::is(Fault::RemovedWithoutContext) {
            self.versions.clear();
        }
        #[cfg(test)]
        if fault::is(Fault::NothingReplaced) {
            return;
        }
        self.versions.retain(|version| !context.covers(version.dot));
        for seen in seen {
            let Some(place) = self.parts.iter().position(|part| part.origin == seen.origin) else { continue };
            let part = &mut self.parts[place];
            #[cfg(test)]
            if fault::is(Fault::PartDroppedWhole) {
                self.parts.remove(place);
                continue;
            }
            #[cfg(test)]
            if fault::is(Fault::FirstForgotten) {
                part.first = 0;
            }
            #[cfg(test)]
            if fault::is(Fault::FloorLowered) {
                part.floor_at = 0;
            }
            if seen.last >= part.last {
                self.parts.remove(place);
            } else if seen.last >= part.first && seen.last > part.floor_at {
                (part.floor_at, part.floor) = (seen.last, seen.total);
            }
        }
    }

    /// The same, and puts a value in its place.
    pub fn put(&mut self, version: Version, context: Context<'_>, seen: &[Seen]) {
        self.remove(context, seen);
        let place = self.versions.partition_point(|other| other.dot < version.dot);
        self.versions.insert(place, version);
    }

    /// The mutation of this name adds.
    pub fn add(&mut self, dot: Dot, addition: &Addition) {
        let Addition { first, before, amount, total } = *addition;
        match self.parts.iter_mut().find(|part| part.origin == dot.origin) {
            #[cfg(test)]
            Some(part) if fault::is(Fault::AddedTwice) => {
                (part.last, part.total) = (dot.counter, total + amount);
            }
            Some(part) => (part.last, part.total) = (dot.counter, total),
            None => {
                // What was before was taken away here: all of it was seen.
                let (floor_at, floor) =
                    if before == 0 { (0, 0) } else { (before, total.saturating_sub(amount)) };
                #[cfg(test)]
                let (floor_at, floor) =
                    if fault::is(Fault::FloorForgotten) { (0, 0) } else { (floor_at, floor) };
                let place = self.parts.partition_point(|part| part.origin < dot.origin);
                let part = Part { origin: dot.origin, first, last: dot.counter, total, floor_at, floor };
                self.parts.insert(place, part);
            }
        }
    }

    /// A change of this element alone.
    pub(super) fn change(&mut self, context: Context<'_>, time: HybridTime, change: &Change) {
        match change {
            Change::Put { value, seen, .. } => {
                self.put(Version { dot: context.dot, time, value: value.clone() }, context, seen);
            }
            Change::Remove { seen, .. } => self.remove(context, seen),
            Change::Add { addition, .. } => self.add(context.dot, addition),
            Change::Clear { .. } => {}
        }
    }

    /// The bytes of it: the same for all replicas.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let values = self.versions.iter().map(|version| version.value.len()).sum::<usize>();
        out.reserve(1 + values + VERSION_BYTES * self.versions.len() + PART_BYTES * self.parts.len());
        varint::put(out, self.versions.len() as u64);
        self.versions.iter().for_each(|version| write_version(version, out));
        for part in &self.parts {
            for number in [part.origin, part.first, part.last, part.floor_at] {
                varint::put(out, number);
            }
            put_amount(out, part.total);
            if part.floor_at > 0 {
                put_amount(out, part.floor);
            }
        }
    }

    /// The element of these bytes, the values copied.
    ///
    /// # Errors
    /// They are not one.
    pub(crate) fn read(bytes: &[u8]) -> Result<Element, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut element = Element::default();
        for _ in 0..reader.varint()? {
            let dot = Dot { origin: reader.varint()?, counter: reader.varint()? };
            let time = HybridTime { ms: reader.varint()?, logical: narrow(reader.varint()?)? };
            let value = Bytes::copy_from_slice(reader.block()?);
            element.versions.push(Version { dot, time, value });
        }
        while !reader.is_empty() {
            let (origin, first, last, floor_at) =
                (reader.varint()?, reader.varint()?, reader.varint()?, reader.varint()?);
            let total = read_amount(&mut reader)?;
            let floor = if floor_at > 0 { read_amount(&mut reader)? } else { 0 };
            element.parts.push(Part { origin, first, last, total, floor_at, floor });
        }
        let is_in_order = element.versions.is_sorted_by(|one, next| one.dot < next.dot)
            && element.parts.is_sorted_by(|one, next| one.origin < next.origin);
        if is_in_order { Ok(element) } else { Err(Malformed("an element out of order")) }
    }
}

/// The bytes of an element with nothing but this version.
pub(super) fn write_alone(version: &Version, out: &mut Vec<u8>) {
    out.reserve(1 + VERSION_BYTES + version.value.len());
    varint::put(out, 1);
    write_version(version, out);
}

fn write_version(Version { dot, time, value }: &Version, out: &mut Vec<u8>) {
    for number in [dot.origin, dot.counter, time.ms, u64::from(time.logical), value.len() as u64] {
        varint::put(out, number);
    }
    out.put_slice(value);
}

/// The value that is shown, if nothing was added to it: read where it is.
pub(super) fn plain_winner(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let mut winner: Option<((HybridTime, Dot), &[u8])> = None;
    for _ in 0..reader.varint().ok()? {
        let dot = Dot { origin: reader.varint().ok()?, counter: reader.varint().ok()? };
        let time = HybridTime { ms: reader.varint().ok()?, logical: narrow(reader.varint().ok()?).ok()? };
        let value = reader.block().ok()?;
        if winner.is_none_or(|(latest, _)| latest < (time, dot)) {
            winner = Some(((time, dot), value));
        }
    }
    winner.filter(|_| reader.is_empty()).map(|(_, value)| value)
}

/// Has it nothing but versions of which `covers` says so? Then nothing is left of it when whoever had applied them removes it. Read where it is.
pub(super) fn is_covered(bytes: &[u8], covers: impl Fn(Dot) -> bool) -> bool {
    let mut reader = Reader::new(bytes);
    let mut look = || {
        for _ in 0..reader.varint()? {
            let dot = Dot { origin: reader.varint()?, counter: reader.varint()? };
            reader.varint()?;
            reader.varint()?;
            reader.block()?;
            if !covers(dot) {
                return Ok(false);
            }
        }
        Ok::<bool, Malformed>(reader.is_empty())
    };
    look().unwrap_or(false)
}

fn narrow(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed("a number is too long"))
}

/// An amount: sign in the lowest bit, so that small ones are short, then the low and the high half.
pub(super) fn put_amount(out: &mut impl BufMut, amount: i128) {
    let folded = ((amount << 1) ^ (amount >> 127)) as u128;
    varint::put(out, folded as u64);
    varint::put(out, (folded >> 64) as u64);
}

pub(super) fn read_amount(reader: &mut Reader<'_>) -> Result<i128, Malformed> {
    let folded = u128::from(reader.varint()?) | u128::from(reader.varint()?) << 64;
    Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
}

/// Faults built in on purpose, one at a time, to show that the tests find them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A removal takes versions away that whoever made it had not seen.
    RemovedWithoutContext,
    /// What was replaced stays.
    NothingReplaced,
    /// Of a part everything goes if anything of it was seen.
    PartDroppedWhole,
    /// What was seen of a part that began anew since counts.
    FirstForgotten,
    /// Who had seen less lowers the floor.
    FloorLowered,
    /// An addition that comes after a removal which had not seen it brings all before it back.
    FloorForgotten,
    /// An addition counts twice.
    AddedTwice,
    /// Who gives rights away goes on with them.
    GivenAndKept,
}

#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub fn is(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}
