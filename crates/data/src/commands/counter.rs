//! `INCR`, `DECR`, `INCRBY`, `DECRBY`, `INCRBYFLOAT`. The mutation holds the sum, so that it may be applied again.

use bytes::Bytes;
use resp::Value;

use super::integer;
use crate::context::{Context, Increased};
use crate::errors;
use crate::number::{Decimal, parse_integer};
use crate::view::FoundString;

/// No whole number takes more bytes than the smallest.
const MAX_DIGITS: u64 = 20;

pub(crate) fn incr(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    add(context, &arguments[1], 1)
}

pub(crate) fn decr(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    add(context, &arguments[1], -1)
}

pub(crate) fn incrby(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let increment = integer(&arguments[2])?;
    add(context, &arguments[1], increment)
}

pub(crate) fn decrby(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let increment = integer(&arguments[2])?.checked_neg().ok_or(errors::DECREMENT_OVERFLOW)?;
    add(context, &arguments[1], increment)
}

pub(crate) fn incrbyfloat(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let key = &arguments[1];
    let found = context.string(key)?;
    let number = match &found {
        Some(found) => Decimal::parse(&found.bytes()).ok_or(errors::NOT_FLOAT)?,
        None => Decimal::ZERO,
    };
    let increment = Decimal::parse(&arguments[2]).ok_or(errors::NOT_FLOAT)?;
    let sum = number.add(increment).ok_or(errors::NAN_OR_INFINITY)?.print();
    increase(context, key, &sum, increment, found)?;
    Ok(Value::bulk(sum))
}

fn add(context: &mut Context<'_>, key: &Bytes, increment: i64) -> Result<Value, Value> {
    let found = context.string(key)?;
    let number = match &found {
        Some(found) => number_in(found).ok_or(errors::NOT_INTEGER)?,
        None => 0,
    };
    let sum = number.checked_add(increment).ok_or(errors::OVERFLOW)?;
    increase(context, key, &sum.to_string(), Decimal::whole(increment), found)?;
    Ok(Value::Integer(sum))
}

fn increase(
    context: &mut Context<'_>,
    key: &Bytes,
    sum: &str,
    amount: Decimal,
    found: Option<FoundString<'_>>,
) -> Result<(), Value> {
    let is_new = found.is_none();
    let what = Increased { kind: None, name: b"", value: sum.as_bytes(), amount, is_new };
    context.increase(key, what, found.and_then(|found| found.expire_at_ms))
}

fn number_in(found: &FoundString<'_>) -> Option<i64> {
    if found.len() > MAX_DIGITS {
        return None;
    }
    parse_integer(&found.bytes())
}
