//! Where elements of a list stand: bytes in whose order they are, chosen when an element comes and kept for good.
//!
//! A position begins with eight bytes, a number around 2^63 that goes down for what is pushed to the left and up to the right.
//! What is inserted between two that have no number between them gets more bytes: any two positions have some between them.
//! No position ends with a zero after its first eight bytes, so there is always room before it.

/// The number at which a list begins.
const MIDDLE: u64 = 1 << 63;
const NUMBER_BYTES: usize = 8;

/// Can this be a position?
pub(crate) fn is_position(name: &[u8]) -> bool {
    name.len() == NUMBER_BYTES || name.len() > NUMBER_BYTES && name.last() != Some(&0)
}

/// The first of a list.
pub(crate) fn first() -> Vec<u8> {
    MIDDLE.to_be_bytes().to_vec()
}

/// One before all that stand at or after `position`.
pub(crate) fn before(position: &[u8]) -> Vec<u8> {
    match number_of(position) {
        // Nothing stands before eight zeros, so they are never given out.
        0 | 1 => between(&[], position),
        number => (number - 1).to_be_bytes().to_vec(),
    }
}

/// One after all that stand at or before `position`.
pub(crate) fn after(position: &[u8]) -> Vec<u8> {
    match number_of(position).checked_add(1) {
        Some(number) => number.to_be_bytes().to_vec(),
        None => [position, &[0x80]].concat(),
    }
}

/// One after `low` and before `high`.
pub(crate) fn between(low: &[u8], high: &[u8]) -> Vec<u8> {
    let mut position = Vec::with_capacity(low.len().max(high.len()) + 1);
    // As fractions in base 256: `low` goes on with zeros; `high` does not bind any more once the digits are below its own.
    let mut is_bound = true;
    for index in 0.. {
        let from = u16::from(low.get(index).copied().unwrap_or(0));
        let to = match is_bound {
            true => u16::from(high.get(index).copied().unwrap_or(0)),
            false => 0x100,
        };
        if to > from + 1 && index >= NUMBER_BYTES {
            position.push((from + (to - from) / 2) as u8);
            break;
        }
        if to > from + 1 && index + 1 == NUMBER_BYTES {
            position.push((from + 1) as u8);
            break;
        }
        position.push(from as u8);
        is_bound &= to == from;
    }
    position
}

fn number_of(position: &[u8]) -> u64 {
    let mut number = [0; NUMBER_BYTES];
    number.copy_from_slice(&position[..NUMBER_BYTES]);
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room() {
        // Insert at random places, at the same place, and at both ends.
        let mut state = 7u64;
        let mut draw = move |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        for mode in 0..3 {
            let mut list = vec![first()];
            for round in 0..3000 {
                let at = match mode {
                    0 => draw(list.len() + 1),
                    1 => 1 + round % 2,
                    _ => 1,
                };
                let at = at.min(list.len());
                let position = match (at.checked_sub(1).map(|low| &list[low]), list.get(at)) {
                    (Some(low), Some(high)) => between(low, high),
                    (Some(low), None) => after(low),
                    (None, Some(high)) => before(high),
                    (None, None) => first(),
                };
                assert!(is_position(&position), "{position:?}");
                list.insert(at, position);
            }
            assert!(list.is_sorted_by(|one, next| one < next));
            let longest = list.iter().map(Vec::len).max().unwrap_or(0);
            let most = if mode == 0 { 30 } else { 800 };
            assert!(longest <= most, "{longest} bytes in mode {mode}");
        }
    }

    #[test]
    fn at_the_ends_of_the_numbers() {
        let (lowest, highest) = (1u64.to_be_bytes().to_vec(), u64::MAX.to_be_bytes().to_vec());
        assert!(after(&highest) > highest && is_position(&after(&highest)));
        assert!(after(&after(&highest)) > after(&highest));
        assert!(before(&lowest) < lowest && is_position(&before(&lowest)));
        assert!(before(&before(&lowest)) < before(&lowest));
    }
}
