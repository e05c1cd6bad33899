//! Texts that compare in constant time, however long they have grown by appending.
//!
//! A search over thousands of appends would drown in comparing and copying strings. So a text carries a fingerprint: two
//! polynomial hashes over the field of integers modulo 2^61 - 1, with different bases, and its length. The fingerprint of
//! `a + b` follows from those of `a` and `b`. Two different texts share a fingerprint with a chance of about 2^-100.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The Mersenne prime below 2^61.
const MODULUS: u64 = (1 << 61) - 1;
/// Arbitrary bases of the two hashes.
const BASES: [u64; 2] = [1_142_618_453_977_610_531, 2_003_417_190_465_871_873];

/// Distance of the beginnings of a text whose fingerprints are kept, in bytes.
const STRIDE: usize = 128;

/// What identifies a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    hashes: [u64; 2],
    /// The bases to the power of the length: what a text in front is multiplied with.
    powers: [u64; 2],
    length: u64,
}

impl Fingerprint {
    const EMPTY: Fingerprint = Fingerprint { hashes: [0; 2], powers: [1; 2], length: 0 };

    /// This text followed by some bytes.
    fn extend(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |before, &byte| {
            // A byte of zero must count too.
            let hash = u64::from(byte) + 1;
            before.append(Fingerprint { hashes: [hash; 2], powers: BASES, length: 1 })
        })
    }

    /// The fingerprint of this text followed by `other`.
    #[must_use]
    pub fn append(self, other: Fingerprint) -> Fingerprint {
        let hash = |i: usize| add(multiply(self.hashes[i], other.powers[i]), other.hashes[i]);
        let power = |i: usize| multiply(self.powers[i], other.powers[i]);
        Fingerprint {
            hashes: [hash(0), hash(1)],
            powers: [power(0), power(1)],
            length: self.length + other.length,
        }
    }

    /// The length of the text in bytes.
    pub fn length(self) -> u64 {
        self.length
    }
}

/// The sum of two numbers below the modulus.
fn add(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

/// The product of two numbers below the modulus. As 2^61 is 1 modulo 2^61 - 1, its upper half is added to its lower.
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    add((product & u128::from(MODULUS)) as u64, (product >> 61) as u64)
}

/// A value that a client wrote or read. Equality, order (an arbitrary one) and hash are those of the fingerprint.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text {
    text: Arc<str>,
    fingerprint: Fingerprint,
    /// What identifies its beginnings whose lengths are the multiples of [`STRIDE`], from zero.
    beginnings: Arc<[Fingerprint]>,
}

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What identifies it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What identifies its first `length` bytes, if it has that many.
    pub fn prefix(&self, length: u64) -> Option<Fingerprint> {
        if length == self.fingerprint.length {
            return Some(self.fingerprint);
        }
        let length = usize::try_from(length).ok()?;
        let beginning = self.beginnings.get(length / STRIDE)?;
        self.text.as_bytes().get(length / STRIDE * STRIDE..length).map(|rest| beginning.extend(rest))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut beginnings = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut fingerprint = Fingerprint::EMPTY;
        for piece in text.as_bytes().chunks(STRIDE) {
            beginnings.push(fingerprint);
            fingerprint = fingerprint.extend(piece);
        }
        Text { text: text.into(), fingerprint, beginnings: beginnings.into() }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::from(text.as_str())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.text.as_ref().to_owned()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_is_concatenating() {
        let texts = ["", "a", "b", "ab", "\0", "\0\0", "x 1 2 y", "été"];
        for a in texts {
            for b in texts {
                let whole = Text::from(format!("{a}{b}").as_str());
                let parts = Text::from(a).fingerprint().append(Text::from(b).fingerprint());
                assert_eq!(whole.fingerprint(), parts, "{a:?} {b:?}");
                assert_eq!(Text::from(a) == Text::from(b), a == b, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn beginnings() {
        let text: String = (0..400).map(|number| char::from(b'a' + number as u8 % 26)).collect();
        let whole = Text::from(text.as_str());
        for length in 0..=400 {
            let beginning = Text::from(&text[..length]);
            assert_eq!(whole.prefix(length as u64), Some(beginning.fingerprint()), "{length}");
        }
        assert_eq!(whole.prefix(401), None);
        assert_eq!(Text::from("").prefix(0), Some(Text::from("").fingerprint()));
    }
}
