//! Snapshots of this replica's own state, taken while it serves, and the start from one.

use bytes::{Buf, Bytes, BytesMut};
use data::merged::{Merge, Step, VersionVector};

use super::kept::{Kept, Logged};
use super::repair::{Pieces, STEPS_ENTRY};
use super::state::{Cursor, Meta, START, Slices, State, Which, slice_chunk, steps_chunk};
use super::{Causal, Known, Recovered};
use crate::merged::clock::HybridClock;
use crate::time::Now;

/// A snapshot that is being taken.
#[derive(Debug)]
pub struct Taking {
    meta: Meta,
    /// What is kept for others, and of what is forgotten, as it was at the beginning.
    steps: Vec<(Bytes, Which)>,
    next: Option<Cursor>,
    /// The last entry when the last slice was read.
    last_index: u64,
}

impl Taking {
    /// The last entry of the log that is in it.
    pub fn index(&self) -> u64 {
        self.meta.index
    }
}

impl Causal {
    /// Begins a snapshot.
    pub fn begin_snapshot(&self) -> Taking {
        let nothing = VersionVector::new();
        let (mut kept, mut former) = (
            Pieces::new(&nothing, self.options.slice_bytes),
            Pieces::new(&nothing, self.options.slice_bytes),
        );
        self.kept.for_each(u64::MAX, &mut |step| kept.push(step));
        self.kept.for_former(|step| former.push(step));
        let with = |pieces: Pieces<'_>, which| pieces.finish().into_iter().map(move |piece| (piece, which));
        let mut steps: Vec<(Bytes, Which)> =
            with(kept, Which::Kept).chain(with(former, Which::Former)).collect();
        steps.retain(|(piece, _)| !piece.is_empty());
        // They are taken from the end.
        steps.reverse();
        Taking {
            meta: Meta {
                base: self.kept.base.clone(),
                from: self.vector.clone(),
                given: self.vector.clone(),
                to: self.vector.clone(),
                index: self.last_index,
                latest: self.latest(),
                slices: Slices::default(),
            },
            steps,
            next: Some(START),
            last_index: self.last_index,
        }
    }

    /// The next chunk; `None` when there are no more.
    pub fn snapshot_chunk(&self, taking: &mut Taking) -> Option<Bytes> {
        if let Some((steps, which)) = taking.steps.pop() {
            return Some(steps_chunk(&steps, which));
        }
        let cursor = taking.next?;
        let mut slice = BytesMut::new();
        taking.next = self.table.slice(cursor, self.options.slice_bytes, &mut slice);
        taking.meta.slices.0.push((cursor, self.vector.clone()));
        taking.last_index = self.last_index;
        Some(slice_chunk(cursor.0, &slice))
    }

    /// What stands beside the chunks, once it may be written: when the log holds all that is in any of them durably.
    pub fn snapshot_end(&self, taking: &Taking) -> Option<Bytes> {
        let is_whole = taking.next.is_none() && taking.steps.is_empty();
        (is_whole && self.persisted >= taking.last_index).then(|| taking.meta.encode())
    }

    /// Starts from what storage found.
    pub(super) fn recover(&mut self, recovered: Recovered, now: Now) -> Result<(), &'static str> {
        let mut slices = Slices::default();
        if let Some((state, meta)) = recovered.state {
            let meta = Meta::decode(meta).map_err(|malformed| malformed.0)?;
            slices = self.recover_state(state, meta)?;
        }
        let in_state = self.last_index;
        for (index, bytes) in recovered.log {
            if index <= in_state {
                continue;
            }
            self.last_index = index - 1;
            match bytes.first() {
                Some(&STEPS_ENTRY) => self.recover_steps(bytes, &mut slices)?,
                _ => self.recover_mutation(bytes, &slices, now)?,
            }
        }
        match self.vector.includes(&slices.all()) {
            true => Ok(()),
            false => Err("a state lacks the entries of the log that belong to it"),
        }
    }

    fn recover_state(&mut self, state: State, meta: Meta) -> Result<Slices, &'static str> {
        let Meta { base, from, given, to, index, latest, slices } = meta;
        let State { mut table, steps, own, former } = state;
        let known = |facet, key: &[u8]| slices.of(facet, key).unwrap_or(&from);
        // They were resolved when they came. Those of a snapshot of our own are in it already.
        table.apply_steps(&steps, known);
        table.apply_steps(&own, |_, _| &given);
        // Of a state from elsewhere all but what was made here is in its base.
        let steps = steps.into_iter().filter(|step| !base.covers(step.dot()));
        let kept = steps.chain(own).collect();
        self.table = table;
        self.vector = to;
        self.clock = HybridClock::after(latest);
        self.last_index = index;
        self.kept = Kept::of(base, kept, self.vector.clone(), index, former);
        let mut slices = slices;
        // The steps are in all of them now; those of a snapshot of our own were before.
        slices.merge(&self.vector.clone());
        Ok(slices)
    }

    fn recover_mutation(&mut self, bytes: Bytes, slices: &Slices, now: Now) -> Result<(), &'static str> {
        let merge = Merge::decode(&bytes).map_err(|malformed| malformed.0)?;
        if !self.vector.includes(&merge.vector) {
            return Err("a mutation stands before what it depends on");
        }
        let dot = merge.dot;
        self.table
            .apply_where(&merge, |facet, key| !slices.of(facet, key).is_some_and(|known| known.covers(dot)));
        self.vector.raise(dot.origin, dot.counter);
        self.clock.observe(merge.time);
        let index = self.note(Known::Mutation(dot), Bytes::new());
        self.kept.push(Logged { index, dot, bytes, at: now.time });
        Ok(())
    }

    fn recover_steps(&mut self, mut bytes: Bytes, slices: &mut Slices) -> Result<(), &'static str> {
        bytes.advance(1);
        let vector = VersionVector::decode(&mut bytes).map_err(|malformed| malformed.0)?;
        let steps = Step::read_all(&bytes).map_err(|malformed| malformed.0)?;
        slices.merge(&self.vector);
        let all = self.vector.clone();
        self.table.apply_steps(&steps, |facet, key| slices.of(facet, key).unwrap_or(&all));
        self.learn(&steps, &vector);
        let index = self.note(Known::Steps(vector.clone()), Bytes::new());
        self.kept.take_steps(steps, &vector, index);
        Ok(())
    }
}
