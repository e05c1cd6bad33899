//! Commands that wait until there is something to pop. Here each is a single try that finds something or does not; the server
//! tries again when one of the keys has changed, until the time is over.

use bytes::Bytes;
use resp::Value;

use crate::collection::Kind;
use crate::number::Decimal;
use crate::{Command, errors};

/// What a command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// The type of what one of the keys is to hold.
    pub kind: Kind,
    /// The keys.
    pub keys: Vec<Bytes>,
    /// For how long, in milliseconds; `None`: without end.
    pub timeout_ms: Option<u64>,
}

/// What a command waits for if it finds nothing; `None` if it does not wait, or its arguments are wrong (which it says itself).
pub fn blocking(command: &Command, arguments: &[Bytes]) -> Option<Blocking> {
    // Few names begin so, and every command comes past here.
    if !command.name.starts_with('b') {
        return None;
    }
    let last = arguments.len().checked_sub(1)?;
    let (kind, keys, timeout_at) = match command.name {
        "blpop" | "brpop" => (Kind::List, arguments.get(1..last)?, last),
        "blmove" => (Kind::List, arguments.get(1..2)?, 5),
        "brpoplpush" => (Kind::List, arguments.get(1..2)?, 3),
        "blmpop" => (Kind::List, super::counted_keys(arguments.get(2..)?).ok()?.0, 1),
        "bzpopmin" | "bzpopmax" => (Kind::SortedSet, arguments.get(1..last)?, last),
        "bzmpop" => (Kind::SortedSet, super::counted_keys(arguments.get(2..)?).ok()?.0, 1),
        _ => return None,
    };
    Some(Blocking { kind, keys: keys.to_vec(), timeout_ms: timeout(arguments.get(timeout_at)?).ok()? })
}

/// How long a client is ready to wait, in milliseconds; `None`: without end.
pub(crate) fn timeout(argument: &Bytes) -> Result<Option<u64>, Value> {
    let seconds = Decimal::parse(argument).ok_or(errors::TIMEOUT_NOT_FLOAT)?.near();
    if seconds < 0.0 {
        return Err(errors::TIMEOUT_NEGATIVE);
    }
    let milliseconds = (seconds * 1000.0).ceil();
    if !milliseconds.is_finite() || milliseconds >= i64::MAX as f64 {
        return Err(errors::TIMEOUT_RANGE);
    }
    Ok((milliseconds > 0.0).then_some(milliseconds as u64))
}
