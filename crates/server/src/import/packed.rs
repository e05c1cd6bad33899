//! The packed forms in which a snapshot of Redis holds short collections: listpack, ziplist, intset. Each gives its entries as
//! strings, in order.

use bytes::Bytes;

/// What is wrong with the bytes.
pub type Wrong = &'static str;

const EARLY: Wrong = "a packed collection that ends too early";

/// What is left of the bytes.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        self.take(1).map(|byte| byte[0])
    }

    /// A number of so many bytes, the lowest first, with its sign.
    fn number(&mut self, bytes: usize) -> Result<i64, Wrong> {
        let taken = self.take(bytes)?;
        let negative = taken.last().is_some_and(|last| last & 0x80 != 0);
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        whole[..bytes].copy_from_slice(taken);
        Ok(i64::from_le_bytes(whole))
    }

    fn text(&mut self, bytes: usize) -> Result<Bytes, Wrong> {
        self.take(bytes).map(Bytes::copy_from_slice)
    }
}

fn digits(number: i64) -> Bytes {
    Bytes::from(number.to_string())
}

/// The entries of a listpack.
pub fn listpack(bytes: &[u8]) -> Result<Vec<Bytes>, Wrong> {
    let mut rest = Rest(bytes);
    rest.take(4 + 2)?;
    let mut entries = Vec::new();
    loop {
        let before = rest.0.len();
        let first = rest.byte()?;
        let entry = match first {
            0xff => return Ok(entries),
            0x00..=0x7f => digits(i64::from(first)),
            0x80..=0xbf => rest.text(usize::from(first & 0x3f))?,
            0xc0..=0xdf => {
                let number = i64::from(first & 0x1f) << 8 | i64::from(rest.byte()?);
                digits(if number >= 1 << 12 { number - (1 << 13) } else { number })
            }
            0xe0..=0xef => {
                let length = usize::from(first & 0x0f) << 8 | usize::from(rest.byte()?);
                rest.text(length)?
            }
            0xf0 => {
                let length = usize::try_from(rest.number(4)? & 0xffff_ffff).map_err(|_| EARLY)?;
                rest.text(length)?
            }
            0xf1 => digits(rest.number(2)?),
            0xf2 => digits(rest.number(3)?),
            0xf3 => digits(rest.number(4)?),
            0xf4 => digits(rest.number(8)?),
            _ => return Err("a listpack with an entry of an unknown encoding"),
        };
        entries.push(entry);
        // Its own length, for those who go backwards: seven bits a byte.
        let length = before - rest.0.len();
        let length_bytes =
            [1 << 7, 1 << 14, 1 << 21, 1 << 28].iter().take_while(|&&most| length >= most).count() + 1;
        rest.take(length_bytes)?;
    }
}

/// The entries of a ziplist.
pub fn ziplist(bytes: &[u8]) -> Result<Vec<Bytes>, Wrong> {
    let mut rest = Rest(bytes);
    rest.take(4 + 4 + 2)?;
    let mut entries = Vec::new();
    loop {
        // The length of the entry before.
        match rest.byte()? {
            0xff => return Ok(entries),
            0xfe => drop(rest.take(4)?),
            _ => {}
        }
        let first = rest.byte()?;
        entries.push(match first {
            0x00..=0x3f => rest.text(usize::from(first))?,
            0x40..=0x7f => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(rest.byte()?);
                rest.text(length)?
            }
            0x80 => {
                let length = rest.take(4)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                rest.text(length)?
            }
            0xc0 => digits(rest.number(2)?),
            0xd0 => digits(rest.number(4)?),
            0xe0 => digits(rest.number(8)?),
            0xf0 => digits(rest.number(3)?),
            0xfe => digits(rest.number(1)?),
            0xf1..=0xfd => digits(i64::from(first & 0x0f) - 1),
            _ => return Err("a ziplist with an entry of an unknown encoding"),
        });
    }
}

/// The members of a set of whole numbers.
pub fn intset(bytes: &[u8]) -> Result<Vec<Bytes>, Wrong> {
    let mut rest = Rest(bytes);
    let width = rest.number(4)?;
    let count = rest.number(4)? & 0xffff_ffff;
    let width = match width {
        2 | 4 | 8 => width as usize,
        _ => return Err("a set of numbers of an unknown width"),
    };
    (0..count).map(|_| rest.number(width).map(digits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: Result<Vec<Bytes>, Wrong>) -> Vec<String> {
        entries
            .expect("well formed")
            .iter()
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect()
    }

    #[test]
    fn entries_in_all_their_forms() {
        let long = "x".repeat(200);
        let pack = [
            &[0; 6][..],
            b"\x05\x01\x83abc\x04\xdf\xff\x02",
            &[&b"\xe0\xc8"[..], long.as_bytes(), b"\xca\x01"].concat(),
            b"\xf0\x02\x00\x00\x00hi\x07\xf1\x00\x80\x03\xf2\xff\xff\xff\x04\xf3\x00\x00\x01\x00\x05",
            b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09\xff",
        ]
        .concat();
        let expected = ["5", "abc", "-1", &long, "hi", "-32768", "-1", "65536", "9223372036854775807"];
        assert_eq!(texts(listpack(&pack)), expected);
        let list = [
            &[0; 10][..],
            b"\x00\x03abc\x05\x40\xc8",
            long.as_bytes(),
            b"\xfe\x00\x00\x00\x00\x80\x00\x00\x00\x02hi\x00\xc0\x00\x80\x04\xd0\x00\x00\x01\x00\x06\xf0\xff\xff\xff\x05\xfe\xfe\x03\xf1\x02\xfd\xff",
        ]
        .concat();
        assert_eq!(texts(ziplist(&list)), ["abc", &long, "hi", "-32768", "65536", "-1", "-2", "0", "12"]);
        assert_eq!(texts(intset(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0")), ["-1", "5"]);
    }

    #[test]
    fn damage_is_told() {
        for length in 0..12 {
            assert!(intset(&b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0"[..length]).is_err());
            assert!(listpack(&b"\0\0\0\0\0\0\x85abcde\x06"[..length]).is_err());
            assert!(ziplist(&b"\0\0\0\0\0\0\0\0\0\0\x00\x01a"[..length]).is_err());
        }
        assert!(intset(b"\x03\0\0\0\x00\0\0\0").is_err());
        assert!(listpack(b"\0\0\0\0\0\0\xf5\x01\xff").is_err());
        assert!(listpack(b"\0\0\0\0\0\0\xf0\xff\xff\xff\xff\xff").is_err());
        assert!(ziplist(b"\0\0\0\0\0\0\0\0\0\0\x00\x81\xff").is_err());
    }
}
