//! Elements by chance: `HRANDFIELD`, `SRANDMEMBER`, `ZRANDMEMBER`, `SPOP`.

use std::collections::BTreeSet;

use bytes::Bytes;
use resp::Value;

use super::is_word;
use super::scan::spread;
use crate::collection::Element;
use crate::errors;
use crate::number::parse_integer;
use crate::view::FoundCollection;

/// How many elements are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    /// One, and not in an array.
    One,
    /// Up to so many different ones.
    Different(u64),
    /// So many, among which one may be several times.
    Any(u64),
}

/// The most that may be asked for with repetition: each is copied into the reply.
const MOST: u64 = 1 << 20;

impl Draws {
    /// `[count [WITH...]]`: how many, and whether with values. With these a number is doubled in the reply, so Redis takes half as
    /// many.
    pub fn parse(arguments: &[Bytes], with: Option<&str>) -> Result<(Draws, bool), Value> {
        let Some((count, options)) = arguments.split_first() else { return Ok((Draws::One, false)) };
        let count = parse_integer(count).ok_or(errors::NOT_INTEGER)?;
        if count == i64::MIN {
            return Err(errors::LONG_RANGE);
        }
        let with_values = match (options, with) {
            ([], _) => false,
            ([word], Some(with)) if is_word(word, with) => true,
            _ => return Err(errors::SYNTAX),
        };
        let is_out = with_values && count.unsigned_abs() > i64::MAX as u64 / 2;
        match count {
            _ if is_out => Err(errors::OUT_OF_RANGE),
            count if count < 0 && count.unsigned_abs() > MOST => Err(errors::OUT_OF_RANGE),
            count if count < 0 => Ok((Draws::Any(count.unsigned_abs()), with_values)),
            count => Ok((Draws::Different(count.unsigned_abs()), with_values)),
        }
    }

    /// The reply of a key that is not there.
    pub fn of_nothing(self) -> Value {
        if self == Draws::One { Value::Null } else { Value::Array(Vec::new()) }
    }
}

/// Draws elements of a collection that has some.
pub(super) fn draws<'a>(found: &FoundCollection<'a>, count: Draws, seed: u64) -> Vec<Element<'a>> {
    let chance = |index: u64| spread(seed.wrapping_add(index));
    match count {
        Draws::One => found.draw(chance(0)).into_iter().collect(),
        Draws::Any(count) => (0..count).filter_map(|index| found.draw(chance(index))).collect(),
        Draws::Different(count) if count >= found.len() as u64 => found.elements().collect(),
        Draws::Different(count) if count > found.len() as u64 / 3 => {
            // Most of them: a part of a shuffled whole.
            let mut all: Vec<_> = found.elements().collect();
            for index in 0..count {
                let left = all.len() as u64 - index;
                all.swap(index as usize, (index + chance(index) % left) as usize);
            }
            all.truncate(count as usize);
            all
        }
        Draws::Different(count) => {
            let (mut names, mut drawn) = (BTreeSet::new(), Vec::new());
            let mut index = 0;
            while (drawn.len() as u64) < count {
                if let Some(element) = found.draw(chance(index))
                    && names.insert(element.name)
                {
                    drawn.push(element);
                }
                index += 1;
            }
            drawn
        }
    }
}
