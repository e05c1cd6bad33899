//! Lines that end in CR LF, and the lengths written on them.
//!
//! Both decoders meet a line again and again while it arrives in pieces. [`find`] therefore remembers how far it has
//! looked, so a line of n bytes costs n steps however many pieces it comes in. Its verdict does not depend on the
//! pieces: a line is too long exactly when no CR stands within its first `longest` + 1 bytes.

use memchr::memchr;

/// What is known about the line that begins at some position of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The position of its CR; LF follows.
    Ends(usize),
    /// The end is not here yet.
    Incomplete,
    /// More than the limit without an end.
    TooLong,
    /// A CR that no LF follows.
    Broken,
}

/// Looks for the end of the line that begins at `start`, from `resume_at` on (anything before was searched earlier).
pub(crate) fn find(bytes: &[u8], start: usize, resume_at: &mut usize, longest: usize) -> Line {
    let from = start.max(*resume_at);
    let window_end = bytes.len().min(start.saturating_add(longest).saturating_add(1));
    match bytes.get(from..window_end).and_then(|window| memchr(b'\r', window)) {
        Some(offset) => {
            let end = from + offset;
            *resume_at = end;
            match bytes.get(end + 1) {
                Some(b'\n') => Line::Ends(end),
                Some(_) => Line::Broken,
                None => Line::Incomplete,
            }
        }
        None => {
            *resume_at = from.max(window_end);
            if bytes.len() - start > longest { Line::TooLong } else { Line::Incomplete }
        }
    }
}

/// A length header: a type byte, a decimal number, CR LF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The number, and the position after the line.
    Is(i64, usize),
    /// The end of the line is not here yet.
    Incomplete,
    /// More than the limit without an end.
    TooLong,
    /// Not a number as Redis writes one.
    Invalid,
}

/// Reads the length header whose type byte stands at `start`.
#[inline]
pub(crate) fn length(bytes: &[u8], start: usize, resume_at: &mut usize, longest: usize) -> Length {
    // Nearly every header is a few digits that are here already: one pass over them, no search for the end. Nine
    // digits cannot overflow.
    let digits = bytes.get(start + 1..).unwrap_or_default();
    let mut value = 0_i64;
    let mut count = 0;
    while count < 9 && count < digits.len() && digits[count].is_ascii_digit() {
        value = value * 10 + i64::from(digits[count] - b'0');
        count += 1;
    }
    let canonical = count > 0 && (digits[0] != b'0' || count == 1);
    if canonical && count < longest && digits.len() >= count + 2 && digits[count..count + 2] == *b"\r\n" {
        return Length::Is(value, start + 1 + count + 2);
    }
    length_by_line(bytes, start, resume_at, longest)
}

/// The same without assumptions: find the line, then read it.
#[cold]
fn length_by_line(bytes: &[u8], start: usize, resume_at: &mut usize, longest: usize) -> Length {
    match find(bytes, start, resume_at, longest) {
        Line::Ends(end) => match integer(&bytes[start + 1..end]) {
            Some(value) => Length::Is(value, end + 2),
            None => Length::Invalid,
        },
        Line::Incomplete => Length::Incomplete,
        Line::TooLong => Length::TooLong,
        Line::Broken => Length::Invalid,
    }
}

/// A decimal 64-bit integer in the one spelling that Redis accepts: no plus, no leading zeros, no blanks, no `-0`.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    match digits.first()? {
        b'0' => return (digits.len() == 1 && !negative).then_some(0),
        b'1'..=b'9' => {}
        _ => return None,
    }
    // Collected as a negative number, whose range is the larger by one.
    let mut value = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        let accepted = [
            ("0", 0),
            ("7", 7),
            ("-1", -1),
            ("1234567890", 1_234_567_890),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, value) in accepted {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        let refused = [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "00",
            " 1",
            "1 ",
            "1x",
            "9223372036854775808",
            "-9223372036854775809",
        ];
        for text in refused {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_line_is_not_searched_twice() {
        let mut bytes = vec![b'x'; 100];
        let mut resume_at = 0;
        assert_eq!(find(&bytes, 0, &mut resume_at, 1000), Line::Incomplete);
        assert_eq!(resume_at, 100);
        bytes.push(b'\r');
        assert_eq!(find(&bytes, 0, &mut resume_at, 1000), Line::Incomplete);
        assert_eq!(resume_at, 100);
        bytes.push(b'\n');
        assert_eq!(find(&bytes, 0, &mut resume_at, 1000), Line::Ends(100));
    }

    #[test]
    fn a_line_is_too_long_by_its_length_alone() {
        for arrived in 0..=12 {
            let line = &b"$123456789\r\n"[..arrived];
            let mut resume_at = 0;
            let expected = if arrived > 9 { Length::TooLong } else { Length::Incomplete };
            assert_eq!(length(line, 0, &mut resume_at, 9), expected, "{arrived}");
        }
        assert_eq!(length(b"$12345678\r\n", 0, &mut 0, 9), Length::Is(12_345_678, 11));
    }

    #[test]
    fn lengths() {
        let table: [(&[u8], Length); 10] = [
            (b"*0\r\n", Length::Is(0, 4)),
            (b"*-1\r\n", Length::Is(-1, 5)),
            (b"*12\r\nrest", Length::Is(12, 5)),
            (b"*12345678901\r\n", Length::Is(12_345_678_901, 14)),
            (b"*01\r\n", Length::Invalid),
            (b"*\r\n", Length::Invalid),
            (b"*1\rx", Length::Invalid),
            (b"*1\n", Length::Incomplete),
            (b"*", Length::Incomplete),
            (b"*1\r", Length::Incomplete),
        ];
        for (bytes, expected) in table {
            assert_eq!(length(bytes, 0, &mut 0, 64), expected, "{}", bytes.escape_ascii());
        }
    }
}
