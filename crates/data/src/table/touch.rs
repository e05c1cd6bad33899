//! Fetching what mutations will change into the cache, for several of them at once.
//!
//! A look-up in a big table waits for memory twice, one wait after the other: for the slots of a leaf, then for the entry. Applied
//! one after the other, mutations do so in turn. Here each step is taken for all of them before the next one, so that the processor
//! waits for all slots at once, and then for all entries at once. It changes nothing and decides nothing.

use std::hint::black_box;

use crate::table::{Position, Table, position_of};

/// Most keys that are looked at together: enough to wait together, few enough that nothing is pushed out of the cache again.
const TOUCHED_AT_ONCE: usize = 32;

impl Table {
    /// Fetches the entries of these keys into the cache, or the places where they would stand; of the first
    /// [`Table::TOUCHED_AT_ONCE`].
    pub fn touch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut places: [(Position, usize, usize); TOUCHED_AT_ONCE] = [(0, 0, 0); TOUCHED_AT_ONCE];
        let mut count = 0;
        for (place, key) in places.iter_mut().zip(keys) {
            let position = position_of(key);
            *place = (position, self.leaves.find(position), 0);
            count += 1;
        }
        let places = &mut places[..count];
        // The sums keep the compiler from leaving the loads out.
        let slots = places.iter().map(|&(position, leaf, _)| self.leaves.leaf(leaf).touch_slots(position));
        black_box(slots.fold(0, |sum, slot| sum ^ slot));
        for (position, leaf, index) in &mut *places {
            *index = self.leaves.leaf(*leaf).lower_bound(*position);
        }
        let entries = places.iter().map(|&(_, leaf, index)| self.leaves.leaf(leaf).touch_entry(index));
        black_box(entries.fold(0, |sum, entry| sum ^ entry));
    }

    /// How many keys [`Table::touch`] looks at.
    pub const TOUCHED_AT_ONCE: usize = TOUCHED_AT_ONCE;
}
