//! The fields of frames.
//!
//! - *number*: little-endian base 128 (7 bits a byte, the top bit says that more follow), below 2^62: terms, indexes,
//!   rounds, counts. The bound keeps sums of what came from outside from overflowing.
//! - *word*: 8 bytes little-endian, any value: node ids, incarnations, positions.
//! - *bytes*: their count as a number, then themselves.
//! - *option*: a byte 0, or 1 and the field.

use bytes::{BufMut, Bytes, BytesMut};

use super::Malformed;
use crate::{NodeId, PartitionId};

/// Numbers are smaller.
const NUMBER_LIMIT: u64 = 1 << 62;

pub(super) fn put_number(out: &mut BytesMut, mut number: u64) {
    debug_assert!(number < NUMBER_LIMIT, "{number} is no count of anything");
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

pub(super) fn put_position(out: &mut BytesMut, position: data::Position) {
    out.put_u64_le(position);
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &Bytes) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_flag(out: &mut BytesMut, flag: bool) {
    out.put_u8(u8::from(flag));
}

pub(super) fn put_option<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    put_flag(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

/// Takes fields from the front of a frame.
pub(super) struct Reader {
    frame: Bytes,
    at: usize,
}

impl Reader {
    pub fn new(frame: Bytes) -> Reader {
        Reader { frame, at: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.frame.len()
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.frame.get(self.at).ok_or(Malformed("the frame ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.frame.get(self.at..).unwrap_or_default();
        let array = *rest.first_chunk().ok_or(Malformed("the frame ends early"))?;
        self.at += N;
        Ok(array)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if number < NUMBER_LIMIT { Ok(number) } else { Err(Malformed("a number too large")) };
            }
        }
        Err(Malformed("a number too long"))
    }

    pub fn number_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a number too large"))
    }

    pub fn word(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn long_word(&mut self) -> Result<u128, Malformed> {
        self.array().map(u128::from_le_bytes)
    }

    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither yes nor no")),
        }
    }

    /// A slice of the frame.
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed("a number too large"))?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.frame.len());
        let end = end.ok_or(Malformed("the frame ends early"))?;
        let bytes = self.frame.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    pub fn option<T>(
        &mut self,
        field: impl FnOnce(&mut Reader) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { field(self).map(Some) } else { Ok(None) }
    }

    pub fn partition(&mut self) -> Result<PartitionId, Malformed> {
        self.number_u32().map(PartitionId)
    }

    pub fn node(&mut self) -> Result<NodeId, Malformed> {
        self.word().map(NodeId)
    }
}
