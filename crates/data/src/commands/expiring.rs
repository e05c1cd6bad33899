//! `SET`, `SETEX`, `PSETEX`, `GETEX`: strings with an expiry.

use bytes::Bytes;
use resp::Value;

use super::{bulk_or_null, integer, is_word};
use crate::context::Context;
use crate::errors;
use crate::view::Found;

/// What the options say of the expiry.
#[derive(Clone, Copy, Debug)]
enum Expiry<'a> {
    /// Nothing.
    Unsaid,
    /// `KEEPTTL`.
    Keep,
    /// `PERSIST`.
    Remove,
    /// `EX`, `PX`, `EXAT`, `PXAT`.
    Given(Unit, &'a Bytes),
}

/// How a number says when a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    milliseconds: i64,
    from_now: bool,
}

const EX: Unit = Unit { milliseconds: 1000, from_now: true };
const PX: Unit = Unit { milliseconds: 1, from_now: true };
const EXAT: Unit = Unit { milliseconds: 1000, from_now: false };
const PXAT: Unit = Unit { milliseconds: 1, from_now: false };

/// The options of `SET` and `GETEX`.
#[derive(Debug)]
struct Options<'a> {
    only_absent: bool,
    only_present: bool,
    get: bool,
    expiry: Expiry<'a>,
}

/// Whose options are read: each has some that the other has not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Set,
    GetEx,
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [Bytes], of: Of) -> Result<Self, Value> {
        let mut options =
            Options { only_absent: false, only_present: false, get: false, expiry: Expiry::Unsaid };
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            if of == Of::Set && is_word(word, "NX") && !options.only_present {
                options.only_absent = true;
            } else if of == Of::Set && is_word(word, "XX") && !options.only_absent {
                options.only_present = true;
            } else if of == Of::Set && is_word(word, "GET") {
                options.get = true;
            } else {
                options.parse_expiry(word, &mut rest, of)?;
            }
        }
        Ok(options)
    }

    fn parse_expiry(
        &mut self,
        word: &Bytes,
        rest: &mut std::slice::Iter<'a, Bytes>,
        of: Of,
    ) -> Result<(), Value> {
        let units = [("EX", EX), ("PX", PX), ("EXAT", EXAT), ("PXAT", PXAT)];
        let unit = units.iter().find(|(name, _)| is_word(word, name)).map(|(_, unit)| *unit);
        self.expiry = match (self.expiry, unit) {
            // One unit may be given twice: the last number counts.
            (Expiry::Unsaid, Some(unit)) => Expiry::Given(unit, rest.next().ok_or(errors::SYNTAX)?),
            (Expiry::Given(before, _), Some(unit)) if before == unit => {
                Expiry::Given(unit, rest.next().ok_or(errors::SYNTAX)?)
            }
            (Expiry::Unsaid | Expiry::Keep, None) if of == Of::Set && is_word(word, "KEEPTTL") => {
                Expiry::Keep
            }
            (Expiry::Unsaid | Expiry::Remove, None) if of == Of::GetEx && is_word(word, "PERSIST") => {
                Expiry::Remove
            }
            _ => return Err(errors::SYNTAX),
        };
        Ok(())
    }
}

pub(crate) fn set(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (key, value) = (&arguments[1], &arguments[2]);
    let options = Options::parse(&arguments[3..], Of::Set)?;
    let given = match options.expiry {
        Expiry::Given(unit, number) => Some(expire_at_ms(context, unit, number)?),
        _ => None,
    };
    // Most writes ask for nothing of the old value: then the key need not be looked up.
    let plain = !(options.only_absent || options.only_present || options.get)
        && given.is_none()
        && !matches!(options.expiry, Expiry::Keep);
    if plain {
        context.set(key, value, None);
        return Ok(Value::OK);
    }
    let old = if options.get { bulk_or_null(context.string(key)?.as_ref()) } else { Value::Null };
    let found = context.find(key);
    if (options.only_absent && found.is_some()) || (options.only_present && found.is_none()) {
        return Ok(old);
    }
    let expire_at_ms = match options.expiry {
        Expiry::Keep => found.as_ref().and_then(Found::expire_at_ms),
        _ => given,
    };
    set_until(context, key, value, expire_at_ms, found.is_some());
    Ok(if options.get { old } else { Value::OK })
}

pub(crate) fn setex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_with(context, arguments, EX)
}

pub(crate) fn psetex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_with(context, arguments, PX)
}

pub(crate) fn getex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let key = &arguments[1];
    let options = Options::parse(&arguments[2..], Of::GetEx)?;
    let Some(found) = context.string(key)? else { return Ok(Value::Null) };
    match options.expiry {
        Expiry::Given(unit, number) => match expire_at_ms(context, unit, number)? {
            at_ms if at_ms <= context.now_ms => context.delete(key),
            at_ms if found.expire_at_ms == Some(at_ms) => {}
            at_ms => context.expire(key, Some(at_ms)),
        },
        Expiry::Remove if found.expire_at_ms.is_some() => context.expire(key, None),
        _ => {}
    }
    Ok(Value::Bulk(found.to_bytes()))
}

fn set_with(context: &mut Context<'_>, arguments: &[Bytes], unit: Unit) -> Result<Value, Value> {
    let (key, number, value) = (&arguments[1], &arguments[2], &arguments[3]);
    let at_ms = expire_at_ms(context, unit, number)?;
    context.set(key, value, Some(at_ms));
    Ok(Value::OK)
}

/// Sets the key; if it would have ended already, it goes instead.
fn set_until(context: &mut Context<'_>, key: &Bytes, value: &[u8], expire_at_ms: Option<u64>, present: bool) {
    if expire_at_ms.is_none_or(|at_ms| at_ms > context.now_ms) {
        context.set(key, value, expire_at_ms);
    } else if present {
        context.delete(key);
    }
}

/// When a key ends, in wall clock milliseconds.
fn expire_at_ms(context: &Context<'_>, unit: Unit, number: &Bytes) -> Result<u64, Value> {
    let number = integer(number)?;
    let start_ms = if unit.from_now { context.now_ms as i64 } else { 0 };
    let at_ms = number.checked_mul(unit.milliseconds).and_then(|ms| ms.checked_add(start_ms));
    match at_ms {
        Some(at_ms) if number > 0 => Ok(at_ms as u64),
        _ => Err(errors::invalid_expire_time(context.name)),
    }
}
