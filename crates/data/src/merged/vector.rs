//! What a replica has applied: of each origin everything up to a number.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::table::Malformed;
use crate::varint::{self, Reader};

/// The name of a mutation: who made it, and which of its own it is, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The replica that made it.
    pub origin: u64,
    /// Its number.
    pub counter: u64,
}

/// Of each origin a number: everything up to it (Parker et al. 1983). An origin that is not in it has 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionVector {
    /// In the order of their origins; there are few, and vectors are copied and compared for every mutation, so the usual ones
    /// stand here and not behind a pointer.
    counters: SmallVec<[Dot; 4]>,
}

impl VersionVector {
    /// Of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of an origin.
    pub fn get(&self, origin: u64) -> u64 {
        self.place(origin).map_or(0, |place| self.counters[place].counter)
    }

    fn place(&self, origin: u64) -> Result<usize, usize> {
        self.counters.binary_search_by_key(&origin, |dot| dot.origin)
    }

    /// Everything of `origin` up to `counter`, if it was less.
    pub fn raise(&mut self, origin: u64, counter: u64) {
        if counter > 0 {
            match self.place(origin) {
                Ok(place) => self.counters[place].counter = counter.max(self.counters[place].counter),
                Err(place) => self.counters.insert(place, Dot { origin, counter }),
            }
        }
    }

    /// Is this mutation among them?
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.get(dot.origin)
    }

    /// Is everything that `other` has among them?
    pub fn includes(&self, other: &VersionVector) -> bool {
        other.counters.iter().all(|dot| self.covers(*dot))
    }

    /// What either has.
    pub fn merge(&mut self, other: &VersionVector) {
        other.counters.iter().for_each(|dot| self.raise(dot.origin, dot.counter));
    }

    /// What both have.
    pub fn meet(&mut self, other: &VersionVector) {
        self.counters.retain_mut(|dot| {
            dot.counter = dot.counter.min(other.get(dot.origin));
            dot.counter > 0
        });
    }

    /// The origins and their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Dot> {
        self.counters.iter().copied()
    }

    /// An origin that is no more, and of which nobody holds anything.
    pub fn forget(&mut self, origin: u64) {
        self.counters.retain(|dot| dot.origin != origin);
    }

    /// Appends it, for [`VersionVector::decode`].
    pub fn encode(&self, out: &mut BytesMut) {
        self.write(out);
    }

    /// Takes one off the front of `bytes`.
    ///
    /// # Errors
    /// There is none.
    pub fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let vector = VersionVector::read(&mut reader)?;
        let taken = bytes.len() - reader.remaining();
        bytes.advance(taken);
        Ok(vector)
    }

    /// Appends it.
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        varint::put(out, self.counters.len() as u64);
        for dot in &self.counters {
            varint::put(out, dot.origin);
            varint::put(out, dot.counter);
        }
    }

    /// Reads what [`VersionVector::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut vector = VersionVector::new();
        let mut last = None;
        for _ in 0..reader.varint()? {
            let (origin, counter) = (reader.varint()?, reader.varint()?);
            if counter == 0 || last.is_some_and(|last| last >= origin) {
                return Err(Malformed("a version vector out of order"));
            }
            last = Some(origin);
            vector.counters.push(Dot { origin, counter });
        }
        Ok(vector)
    }
}

impl FromIterator<(u64, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(counters: I) -> Self {
        let mut vector = VersionVector::new();
        counters.into_iter().for_each(|(origin, counter)| vector.raise(origin, counter));
        vector
    }
}
