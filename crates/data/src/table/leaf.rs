//! A leaf: some hundred entries whose positions lie next to one another, packed into one allocation.
//!
//! `positions` (sorted) and `offsets` run side by side; an offset says where in `arena` the entry's encoding starts
//! (see `entry`). A changed entry of another length goes to the arena's end and leaves a gap; gaps are squeezed out when
//! they make up a fifth. So an entry costs 12 bytes and its gaps over its encoding. Long entries are held apart: in
//! `apart`, with room to grow, and the arena has only a stub with their number.

use crate::entry::{APART, Entry, ValueRef};
use crate::table::{Digest, Position, apart::Apart};
use crate::varint::{self, Reader};

/// A leaf with more entries is split.
const SPLIT_ENTRIES: usize = 512;

/// A leaf whose arena holds more is split, so that squeezing and growing stay quick.
const SPLIT_BYTES: usize = 64 * 1024;

/// A leaf with fewer entries is merged with a neighbour, if the two together are well below the limits above.
const MERGE_ENTRIES: usize = 64;

/// Gaps below this are not worth squeezing out.
const GAP_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Leaf {
    positions: Vec<Position>,
    offsets: Vec<u32>,
    arena: Vec<u8>,
    /// Bytes of the arena that no entry uses any more.
    gap_bytes: usize,
    /// Long entries; a stub names its place here.
    apart: Vec<Option<Box<Apart>>>,
    /// Free places in `apart`.
    free: Vec<u32>,
}

impl Leaf {
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// The first entry at or after `position`.
    pub fn lower_bound(&self, position: Position) -> usize {
        self.positions.partition_point(|&other| other < position)
    }

    /// The entry of `key`: its index, or where it would stand.
    pub fn find(&self, position: Position, key: &[u8]) -> Result<usize, usize> {
        let mut index = self.lower_bound(position);
        while self.positions.get(index) == Some(&position) {
            if self.entry(index).key == key {
                return Ok(index);
            }
            index += 1;
        }
        Err(index)
    }

    pub fn entry(&self, index: usize) -> Entry<'_> {
        match self.apart_number(index) {
            Some(number) => self.apart(number).entry(),
            None => self.packed(index).0,
        }
    }

    /// What the entry adds to the digest.
    pub fn digest(&self, index: usize) -> Digest {
        match self.apart_number(index) {
            Some(number) => self.apart(number).digest(),
            None => {
                let (_, length) = self.packed(index);
                let start = self.offsets[index] as usize;
                crate::entry::encoding_digest(&self.arena[start..start + length])
            }
        }
    }

    /// The long entry at `index`, if it is one.
    pub fn apart_mut(&mut self, index: usize) -> Option<&mut Apart> {
        let number = self.apart_number(index)?;
        self.apart[number].as_deref_mut()
    }

    /// Memory that the entry takes, roughly.
    pub fn memory_bytes(&self, index: usize) -> usize {
        let per_entry = size_of::<Position>() + size_of::<u32>();
        per_entry
            + match self.apart_number(index) {
                Some(number) => self.apart(number).memory_bytes(),
                None => self.packed(index).1,
            }
    }

    /// Puts a new entry at `index`, where [`Leaf::find`] said.
    pub fn insert(&mut self, index: usize, position: Position, entry: &Entry<'_>) {
        reserve_some(&mut self.positions, 1, 32);
        reserve_some(&mut self.offsets, 1, 32);
        let offset = self.store(entry);
        self.positions.insert(index, position);
        self.offsets.insert(index, offset);
    }

    /// Replaces value and expiry of the entry at `index`.
    pub fn replace(&mut self, index: usize, entry: &Entry<'_>) {
        if let Some(number) = self.apart_number(index)
            && entry.is_apart()
        {
            if let Some(apart) = &mut self.apart[number] {
                apart.replace(entry);
            }
            return;
        }
        if !entry.is_apart() && self.overwrite(index, entry) {
            return;
        }
        self.release(index);
        self.offsets[index] = self.store(entry);
        self.squeeze_if_worth();
    }

    /// Changes only the expiry of the entry at `index`.
    pub fn set_expiry(&mut self, index: usize, expire_at_ms: Option<u64>) {
        if let Some(apart) = self.apart_mut(index) {
            apart.expire_at_ms = expire_at_ms;
            return;
        }
        let mut copy = Vec::new();
        let entry = self.packed(index).0;
        let (key_bytes, ValueRef::String(value)) = (entry.key.len(), entry.value);
        copy.extend_from_slice(entry.key);
        copy.extend_from_slice(value);
        let (key, value) = copy.split_at(key_bytes);
        self.replace(index, &Entry { key, value: ValueRef::String(value), expire_at_ms });
    }

    pub fn remove(&mut self, index: usize) {
        self.release(index);
        self.positions.remove(index);
        self.offsets.remove(index);
        self.squeeze_if_worth();
    }

    /// Is the leaf too big, and can it be split?
    pub fn wants_split(&self) -> bool {
        let big = self.len() > SPLIT_ENTRIES || self.arena.len() - self.gap_bytes > SPLIT_BYTES;
        big && self.positions.first() != self.positions.last()
    }

    /// Takes the upper half away; entries of one position stay together.
    pub fn split(&mut self) -> Leaf {
        let middle = self.positions[self.len() / 2];
        let mut at = self.lower_bound(middle);
        if at == 0 {
            // The lower half is of one position: the cut is after it.
            at = self.positions.partition_point(|&position| position <= middle);
        }
        let mut upper = Leaf::default();
        upper.take_all(self, at);
        self.positions.truncate(at);
        self.offsets.truncate(at);
        self.squeeze();
        upper
    }

    /// Has it so few entries that it should be merged with a neighbour?
    pub fn is_small(&self) -> bool {
        self.len() < MERGE_ENTRIES
    }

    /// Should this leaf and the one after it be one?
    pub fn wants_merge(&self, next: &Leaf) -> bool {
        let bytes = self.arena.len() + next.arena.len() - self.gap_bytes - next.gap_bytes;
        (self.is_small() || next.is_small())
            && self.len() + next.len() <= SPLIT_ENTRIES / 2
            && bytes <= SPLIT_BYTES / 2
    }

    /// Takes the entries of the leaf after this one.
    pub fn merge(&mut self, mut next: Leaf) {
        self.take_all(&mut next, 0);
    }

    /// Appends the entries of `from` at or after `index`; the caller drops them there.
    fn take_all(&mut self, from: &mut Leaf, index: usize) {
        for index in index..from.len() {
            let offset = match from.take_apart(index) {
                Some(apart) => self.store_apart(apart),
                None => self.store(&from.packed(index).0),
            };
            self.positions.push(from.positions[index]);
            self.offsets.push(offset);
        }
        self.squeeze();
    }

    fn apart(&self, number: usize) -> &Apart {
        self.apart[number].as_deref().expect("a stub names an entry that is there")
    }

    /// The number of the long entry whose stub is at `index`.
    fn apart_number(&self, index: usize) -> Option<usize> {
        let stub = &self.arena[self.offsets[index] as usize..];
        if stub[0] & APART == 0 {
            return None;
        }
        let number = Reader::new(&stub[1..]).varint().expect("a stub holds a number");
        Some(number as usize)
    }

    /// Takes the long entry at `index` out; its stub stands for nothing from now on.
    fn take_apart(&mut self, index: usize) -> Option<Box<Apart>> {
        let number = self.apart_number(index)?;
        self.free.push(number as u32);
        self.apart[number].take()
    }

    /// The packed entry at `index`, and the length of its encoding.
    fn packed(&self, index: usize) -> (Entry<'_>, usize) {
        let bytes = &self.arena[self.offsets[index] as usize..];
        let mut reader = Reader::new(bytes);
        let entry = Entry::read(&mut reader).expect("the arena holds entries that we wrote");
        (entry, bytes.len() - reader.remaining())
    }

    /// Writes the entry over the old one, if that is as long.
    fn overwrite(&mut self, index: usize, entry: &Entry<'_>) -> bool {
        if self.apart_number(index).is_some() {
            return false;
        }
        let old = self.packed(index).0;
        let same_layout = old.value.bytes() == entry.value.bytes()
            && old.expire_at_ms.is_some() == entry.expire_at_ms.is_some();
        if same_layout {
            let mut room = &mut self.arena[self.offsets[index] as usize..];
            entry.write(&mut room);
        }
        same_layout
    }

    /// Writes the entry to the end of the arena; returns where.
    fn store(&mut self, entry: &Entry<'_>) -> u32 {
        if entry.is_apart() {
            return self.store_apart(Box::new(Apart::new(entry)));
        }
        reserve_some(&mut self.arena, entry.encoded_bytes(), 256);
        let offset = self.arena_end();
        entry.write(&mut self.arena);
        offset
    }

    fn store_apart(&mut self, apart: Box<Apart>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.apart.push(None);
            (self.apart.len() - 1) as u32
        });
        self.apart[number as usize] = Some(apart);
        let offset = self.arena_end();
        self.arena.push(APART);
        varint::put(&mut self.arena, u64::from(number));
        offset
    }

    fn arena_end(&self) -> u32 {
        // Packed entries are short and leaves are split, so only more than a million keys that share 50 bits of hash
        // could come near this.
        u32::try_from(self.arena.len()).expect("a leaf's arena stays below 4 GiB")
    }

    /// Gives up what the entry at `index` takes.
    fn release(&mut self, index: usize) {
        self.gap_bytes += self.stored_bytes(index);
        self.take_apart(index);
    }

    fn squeeze_if_worth(&mut self) {
        if self.gap_bytes > GAP_BYTES && self.gap_bytes > self.arena.len() / 5 {
            self.squeeze();
        }
    }

    /// Packs the entries anew, in order and without gaps, with little room to spare.
    fn squeeze(&mut self) {
        let lengths: Vec<usize> = (0..self.len()).map(|index| self.stored_bytes(index)).collect();
        let live: usize = lengths.iter().sum();
        let mut arena = Vec::with_capacity(live + live / 16);
        for (offset, length) in self.offsets.iter_mut().zip(lengths) {
            let start = *offset as usize;
            *offset = arena.len() as u32;
            arena.extend_from_slice(&self.arena[start..start + length]);
        }
        self.arena = arena;
        self.gap_bytes = 0;
        if self.positions.capacity() > self.len() + self.len() / 4 + 32 {
            self.positions.shrink_to(self.len() + 16);
            self.offsets.shrink_to(self.len() + 16);
        }
    }

    /// The bytes in the arena of the entry at `index`.
    fn stored_bytes(&self, index: usize) -> usize {
        match self.apart_number(index) {
            Some(number) => stub_bytes(number),
            None => self.packed(index).1,
        }
    }
}

/// The length of the stub with this number.
fn stub_bytes(number: usize) -> usize {
    1 + varint::length(number as u64)
}

/// Makes room for `more` elements, an eighth above what is needed at most: doubling would leave a third empty.
fn reserve_some<T>(vector: &mut Vec<T>, more: usize, least: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve_exact(more.max(vector.len() / 8).max(least));
    }
}
