//! Keys whatever they hold: `DEL`, `EXISTS`, `TYPE`, `RENAME`, `COPY`, `DBSIZE`, `FLUSHALL`.

use bytes::Bytes;
use resp::Value;

use super::{integer, is_word};
use crate::context::Context;
use crate::errors;

pub(crate) fn del(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let mut keys: Vec<&Bytes> = arguments[1..].iter().collect();
    keys.sort_unstable();
    keys.dedup();
    let mut deleted = 0;
    for key in keys {
        if context.find(key).is_some() {
            context.delete(key);
            deleted += 1;
        }
    }
    Ok(Value::Integer(deleted))
}

pub(crate) fn exists(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let present = arguments[1..].iter().filter(|key| context.find(key).is_some()).count();
    Ok(Value::Integer(present as i64))
}

pub(crate) fn type_of(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let name = context.find(&arguments[1]).map_or("none", |found| found.type_name());
    Ok(Value::Simple(name.into()))
}

pub(crate) fn rename(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    rename_if(context, arguments, true).map(|_| Value::OK)
}

pub(crate) fn renamenx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    rename_if(context, arguments, false).map(|renamed| Value::Integer(renamed.into()))
}

fn rename_if(context: &mut Context<'_>, arguments: &[Bytes], replace: bool) -> Result<bool, Value> {
    let (from, to) = (&arguments[1], &arguments[2]);
    let found = context.find(from).ok_or(errors::NO_SUCH_KEY)?;
    if from == to || (!replace && context.find(to).is_some()) {
        return Ok(false);
    }
    context.delete(from);
    context.set_found(to, &found);
    Ok(true)
}

pub(crate) fn copy(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (from, to) = (&arguments[1], &arguments[2]);
    let mut replace = false;
    let mut options = arguments[3..].iter();
    while let Some(option) = options.next() {
        match () {
            () if is_word(option, "REPLACE") => replace = true,
            () if is_word(option, "DB") => match options.next() {
                Some(number) => check_database(number)?,
                None => return Err(errors::SYNTAX),
            },
            () => return Err(errors::SYNTAX),
        }
    }
    if from == to {
        return Err(errors::SAME_OBJECT);
    }
    let Some(found) = context.find(from) else { return Ok(Value::Integer(0)) };
    if !replace && context.find(to).is_some() {
        return Ok(Value::Integer(0));
    }
    context.set_found(to, &found);
    Ok(Value::Integer(1))
}

/// There is one database, number 0.
fn check_database(number: &[u8]) -> Result<(), Value> {
    match i32::try_from(integer(number)?) {
        Ok(0) => Ok(()),
        Ok(_) => Err(errors::DB_RANGE),
        Err(_) => Err(errors::INT_RANGE),
    }
}

/// Counts keys that are past their expiry and still there, as Redis does.
pub(crate) fn dbsize(context: &mut Context<'_>, _: &[Bytes]) -> Result<Value, Value> {
    Ok(Value::Integer(context.key_count() as i64))
}

pub(crate) fn flush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    match arguments {
        [_] => {}
        [_, mode] if is_word(mode, "ASYNC") || is_word(mode, "SYNC") => {}
        _ => return Err(errors::SYNTAX),
    }
    if context.may_hold_keys() {
        context.flush();
    }
    Ok(Value::OK)
}
