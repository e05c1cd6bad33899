//! `GET`, `SETNX`, `GETSET`, `GETDEL`, `APPEND`, `STRLEN`, `GETRANGE`, `SETRANGE`.

use bytes::Bytes;
use resp::Value;

use super::{bulk_or_null, clamp_range, integer, is_upside_down};
use crate::context::Context;
use crate::errors;
use crate::mutation::MAX_STRING_BYTES;

pub(crate) fn get(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    Ok(bulk_or_null(context.string(&arguments[1])?.as_ref()))
}

pub(crate) fn setnx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (key, value) = (&arguments[1], &arguments[2]);
    if context.find(key).is_some() {
        return Ok(Value::Integer(0));
    }
    context.set(key, value, None);
    Ok(Value::Integer(1))
}

pub(crate) fn getset(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (key, value) = (&arguments[1], &arguments[2]);
    let reply = bulk_or_null(context.string(key)?.as_ref());
    context.set(key, value, None);
    Ok(reply)
}

pub(crate) fn getdel(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let key = &arguments[1];
    let Some(found) = context.string(key)? else { return Ok(Value::Null) };
    context.delete(key);
    Ok(Value::Bulk(found.to_bytes()))
}

pub(crate) fn append(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (key, value) = (&arguments[1], &arguments[2]);
    let Some(found) = context.string(key)? else {
        context.set(key, value, None);
        return Ok(Value::Integer(value.len() as i64));
    };
    let length = check_length(found.len(), value.len())?;
    if !value.is_empty() {
        context.set_range(key, found.len(), value);
    }
    Ok(Value::Integer(length as i64))
}

pub(crate) fn strlen(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    Ok(Value::Integer(context.string(&arguments[1])?.map_or(0, |found| found.len()) as i64))
}

pub(crate) fn getrange(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (start, end) = (integer(&arguments[2])?, integer(&arguments[3])?);
    let Some(found) = context.string(&arguments[1])? else { return Ok(Value::bulk(Bytes::new())) };
    let upside_down = is_upside_down(start, end);
    Ok(match clamp_range(start, end, found.len()) {
        Some((start, end)) if !upside_down => Value::bulk(found.read(start..end + 1).into_owned()),
        _ => Value::bulk(Bytes::new()),
    })
}

pub(crate) fn setrange(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (key, value) = (&arguments[1], &arguments[3]);
    let offset = u64::try_from(integer(&arguments[2])?).map_err(|_| errors::OFFSET_RANGE)?;
    let length = context.string(key)?.map_or(0, |found| found.len());
    if value.is_empty() {
        return Ok(Value::Integer(length as i64));
    }
    let end = check_length(offset, value.len())?;
    context.set_range(key, offset, value);
    Ok(Value::Integer(length.max(end) as i64))
}

/// The length of `start` bytes and `more`.
pub(super) fn check_length(start: u64, more: usize) -> Result<u64, Value> {
    match start.checked_add(more as u64) {
        Some(length) if length <= MAX_STRING_BYTES => Ok(length),
        _ => Err(errors::TOO_LONG),
    }
}
