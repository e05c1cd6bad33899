//! The keys that are written and read: 16 bytes each, evenly spread over the slots.

use data::slot::{SLOTS, key_slot};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 64;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// The `index`th key.
pub fn key(index: u32) -> Key {
    let mut key = *b"bench:0000000000";
    let mut rest = index;
    for digit in key[6..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A value that differs from one write to the next.
pub fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut random = Random::new(number);
    let mut value = [0; VALUE_BYTES];
    for chunk in value.chunks_mut(8) {
        // Printable, so that a value can be looked at.
        let word = random.next() & 0x0f0f_0f0f_0f0f_0f0f | 0x6060_6060_6060_6060;
        chunk.copy_from_slice(&(word + 0x0101_0101_0101_0101).to_le_bytes()[..chunk.len()]);
    }
    value
}

/// The keys below `count` whose slot `belongs`, shuffled by `seed`.
pub fn keys_of(count: u32, seed: u64, belongs: impl Fn(u16) -> bool) -> Vec<Key> {
    let mut keys: Vec<Key> = (0..count).map(key).filter(|key| belongs(key_slot(key))).collect();
    let mut random = Random::new(seed);
    for last in (1..keys.len()).rev() {
        keys.swap(last, random.below(last as u64 + 1) as usize);
    }
    keys
}

/// One key below `count` for every slot that has one.
pub fn key_of_every_slot(count: u32) -> Vec<Key> {
    let mut of_slot: Vec<Option<Key>> = vec![None; usize::from(SLOTS)];
    for key in (0..count).map(key) {
        of_slot[usize::from(key_slot(&key))].get_or_insert(key);
    }
    of_slot.into_iter().flatten().collect()
}

/// A small seeded generator (splitmix64, Steele et al. 2014): loads are the same in every run.
pub struct Random(u64);

impl Random {
    /// A generator of the sequence `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_and_printable() {
        assert_eq!(&key(0), b"bench:0000000000");
        assert_eq!(&key(4_294_967_295), b"bench:4294967295");
        assert!(value(7).iter().all(u8::is_ascii_graphic));
        assert_ne!(value(7), value(8));
    }

    #[test]
    fn the_owners_share_all_keys() {
        let (low, high) = (keys_of(1000, 1, |slot| slot < 8192), keys_of(1000, 1, |slot| slot >= 8192));
        assert_eq!(low.len() + high.len(), 1000);
        assert!(low.len() > 300 && high.len() > 300);
    }
}
