//! When keys end: the `EXPIRE` and `TTL` families, and `PERSIST`.

use bytes::Bytes;
use resp::Value;

use super::{integer, is_word};
use crate::context::Context;
use crate::errors;

/// `NX`, `XX`, `GT`, `LT`.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_earlier: bool,
}

impl Conditions {
    fn parse(options: &[Bytes]) -> Result<Self, Value> {
        let mut conditions = Conditions::default();
        for option in options {
            match () {
                () if is_word(option, "NX") => conditions.only_without = true,
                () if is_word(option, "XX") => conditions.only_with = true,
                () if is_word(option, "GT") => conditions.only_later = true,
                () if is_word(option, "LT") => conditions.only_earlier = true,
                () => return Err(errors::unsupported_option(option)),
            }
        }
        let Conditions { only_without, only_with, only_later, only_earlier } = conditions;
        if only_without && (only_with || only_later || only_earlier) {
            return Err(Value::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if only_later && only_earlier {
            return Err(Value::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Do they allow to end a key at `new_ms` that ends at `old_ms`? A key without expiry ends later than any other.
    fn allow(&self, old_ms: Option<u64>, new_ms: i64) -> bool {
        let old = old_ms.map_or(i64::MAX, |at_ms| at_ms as i64);
        !(self.only_without && old_ms.is_some()
            || self.only_with && old_ms.is_none()
            || self.only_later && new_ms <= old
            || self.only_earlier && old_ms.is_some() && new_ms >= old)
    }
}

pub(crate) fn expire(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_expiry(context, arguments, 1000, context.now_ms)
}

pub(crate) fn pexpire(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_expiry(context, arguments, 1, context.now_ms)
}

pub(crate) fn expireat(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_expiry(context, arguments, 1000, 0)
}

pub(crate) fn pexpireat(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_expiry(context, arguments, 1, 0)
}

pub(crate) fn persist(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let key = &arguments[1];
    let has_expiry = context.find(key).is_some_and(|found| found.expire_at_ms().is_some());
    if has_expiry {
        context.expire(key, None);
    }
    Ok(Value::Integer(has_expiry.into()))
}

pub(crate) fn ttl(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let now_ms = context.now_ms;
    tell_expiry(context, arguments, |at_ms| (at_ms.saturating_sub(now_ms) + 500) / 1000)
}

pub(crate) fn pttl(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let now_ms = context.now_ms;
    tell_expiry(context, arguments, |at_ms| at_ms.saturating_sub(now_ms))
}

pub(crate) fn expiretime(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    tell_expiry(context, arguments, |at_ms| at_ms.saturating_add(500) / 1000)
}

pub(crate) fn pexpiretime(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    tell_expiry(context, arguments, |at_ms| at_ms)
}

/// -2: there is no such key; -1: it has no expiry.
fn tell_expiry(
    context: &mut Context<'_>,
    arguments: &[Bytes],
    tell: impl Fn(u64) -> u64,
) -> Result<Value, Value> {
    Ok(Value::Integer(match context.find(&arguments[1]).map(|found| found.expire_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => tell(at_ms) as i64,
    }))
}

fn set_expiry(
    context: &mut Context<'_>,
    arguments: &[Bytes],
    unit_ms: i64,
    start_ms: u64,
) -> Result<Value, Value> {
    let key = &arguments[1];
    let conditions = Conditions::parse(&arguments[3..])?;
    let at_ms = integer(&arguments[2])?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(start_ms as i64))
        .ok_or_else(|| errors::invalid_expire_time(context.name))?;
    let Some(found) = context.find(key) else { return Ok(Value::Integer(0)) };
    if !conditions.allow(found.expire_at_ms(), at_ms) {
        return Ok(Value::Integer(0));
    }
    match u64::try_from(at_ms) {
        Ok(at_ms) if at_ms > context.now_ms => {
            if found.expire_at_ms() != Some(at_ms) {
                context.expire(key, Some(at_ms));
            }
        }
        // It would have ended already.
        _ => context.delete(key),
    }
    Ok(Value::Integer(1))
}
