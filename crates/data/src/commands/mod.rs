//! The code of the commands, by theme. Each is a [`Handler`](crate::context::Handler): it looks at keys, decides
//! whatever depends on time, chance or the value before, adds absolute changes, and gives the reply.
//!
//! Differences from Redis that are meant:
//! - `INCRBYFLOAT` adds in decimal, exactly, where Redis rounds in 80-bit floating point (see `number`); it takes neither
//!   hexadecimal nor numbers beyond 64-bit floating point.
//! - There is one database: `COPY ... DB n` takes only 0.
//! - `OBJECT ENCODING` tells what Redis would make of the value if it were set anew; Redis also remembers how the value came about.
//!   `OBJECT REFCOUNT` is 1, `OBJECT IDLETIME` 0: neither is kept.
//! - A key ends at its expiry, where Redis lets it live for the rest of that millisecond; `SET` with an expiry in the past
//!   deletes the key at once.
//! - Error texts repeat at most 128 bytes of what the client sent.
//! - The glob matcher takes time in proportion to key times pattern, and knows no pattern that makes it slower.
//! - Cursors of `SCAN` differ, and `RANDOMKEY` picks differently.
//! - Scores are written with as few digits as read back the same, as Redis 7.2 does; -0 is 0. An empty bound of a range by score
//!   (`(`) is an error, where Redis takes it for 0. `ZRANGEBYLEX` over members with different scores is by member alone.
//! - Hashes, sets and sorted sets give their elements in an order of their own where Redis promises none.
//! - `HRANDFIELD`, `SRANDMEMBER` and `ZRANDMEMBER` with repetition give 2^20 elements at most.

pub(crate) mod bit;
pub(crate) mod blocking;
pub(crate) mod conflict;
pub(crate) mod counter;
mod edit;
pub(crate) mod expire;
pub(crate) mod expiring;
pub(crate) mod hash;
pub(crate) mod inspect;
pub(crate) mod keyspace;
pub(crate) mod list;
pub(crate) mod many;
mod random;
pub(crate) mod scan;
pub(crate) mod set;
pub(crate) mod sorted_set;
pub(crate) mod string;

use bytes::Bytes;
use resp::Value;

use crate::errors;
use crate::number::parse_integer;
use crate::view::FoundString;

/// A whole number.
fn integer(argument: &[u8]) -> Result<i64, Value> {
    parse_integer(argument).ok_or(errors::NOT_INTEGER)
}

/// Is the argument this word, in any case?
fn is_word(argument: &Bytes, word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// The string found, or null.
fn bulk_or_null(found: Option<&FoundString<'_>>) -> Value {
    found.map_or(Value::Null, |found| Value::Bulk(found.to_bytes()))
}

/// Are both counted from the end, in the wrong order? Most commands then find nothing, even where both stand before the
/// first element.
fn is_upside_down(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

/// The indices from `start` to `end`, both included and negative ones counted from the end, of something of this
/// length; `None` if there are none.
fn clamp_range(start: i64, end: i64, length: u64) -> Option<(u64, u64)> {
    let length = length as i64;
    let from_start = |index: i64| if index < 0 { index.saturating_add(length) } else { index }.max(0);
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    (start <= end).then_some((start as u64, end as u64))
}

/// The indices from `start` to `end` of a list or of ranks: as [`clamp_range`], but an end before the first leaves nothing.
fn element_range(start: i64, end: i64, length: usize) -> Option<(usize, usize)> {
    if end < 0 && end.saturating_add(length as i64) < 0 {
        return None;
    }
    clamp_range(start, end, length as u64).map(|(start, end)| (start as usize, end as usize))
}

/// The keys of `numkeys key [key ...]`, and what follows them.
fn counted_keys(arguments: &[Bytes]) -> Result<(&[Bytes], &[Bytes]), Value> {
    let count = arguments
        .first()
        .and_then(|count| parse_integer(count))
        .and_then(|count| usize::try_from(count).ok());
    match count {
        Some(count) if count > 0 => arguments[1..].split_at_checked(count).ok_or(errors::SYNTAX),
        _ => Err(errors::NUMKEYS_POSITIVE),
    }
}

/// The number of `[COUNT count]`; 1 if it is not said.
fn pop_count(options: &[Bytes]) -> Result<usize, Value> {
    match options {
        [] => Ok(1),
        [word, count, more @ ..] if is_word(word, "COUNT") => {
            let count = parse_integer(count).and_then(|count| usize::try_from(count).ok());
            let count = count.filter(|&count| count > 0).ok_or(errors::COUNT_POSITIVE)?;
            if more.is_empty() { Ok(count) } else { Err(errors::SYNTAX) }
        }
        _ => Err(errors::SYNTAX),
    }
}
