//! Numbers for things that wait for an answer.

/// Holds values under numbers that are not used again for a long time: 24 bits of place, 40 bits of a running number.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    running: u64,
}

const PLACE_BITS: u32 = 24;

impl<T> Slab<T> {
    /// An empty one.
    pub fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new(), running: 0 }
    }

    /// Is there room for another `count` values?
    pub fn has_room(&self, count: usize) -> bool {
        self.free.len() + ((1 << PLACE_BITS) - self.places.len()) >= count
    }

    /// Puts a value in and gives its number.
    pub fn insert(&mut self, value: T) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.running += 1;
        let number = (self.running << PLACE_BITS) | u64::from(place);
        self.places[place as usize] = Some((number, value));
        number
    }

    /// Takes a value out.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let place = (number & ((1 << PLACE_BITS) - 1)) as u32;
        let held = self.places.get_mut(place as usize)?;
        if held.as_ref().is_none_or(|(known, _)| *known != number) {
            return None;
        }
        self.free.push(place);
        held.take().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_one_value_only() {
        let mut slab = Slab::new();
        let (one, two) = (slab.insert("one"), slab.insert("two"));
        assert_eq!(slab.remove(one), Some("one"));
        assert_eq!(slab.remove(one), None, "it is gone");
        let three = slab.insert("three");
        assert_eq!(three & 0xff_ffff, one & 0xff_ffff, "the place is used again");
        assert_ne!(three, one);
        assert_eq!(slab.remove(one), None, "the old number does not mean the new value");
        assert_eq!((slab.remove(two), slab.remove(three)), (Some("two"), Some("three")));
        assert_eq!(slab.remove(u64::MAX), None);
        assert!(slab.has_room(1 << 20) && !slab.has_room(1 << 25));
    }
}
