//! Unsigned integers in seven-bit groups, lowest first (LEB128), as the formats of this crate use them; and the reader
//! that takes such formats apart without trusting any length in them.

use bytes::BufMut;

use crate::table::Malformed;

/// The most bytes that a 64-bit number takes.
const MAX_BYTES: usize = 10;

/// Appends `number`.
pub(crate) fn put(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number as u8) | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The bytes that `number` takes.
pub(crate) fn length(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// A position in bytes that came from outside.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.bytes.split_first().ok_or(Malformed("the bytes end early"))?;
        self.bytes = rest;
        Ok(first)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or(Malformed("a length goes past the end"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        let mut number = [0; 8];
        number.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(number))
    }

    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for index in 0..MAX_BYTES {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if index == MAX_BYTES - 1 && group > 1 {
                break;
            }
            number |= group << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too long"))
    }

    /// A length, then that many bytes.
    pub fn block(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| Malformed("a length goes past the end"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(length(number), bytes.len());
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(number));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn damage_is_told() {
        assert!(Reader::new(&[0xff; 10]).varint().is_err(), "more than 64 bits");
        assert!(Reader::new(&[0xff; 11]).varint().is_err(), "more than ten bytes");
        assert!(Reader::new(&[0x80]).varint().is_err(), "ends early");
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).block().is_err(), "claims 4 GiB");
    }
}
