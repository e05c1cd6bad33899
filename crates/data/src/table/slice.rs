//! Snapshots: the table as bytes, piece by piece, while it goes on changing.
//!
//! A slice is a sequence of entries as `entry` lays them out, each with its version; slices may be joined. A snapshot is
//! fuzzy: slices are taken between mutations. Loading it and applying all mutations since before its first slice gives
//! the exact state, since mutations are absolute (see `mutation`).

use bytes::BytesMut;

use crate::entry::Entry;
use crate::table::{Malformed, Position, Table};
use crate::varint::Reader;

impl Table {
    /// Appends entries at or after `from` to `out`, in order of position, until `out` holds `max_bytes` or the table
    /// ends (at least one position's entries, however large). Returns the position to go on from, `None` at the end.
    pub fn slice(&self, from: Position, max_bytes: usize, out: &mut BytesMut) -> Option<Position> {
        let mut last = None;
        for (position, entry) in self.entries_from(from) {
            // Entries of one position go together: a cursor cannot stand between them.
            if last.is_some_and(|last| last != position) && out.len() >= max_bytes {
                return Some(position);
            }
            last = Some(position);
            out.reserve(entry.encoded_bytes());
            entry.write(out);
        }
        None
    }

    /// Loads what [`Table::slice`] wrote. Entries already there are replaced.
    ///
    /// # Errors
    /// The bytes are not a slice; nothing was loaded.
    pub fn load(&mut self, slice: &[u8]) -> Result<(), Malformed> {
        self.load_if(slice, |entry| entry.check_value())
    }

    /// The same with another look at what is inside.
    pub(crate) fn load_if(
        &mut self,
        slice: &[u8],
        check: impl Fn(&Entry<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        entries(slice).try_for_each(|entry| entry.and_then(|entry| check(&entry)))?;
        entries(slice).try_for_each(|entry| entry.map(|entry| self.put(&entry)))
    }
}

/// The entries in a slice.
fn entries(slice: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Malformed>> {
    let mut reader = Some(Reader::new(slice));
    std::iter::from_fn(move || {
        let rest = reader.as_mut().filter(|rest| !rest.is_empty())?;
        let entry = Entry::read(rest);
        if entry.is_err() {
            reader = None;
        }
        Some(entry)
    })
}
