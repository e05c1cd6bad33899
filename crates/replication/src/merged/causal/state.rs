//! A state as it stands in a file, and as it comes from another replica.
//!
//! It is read slice after slice while writes go on, so each slice is of another moment: beside it stands the vector of that moment. A mutation
//! is applied to a slice if its vector does not cover it. So the slices, and all mutations from the first slice on, give an exact
//! state, whatever order they come in.
//!
//! ```text
//! chunk  0xE0 + facet, slice         or  0xE8, steps (what is kept for others; of a state from elsewhere also what came after its slices)
//!        or  0xE9, steps (of a state from elsewhere: what was made here and is not in it)
//!        or  0xEA, steps (what is kept of those that are forgotten)
//! meta   version (1), base, from, given, to, index (8), milliseconds (8), logical (4), then for each slice: facet, position (8), vector
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::Position;
use data::merged::{Facet, HybridTime, MergedTable, Step, VersionVector};
use data::table::{Malformed, position_of};

const VERSION: u8 = 1;
const SLICE: u8 = 0xe0;
const STEPS: u8 = 0xe8;
const OWN_STEPS: u8 = 0xe9;
const FORMER_STEPS: u8 = 0xea;

/// Which steps are in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those kept for others, or those that came after the slices.
    Kept,
    /// Those made here that are not in the state.
    Own,
    /// What is left of those that are forgotten.
    Former,
}

/// Where a slice begins.
pub type Cursor = (Facet, Position);

/// The first.
pub const START: Cursor = (Facet::String, 0);

/// What is in the chunks of a state.
#[derive(Debug, Default)]
pub struct State {
    /// The slices.
    pub table: MergedTable,
    /// What is kept for others.
    pub steps: Vec<Step>,
    /// What was made here and is not in it.
    pub own: Vec<Step>,
    /// What is kept of steps that are forgotten.
    pub former: Vec<Step>,
}

/// Is it a chunk of such a state, and not of a table?
pub fn is_chunk(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&first| first >= SLICE)
}

/// The chunk of a slice.
pub(super) fn slice_chunk(facet: Facet, slice: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(slice.len() + 1);
    out.put_u8(SLICE + facet as u8);
    out.put_slice(slice);
    out.freeze()
}

/// The chunk of steps.
pub(super) fn steps_chunk(steps: &[u8], which: Which) -> Bytes {
    let mut out = BytesMut::with_capacity(steps.len() + 1);
    out.put_u8(match which {
        Which::Kept => STEPS,
        Which::Own => OWN_STEPS,
        Which::Former => FORMER_STEPS,
    });
    out.put_slice(steps);
    out.freeze()
}

impl State {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is none.
    pub fn load(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        let (&kind, rest) = chunk.split_first().ok_or(Malformed("an empty chunk"))?;
        if kind >= STEPS {
            let steps = Step::read_all(&Bytes::copy_from_slice(rest))?;
            match kind {
                STEPS => self.steps.extend(steps),
                OWN_STEPS => self.own.extend(steps),
                FORMER_STEPS => self.former.extend(steps),
                _ => return Err(Malformed("a chunk of an unknown kind")),
            }
            return Ok(());
        }
        let facet = kind.checked_sub(SLICE).ok_or(Malformed("a chunk of an unknown kind"))?;
        self.table.load(Facet::from_number(facet)?, rest)
    }
}

/// What stands beside the chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// What is kept for others is from here on.
    pub base: VersionVector,
    /// All that was applied when the first slice was read.
    pub from: VersionVector,
    /// All that is known with the steps; and with those of what was made here, too.
    pub given: VersionVector,
    pub to: VersionVector,
    /// The entries of the log up to this one are in it.
    pub index: u64,
    /// The latest time that was given or seen.
    pub latest: HybridTime,
    pub slices: Slices,
}

/// Where slices begin, in order, and what each of them has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slices(pub Vec<(Cursor, VersionVector)>);

impl Slices {
    /// What the slice with this facet of the key has; `None`: all have the same.
    pub fn of(&self, facet: Facet, key: &[u8]) -> Option<&VersionVector> {
        let at = (facet, position_of(key));
        let behind = self.0.partition_point(|(cursor, _)| *cursor <= at);
        self.0.get(behind.checked_sub(1)?).map(|(_, vector)| vector)
    }

    /// What some of them has.
    pub fn all(&self) -> VersionVector {
        let mut all = VersionVector::new();
        self.0.iter().for_each(|(_, vector)| all.merge(vector));
        all
    }

    /// All of them have this, too.
    pub fn merge(&mut self, vector: &VersionVector) {
        self.0.iter_mut().for_each(|(_, known)| known.merge(vector));
    }
}

impl Meta {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        self.base.encode(&mut out);
        self.from.encode(&mut out);
        self.given.encode(&mut out);
        self.to.encode(&mut out);
        out.put_u64_le(self.index);
        out.put_u64_le(self.latest.ms);
        out.put_u32_le(self.latest.logical);
        for ((facet, position), vector) in &self.slices.0 {
            out.put_u8(*facet as u8);
            out.put_u64_le(*position);
            vector.encode(&mut out);
        }
        out.freeze()
    }

    /// # Errors
    /// They are none.
    pub fn decode(mut bytes: Bytes) -> Result<Meta, Malformed> {
        const CUT: Malformed = Malformed("the description of a state is cut off");
        if bytes.try_get_u8().map_err(|_| CUT)? != VERSION {
            return Err(Malformed("a state of an unknown version"));
        }
        let base = VersionVector::decode(&mut bytes)?;
        let from = VersionVector::decode(&mut bytes)?;
        let given = VersionVector::decode(&mut bytes)?;
        let to = VersionVector::decode(&mut bytes)?;
        let index = bytes.try_get_u64_le().map_err(|_| CUT)?;
        let ms = bytes.try_get_u64_le().map_err(|_| CUT)?;
        let logical = bytes.try_get_u32_le().map_err(|_| CUT)?;
        let mut slices = Vec::new();
        while !bytes.is_empty() {
            let facet = Facet::from_number(bytes.get_u8())?;
            let position = bytes.try_get_u64_le().map_err(|_| CUT)?;
            slices.push(((facet, position), VersionVector::decode(&mut bytes)?));
        }
        let latest = HybridTime { ms, logical };
        Ok(Meta { base, from, given, to, index, latest, slices: Slices(slices) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_state_comes_back() {
        let vector = |counter| VersionVector::from_iter([(1, counter), (3, 7)]);
        let slices = vec![(START, vector(5)), ((Facet::Set, 77), vector(9))];
        let latest = HybridTime { ms: 5, logical: 6 };
        let meta = Meta {
            base: vector(1),
            from: vector(2),
            given: vector(3),
            to: vector(9),
            index: 44,
            latest,
            slices: Slices(slices),
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(bytes.clone()), Ok(meta.clone()));
        // A state without its last slices is cut where it may be: the rest of it has to be cut off as well.
        let whole = Meta { slices: Slices(Vec::new()), ..meta.clone() }.encode().len();
        for length in (0..bytes.len()).filter(|length| *length != whole && *length != whole + 14) {
            assert!(Meta::decode(bytes.slice(..length)).is_err(), "cut at {length}");
        }
        assert_eq!(meta.slices.of(Facet::Hash, b"k"), Some(&vector(5)));
        assert_eq!(meta.slices.of(Facet::SortedSet, b"k"), Some(&vector(9)));
        assert_eq!(meta.slices.all(), vector(9));
    }
}
