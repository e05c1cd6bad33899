//! `MGET`, `MSET`, `MSETNX`.

use bytes::Bytes;
use resp::Value;

use super::bulk_or_null;
use crate::context::Context;
use crate::errors;

pub(crate) fn mget(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    // A key of another type counts as absent here, so it is not an error as in GET.
    let values = arguments[1..].iter().map(|key| bulk_or_null(context.string(key).ok().flatten().as_ref()));
    Ok(Value::Array(values.collect()))
}

pub(crate) fn mset(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    set_all(context, arguments)?;
    Ok(Value::OK)
}

pub(crate) fn msetnx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let keys = arguments[1..].iter().step_by(2);
    if arguments.len() % 2 == 1 && keys.filter(|key| context.find(key).is_some()).count() > 0 {
        return Ok(Value::Integer(0));
    }
    set_all(context, arguments)?;
    Ok(Value::Integer(1))
}

fn set_all(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<(), Value> {
    let pairs = arguments[1..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(errors::wrong_arity(context.name));
    }
    pairs.for_each(|pair| context.set(&pair[0], &pair[1], None));
    Ok(())
}
