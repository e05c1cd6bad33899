//! Inline commands: a line of words, as a person types them into a terminal.
//!
//! Words are parted by blanks. `"..."` knows the escapes `\n \r \t \b \a \xHH` and takes any other escaped byte as it is;
//! `'...'` knows only `\'`. A closing quote must end its word. As in Redis a NUL byte ends the line.

use bytes::{Bytes, BytesMut};

/// The words of `line` (without its line end), or `None` where quotes are not balanced. Words without quotes are
/// slices of the line.
pub(crate) fn split_words(line: &Bytes) -> Option<Vec<Bytes>> {
    let text = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].iter().take_while(|&&byte| is_space(byte)).count();
        if at == text.len() {
            return Some(words);
        }
        let plain = text[at..].iter().take_while(|&&byte| !ends_word(byte) && !is_quote(byte)).count();
        let end = at + plain;
        if text.get(end).copied().is_some_and(is_quote) {
            let (word, next) = quoted_word(text, at, end)?;
            words.push(word);
            at = next;
        } else {
            words.push(line.slice(at..end));
            at = end;
        }
    }
}

/// A word that begins plainly at `start` and whose quote opens at `quote`; with the position after it.
fn quoted_word(text: &[u8], start: usize, quote: usize) -> Option<(Bytes, usize)> {
    let mut word = BytesMut::from(&text[start..quote]);
    let end = if text[quote] == b'"' {
        double_quoted(text, quote + 1, &mut word)?
    } else {
        single_quoted(text, quote + 1, &mut word)?
    };
    match text.get(end) {
        Some(&byte) if !is_space(byte) => None,
        _ => Some((word.freeze(), end)),
    }
}

fn double_quoted(text: &[u8], mut at: usize, word: &mut BytesMut) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape(&text[at + 1..], word)? + 1,
            &byte => {
                word.extend_from_slice(&[byte]);
                at += 1;
            }
        }
    }
}

/// Appends what stands after a backslash; returns how many bytes that were.
fn escape(text: &[u8], word: &mut BytesMut) -> Option<usize> {
    if let [b'x', high, low, ..] = text
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        word.extend_from_slice(&[high * 16 + low]);
        return Some(3);
    }
    let byte = match *text.first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    };
    word.extend_from_slice(&[byte]);
    Some(1)
}

fn single_quoted(text: &[u8], mut at: usize, word: &mut BytesMut) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'\'' => return Some(at + 1),
            b'\\' if text.get(at + 1) == Some(&b'\'') => {
                word.extend_from_slice(b"'");
                at += 2;
            }
            &byte => {
                word.extend_from_slice(&[byte]);
                at += 1;
            }
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `isspace` of C in its default locale: what may stand between words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// What ends a word without quotes (vertical tab and form feed do not).
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let table: [(&[u8], &[&[u8]]); 16] = [
            (b"", &[]),
            (b"   ", &[]),
            (b"PING", &[b"PING"]),
            (b"  SET  key\tvalue ", &[b"SET", b"key", b"value"]),
            (br#"SET k "a b""#, &[b"SET", b"k", b"a b"]),
            (br#"SET k """#, &[b"SET", b"k", b""]),
            (br#"a "\x41\n\r\t\b\a\\\"\q""#, &[b"a", b"A\n\r\t\x08\x07\\\"q"]),
            (br#"a "\xzz\x4""#, &[b"a", b"xzzx4"]),
            (br"a 'it\'s' '\n'", &[b"a", b"it's", b"\\n"]),
            (br#"foo"bar" baz"#, &[b"foobar", b"baz"]),
            (br#"'"' "'""#, &[b"\"", b"'"]),
            (b"a\0b c", &[b"a"]),
            (b"\x0ba\x0bb", &[b"a\x0bb"]),
            (b"\"a\"\x0cb", &[b"a", b"b"]),
            (b"\xff\xfe x", &[b"\xff\xfe", b"x"]),
            (b"\\n", &[b"\\n"]),
        ];
        for (line, expected) in table {
            let words = split_words(&Bytes::from_static(line)).expect("balanced");
            assert_eq!(words, expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced() {
        let table: [&[u8]; 9] =
            [b"\"", b"'", b"a \"b", b"a 'b", b"\"a\"b", b"'a'b", b"\"a\\", b"'a\\'", b"\"a\0\""];
        for line in table {
            assert_eq!(split_words(&Bytes::from_static(line)), None, "{}", line.escape_ascii());
        }
    }
}
