//! Strings as arrays of bits, the highest bit of a byte first: `SETBIT`, `GETBIT`, `BITCOUNT`, `BITPOS`.

use bytes::Bytes;
use resp::Value;

use super::{clamp_range, integer, is_upside_down, is_word};
use crate::context::Context;
use crate::errors;
use crate::mutation::MAX_STRING_BYTES;
use crate::view::FoundString;

pub(crate) fn setbit(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let key = &arguments[1];
    let (byte, mask) = bit_offset(&arguments[2])?;
    let bit = integer(&arguments[3]).map_err(|_| errors::BIT_VALUE)?;
    if bit != 0 && bit != 1 {
        return Err(errors::BIT_VALUE);
    }
    let found = context.string(key)?;
    let old = found.as_ref().and_then(|found| byte_at(found, byte));
    let new = if bit == 1 { old.unwrap_or(0) | mask } else { old.unwrap_or(0) & !mask };
    if old != Some(new) {
        context.set_range(key, byte, &[new]);
    }
    Ok(Value::Integer((old.unwrap_or(0) & mask != 0).into()))
}

pub(crate) fn getbit(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (byte, mask) = bit_offset(&arguments[2])?;
    let found = context.string(&arguments[1])?;
    let byte = found.and_then(|found| byte_at(&found, byte)).unwrap_or(0);
    Ok(Value::Integer((byte & mask != 0).into()))
}

pub(crate) fn bitcount(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let Some(found) = context.string(&arguments[1])? else { return Ok(Value::Integer(0)) };
    let bits = match &arguments[2..] {
        [] => Bits::whole(&found),
        [start, end, unit @ ..] if unit.len() <= 1 => {
            let (start, end) = (integer(start)?, integer(end)?);
            // Redis finds nothing in an upside-down range before it looks at the unit.
            if is_upside_down(start, end) {
                return Ok(Value::Integer(0));
            }
            Bits::range(&found, start, Some(end), unit_bits(unit)?)
        }
        _ => return Err(errors::SYNTAX),
    };
    Ok(Value::Integer(bits.map_or(0, |bits| bits.count() as i64)))
}

pub(crate) fn bitpos(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let bit = match integer(&arguments[2])? {
        0 => false,
        1 => true,
        _ => return Err(errors::BIT_ARGUMENT),
    };
    // An absent key is all zeros, without end.
    let Some(found) = context.string(&arguments[1])? else {
        return Ok(Value::Integer(if bit { -1 } else { 0 }));
    };
    let (bits, end_given) = match &arguments[3..] {
        [] => (Bits::whole(&found), false),
        [start] => (Bits::range(&found, integer(start)?, None, 8), false),
        [start, end, unit @ ..] if unit.len() <= 1 => {
            let (start, unit) = (integer(start)?, unit_bits(unit)?);
            (Bits::range(&found, start, Some(integer(end)?), unit), true)
        }
        _ => return Err(errors::SYNTAX),
    };
    Ok(Value::Integer(match bits {
        None => -1,
        Some(bits) => match bits.position(bit) {
            Some(position) => position as i64,
            // Past the end of the string there are zeros, unless the range ends before.
            None if !bit && !end_given => bits.last as i64 + 1,
            None => -1,
        },
    }))
}

/// The bits of a string from `first` to `last`, both included.
struct Bits<'a> {
    first: u64,
    last: u64,
    /// The bytes that hold them.
    bytes: std::borrow::Cow<'a, [u8]>,
}

impl<'a> Bits<'a> {
    fn whole(found: &FoundString<'a>) -> Option<Self> {
        Bits::range(found, 0, None, 8)
    }

    /// The bits of units from `start` to `end`; `None` if there are none.
    fn range(found: &FoundString<'a>, start: i64, end: Option<i64>, unit_bits: u64) -> Option<Self> {
        let units = found.len() * 8 / unit_bits;
        let (start, end) = clamp_range(start, end.unwrap_or(i64::MAX), units)?;
        let (first, last) = (start * unit_bits, (end + 1) * unit_bits - 1);
        Some(Bits { first, last, bytes: found.read(first / 8..last / 8 + 1) })
    }

    fn count(&self) -> u64 {
        let all: u64 = self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let before = self.bytes[0].leading_bits(self.first % 8);
        let after = self.bytes[self.bytes.len() - 1].trailing_bits(7 - self.last % 8);
        all - before - after
    }

    fn position(&self, bit: bool) -> Option<u64> {
        let skip = if bit { 0x00 } else { 0xff };
        let start = self.first / 8 * 8;
        let in_range = |position: &u64| (self.first..=self.last).contains(position);
        // Whole bytes without such a bit are skipped; only at the edges there may be one outside the range.
        let candidates = self.bytes.iter().enumerate().filter(|(_, byte)| **byte != skip);
        candidates
            .flat_map(|(index, byte)| {
                let is_bit = move |offset: &u64| (byte & (0x80 >> offset) != 0) == bit;
                (0..8).filter(is_bit).map(move |offset| start + 8 * index as u64 + offset)
            })
            .find(in_range)
    }
}

/// Bits at the edges of a byte.
trait EdgeBits {
    fn leading_bits(self, count: u64) -> u64;
    fn trailing_bits(self, count: u64) -> u64;
}

impl EdgeBits for u8 {
    /// How many of the first `count` bits are set (`count` is below 8).
    fn leading_bits(self, count: u64) -> u64 {
        u64::from((self & !(0xff >> count)).count_ones())
    }

    /// How many of the last `count` bits are set (`count` is below 8).
    fn trailing_bits(self, count: u64) -> u64 {
        u64::from((self & !(0xff << count)).count_ones())
    }
}

/// `BYTE` (the default) or `BIT`: the bits of a unit.
fn unit_bits(unit: &[Bytes]) -> Result<u64, Value> {
    match unit {
        [] => Ok(8),
        [unit] if is_word(unit, "BYTE") => Ok(8),
        [unit] if is_word(unit, "BIT") => Ok(1),
        _ => Err(errors::SYNTAX),
    }
}

/// The byte of a bit, and its mask there.
fn bit_offset(argument: &Bytes) -> Result<(u64, u8), Value> {
    let offset = integer(argument).ok().and_then(|offset| u64::try_from(offset).ok());
    match offset {
        Some(offset) if offset / 8 < MAX_STRING_BYTES => Ok((offset / 8, 0x80 >> (offset % 8))),
        _ => Err(errors::BIT_OFFSET),
    }
}

fn byte_at(found: &FoundString<'_>, index: u64) -> Option<u8> {
    found.read(index..index + 1).first().copied()
}
