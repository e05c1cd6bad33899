//! A leaf: some hundred entries whose positions lie next to one another, closely packed.
//!
//! `slots` has, sorted, the position of each entry and where in `arena` its encoding starts (see `entry`). Positions are
//! hashes for the most part, so a look-up guesses where one stands and is a few slots off: it costs a cache line or two of
//! `slots` and one or two of `arena`. A changed entry of another length goes to the arena's end and leaves a gap; gaps are squeezed out when
//! they make up a fifth. So an entry costs 12 bytes and its gaps over its encoding. Long entries are held apart: in
//! `apart`, with room to grow, and the arena has only a stub with their number.

use bytes::BufMut;

use crate::entry::{APART, Entry, ValueRef};
use crate::table::arena::Arena;
use crate::table::{Position, Weight, apart::Apart};
use crate::varint::{self, Reader};

/// A leaf with more entries is split.
const SPLIT_ENTRIES: usize = 512;

/// A leaf whose arena holds more is split, so that squeezing and growing stay quick.
const SPLIT_BYTES: usize = 64 * 1024;

/// A leaf with fewer entries is merged with a neighbour, if the two together are well below the limits above.
const MERGE_ENTRIES: usize = 64;

/// Gaps below this are not worth squeezing out.
const GAP_BYTES: usize = 512;

/// An entry's place: 12 bytes, so that position and offset lie in one cache line.
#[derive(Clone, Copy, Debug)]
struct Slot {
    position_high: u32,
    position_low: u32,
    offset: u32,
}

impl Slot {
    fn new(position: Position, offset: u32) -> Self {
        Slot { position_high: (position >> 32) as u32, position_low: position as u32, offset }
    }

    fn position(&self) -> Position {
        u64::from(self.position_high) << 32 | u64::from(self.position_low)
    }
}

#[derive(Debug, Default)]
pub(super) struct Leaf {
    slots: Vec<Slot>,
    /// The positions of the first and the last slot, kept here so that guessing need not fetch them.
    ends: (Position, Position),
    arena: Arena,
    /// Bytes of the arena in pieces that no entry uses any more.
    gap_bytes: usize,
    /// Long entries; a stub names its place here.
    apart: Vec<Option<Box<Apart>>>,
    /// Free places in `apart`.
    free: Vec<u32>,
}

impl Leaf {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn position(&self, index: usize) -> Position {
        self.slots[index].position()
    }

    /// The first entry at or after `position`.
    pub fn lower_bound(&self, position: Position) -> usize {
        let (first, last) = self.ends;
        if self.slots.is_empty() || position <= first {
            return 0;
        }
        if position > last {
            return self.len();
        }
        let (from, to) = self.surround(self.guess(position), position);
        from + self.slots[from..to].partition_point(|slot| slot.position() < position)
    }

    /// About where `position` stands, which lies between the ends.
    fn guess(&self, position: Position) -> usize {
        let (first, last) = self.ends;
        let share = (position - first) as f64 / (last - first) as f64;
        let guess = ((self.len() - 1) as f64 * share) as usize;
        guess.min(self.len() - 1)
    }

    /// Loads the slots that [`Leaf::lower_bound`] will look at into the cache, for the most part. What it returns means nothing.
    pub fn touch_slots(&self, position: Position) -> u32 {
        // A guess is that far off: the deviation of a binomial distribution of some hundred.
        const OFF: [isize; 5] = [-12, -6, 0, 6, 12];
        let (first, last) = self.ends;
        if position <= first || position > last {
            return 0;
        }
        let guess = self.guess(position);
        let touch = |off| guess.checked_add_signed(off).and_then(|index| self.slots.get(index));
        OFF.iter().filter_map(|&off| touch(off)).fold(0, |sum, slot| sum ^ slot.position_low)
    }

    /// Loads the entry at `index` into the cache, if it is short. What it returns means nothing.
    pub fn touch_entry(&self, index: usize) -> u8 {
        const CACHE_LINE: usize = 64;
        let Some(slot) = self.slots.get(index) else { return 0 };
        let bytes = self.arena.tail(slot.offset as usize);
        bytes[0] ^ bytes[bytes.len().min(CACHE_LINE) - 1]
    }

    /// A range of slots around `guess` in which the lower bound of `position` lies: strides double, so a bad guess costs
    /// little more than a binary search.
    fn surround(&self, guess: usize, position: Position) -> (usize, usize) {
        const STRIDE: usize = 4;
        let mut stride = STRIDE;
        if self.position(guess) < position {
            let mut from = guess + 1;
            loop {
                let to = from + stride;
                if to >= self.len() || self.position(to) >= position {
                    return (from, to.min(self.len()));
                }
                (from, stride) = (to + 1, stride * 2);
            }
        }
        let mut to = guess;
        loop {
            let Some(from) = to.checked_sub(stride) else { return (0, to) };
            if self.position(from) < position {
                return (from + 1, to);
            }
            (to, stride) = (from, stride * 2);
        }
    }

    /// The entry of `key`: its index, or where it would stand.
    pub fn find(&self, position: Position, key: &[u8]) -> Result<usize, usize> {
        let mut index = self.lower_bound(position);
        while self.slots.get(index).is_some_and(|slot| slot.position() == position) {
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

    /// What the entry adds to the sums of its table.
    pub fn weight(&self, index: usize) -> Weight {
        let (entry, digest) = match self.apart_number(index) {
            Some(number) => (self.apart(number).entry(), self.apart(number).digest()),
            None => {
                let (entry, length) = self.packed(index);
                let encoding = &self.arena.tail(self.start(index))[..length];
                let digest = match entry.value {
                    ValueRef::String(_) => crate::entry::encoding_digest(encoding),
                    ValueRef::Collection(_) => entry.digest(),
                };
                (entry, digest)
            }
        };
        let bytes = entry.key.len() + entry.value.bytes();
        Weight { bytes, expire_at_ms: entry.expire_at_ms, digest }
    }

    /// The long entry at `index`, if it is one.
    pub fn apart_mut(&mut self, index: usize) -> Option<&mut Apart> {
        let number = self.apart_number(index)?;
        self.apart[number].as_deref_mut()
    }

    /// Memory that the entry takes, roughly.
    pub fn memory_bytes(&self, index: usize) -> usize {
        size_of::<Slot>()
            + match self.apart_number(index) {
                Some(number) => self.apart(number).memory_bytes(),
                None => self.packed(index).1,
            }
    }

    /// Puts a new entry at `index`, where [`Leaf::find`] said.
    pub fn insert(&mut self, index: usize, position: Position, entry: &Entry<'_>) {
        reserve_one(&mut self.slots);
        let offset = self.store(entry);
        self.slots.insert(index, Slot::new(position, offset));
        self.note_ends();
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
        self.slots[index].offset = self.store(entry);
        self.squeeze_if_worth();
    }

    /// The same for a short string over one that is as long, which is most of what a table does: the entry is read and digested once
    /// before and once after. Returns what it weighed and weighs; nothing was done if it is not such an entry.
    pub fn put_over(&mut self, index: usize, entry: &Entry<'_>) -> Option<(Weight, Weight)> {
        let start = self.start(index);
        let room = self.arena.tail_mut(start);
        if entry.is_apart() || room[0] & APART != 0 {
            return None;
        }
        let mut reader = Reader::new(room);
        let old = Entry::read(&mut reader).expect("the arena holds entries that we wrote");
        let is_string = old.value.as_string().is_some() && entry.value.as_string().is_some();
        if !is_string || !old.has_layout_of(entry) {
            return None;
        }
        let length = room.len() - reader.remaining();
        let weigh = |expire_at_ms, encoding: &[u8]| Weight {
            bytes: entry.key.len() + entry.value.bytes(),
            expire_at_ms,
            digest: crate::entry::encoding_digest(encoding),
        };
        let before = weigh(old.expire_at_ms, &room[..length]);
        entry.write(&mut &mut room[..length]);
        Some((before, weigh(entry.expire_at_ms, &room[..length])))
    }

    /// Takes the entry at `index` back among the others if it has become short.
    pub fn pack_if_short(&mut self, index: usize) {
        if self.entry(index).is_apart() || self.apart_number(index).is_none() {
            return;
        }
        let mut copy = Vec::new();
        self.entry(index).write(&mut copy);
        let entry = Entry::read(&mut Reader::new(&copy)).expect("it was written just now");
        self.replace(index, &entry);
    }

    /// Changes only the expiry of the entry at `index`.
    pub fn set_expiry(&mut self, index: usize, expire_at_ms: Option<u64>) {
        if let Some(apart) = self.apart_mut(index) {
            apart.expire_at_ms = expire_at_ms;
            return;
        }
        let mut copy = Vec::new();
        self.packed(index).0.write(&mut copy);
        let entry = Entry::read(&mut Reader::new(&copy)).expect("it was written just now");
        self.replace(index, &Entry { expire_at_ms, ..entry });
    }

    pub fn remove(&mut self, index: usize) {
        self.release(index);
        self.slots.remove(index);
        self.note_ends();
        self.squeeze_if_worth();
    }

    /// Is the leaf too big, and can it be split?
    pub fn wants_split(&self) -> bool {
        let big = self.len() > SPLIT_ENTRIES || self.arena.used() - self.gap_bytes > SPLIT_BYTES;
        big && self.ends.0 != self.ends.1
    }

    /// Takes the upper half away; entries of one position stay together.
    pub fn split(&mut self) -> Leaf {
        let middle = self.position(self.len() / 2);
        let mut at = self.lower_bound(middle);
        if at == 0 {
            // The lower half is of one position: the cut is after it.
            at = self.slots.partition_point(|slot| slot.position() <= middle);
        }
        self.split_off(at)
    }

    /// Gives the entries from `index` on away.
    pub fn split_off(&mut self, index: usize) -> Leaf {
        let mut upper = Leaf::default();
        upper.take_all(self, index);
        self.slots.truncate(index);
        self.note_ends();
        self.squeeze();
        upper
    }

    /// Has it so few entries that it should be merged with a neighbour?
    pub fn is_small(&self) -> bool {
        self.len() < MERGE_ENTRIES
    }

    /// Should this leaf and the one after it be one?
    pub fn wants_merge(&self, next: &Leaf) -> bool {
        let bytes = self.arena.used() + next.arena.used() - self.gap_bytes - next.gap_bytes;
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
            self.slots.push(Slot::new(from.position(index), offset));
        }
        self.note_ends();
        self.squeeze();
    }

    fn note_ends(&mut self) {
        self.ends = match (self.slots.first(), self.slots.last()) {
            (Some(first), Some(last)) => (first.position(), last.position()),
            _ => (0, 0),
        };
    }

    /// Where in the arena the entry at `index` starts.
    fn start(&self, index: usize) -> usize {
        self.slots[index].offset as usize
    }

    fn apart(&self, number: usize) -> &Apart {
        self.apart[number].as_deref().expect("a stub names an entry that is there")
    }

    /// The number of the long entry whose stub is at `index`.
    fn apart_number(&self, index: usize) -> Option<usize> {
        let stub = self.arena.tail(self.start(index));
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
        let bytes = self.arena.tail(self.start(index));
        let mut reader = Reader::new(bytes);
        let entry = Entry::read(&mut reader).expect("the arena holds entries that we wrote");
        (entry, bytes.len() - reader.remaining())
    }

    /// Writes the entry over the old one, if that is as long.
    fn overwrite(&mut self, index: usize, entry: &Entry<'_>) -> bool {
        if self.apart_number(index).is_some() {
            return false;
        }
        let same_layout = self.packed(index).0.has_layout_of(entry);
        if same_layout {
            let start = self.start(index);
            let mut room = self.arena.tail_mut(start);
            entry.write(&mut room);
        }
        same_layout
    }

    /// Writes the entry into the arena; returns where.
    fn store(&mut self, entry: &Entry<'_>) -> u32 {
        if entry.is_apart() {
            return self.store_apart(Box::new(Apart::new(entry)));
        }
        let offset = self.arena.reserve(entry.encoded_bytes());
        let mut room = self.arena.tail_mut(offset);
        entry.write(&mut room);
        to_offset(offset)
    }

    fn store_apart(&mut self, apart: Box<Apart>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.apart.push(None);
            (self.apart.len() - 1) as u32
        });
        self.apart[number as usize] = Some(apart);
        let offset = self.arena.reserve(stub_bytes(number as usize));
        let mut room = self.arena.tail_mut(offset);
        room.put_u8(APART);
        varint::put(&mut room, u64::from(number));
        to_offset(offset)
    }

    /// Gives up what the entry at `index` takes.
    fn release(&mut self, index: usize) {
        self.gap_bytes += self.stored_bytes(index);
        self.take_apart(index);
    }

    fn squeeze_if_worth(&mut self) {
        if self.gap_bytes > GAP_BYTES && self.gap_bytes > self.arena.used() / 5 {
            self.squeeze();
        }
    }

    /// Packs the entries anew, in order and without gaps.
    fn squeeze(&mut self) {
        let mut arena = Arena::default();
        for index in 0..self.len() {
            let (start, length) = (self.start(index), self.stored_bytes(index));
            let offset = arena.reserve(length);
            arena.tail_mut(offset)[..length].copy_from_slice(&self.arena.tail(start)[..length]);
            self.slots[index].offset = to_offset(offset);
        }
        self.arena = arena;
        self.gap_bytes = 0;
        if self.slots.capacity() > self.len() + self.len() / 4 + 32 {
            self.slots.shrink_to(self.len() + 16);
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

/// Makes room for one more slot, an eighth above what is needed at most: doubling would leave a third empty.
fn reserve_one(slots: &mut Vec<Slot>) {
    if slots.len() == slots.capacity() {
        slots.reserve_exact((slots.len() / 8).max(32));
    }
}

/// An offset as slots hold it.
fn to_offset(offset: usize) -> u32 {
    // Packed entries are short and leaves are split, so only millions of keys that share 50 bits of hash and a slot could come
    // near this.
    u32::try_from(offset).expect("a leaf's arena stays below 4 GiB")
}
