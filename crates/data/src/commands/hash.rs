//! Hashes: `HSET` and its family.

use bytes::Bytes;
use resp::Value;

use super::edit::Edit;
use super::integer;
use super::random::{Draws, draws};
use super::scan::element_scan;
use crate::collection::{Element, Kind};
use crate::context::Context;
use crate::errors;
use crate::number::{Decimal, parse_integer};
use crate::view::FoundCollection;

type Result<T = Value> = std::result::Result<T, Value>;

pub(crate) fn hset(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    set_fields(context, arguments).map(|new| Value::Integer(new as i64))
}

pub(crate) fn hmset(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    set_fields(context, arguments).map(|_| Value::OK)
}

/// The number of fields that are new.
fn set_fields(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<usize> {
    let pairs = arguments[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(errors::wrong_arity(context.name));
    }
    let mut hash = Edit::open(context, &arguments[1], Kind::Hash)?;
    let new = pairs.filter(|pair| hash.set(pair[0].clone(), pair[1].clone())).count();
    hash.finish(context);
    Ok(new)
}

pub(crate) fn hsetnx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut hash = Edit::open(context, &arguments[1], Kind::Hash)?;
    if hash.get(&arguments[2]).is_some() {
        return Ok(Value::Integer(0));
    }
    hash.set(arguments[2].clone(), arguments[3].clone());
    hash.finish(context);
    Ok(Value::Integer(1))
}

pub(crate) fn hget(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    Ok(field(found.as_ref(), &arguments[2]))
}

pub(crate) fn hmget(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    Ok(Value::Array(arguments[2..].iter().map(|name| field(found.as_ref(), name)).collect()))
}

pub(crate) fn hdel(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut hash = Edit::open(context, &arguments[1], Kind::Hash)?;
    let removed = arguments[2..].iter().filter(|name| hash.remove((*name).clone())).count();
    if removed > 0 {
        hash.finish(context);
    }
    Ok(Value::Integer(removed as i64))
}

pub(crate) fn hexists(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    Ok(Value::Integer(found.is_some_and(|found| found.contains(&arguments[2])).into()))
}

pub(crate) fn hlen(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    Ok(Value::Integer(found.map_or(0, |found| found.len()) as i64))
}

pub(crate) fn hstrlen(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    let length = found.and_then(|found| found.get(&arguments[2]).map(<[u8]>::len));
    Ok(Value::Integer(length.unwrap_or(0) as i64))
}

pub(crate) fn hgetall(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    let pair = |element: Element<'_>| (bulk(element.name), bulk(element.value));
    Ok(Value::Map(found.iter().flat_map(FoundCollection::elements).map(pair).collect()))
}

pub(crate) fn hkeys(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    let elements = found.iter().flat_map(FoundCollection::elements);
    Ok(Value::Array(elements.map(|element| bulk(element.name)).collect()))
}

pub(crate) fn hvals(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Hash)?;
    let elements = found.iter().flat_map(FoundCollection::elements);
    Ok(Value::Array(elements.map(|element| bulk(element.value)).collect()))
}

pub(crate) fn hincrby(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let increment = integer(&arguments[3])?;
    let mut hash = Edit::open(context, &arguments[1], Kind::Hash)?;
    let number = match hash.get(&arguments[2]) {
        Some(value) => parse_integer(value).ok_or(errors::HASH_NOT_INTEGER)?,
        None => 0,
    };
    let sum = number.checked_add(increment).ok_or(errors::OVERFLOW)?;
    hash.increase(arguments[2].clone(), Bytes::from(sum.to_string()), Decimal::whole(increment));
    hash.try_finish(context)?;
    Ok(Value::Integer(sum))
}

pub(crate) fn hincrbyfloat(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let increment = Decimal::parse(&arguments[3]).ok_or(errors::NOT_FLOAT)?;
    let mut hash = Edit::open(context, &arguments[1], Kind::Hash)?;
    let number = match hash.get(&arguments[2]) {
        Some(value) => Decimal::parse(value).ok_or(errors::HASH_NOT_FLOAT)?,
        None => Decimal::ZERO,
    };
    let sum = Bytes::from(number.add(increment).ok_or(errors::NAN_OR_INFINITY)?.print());
    hash.increase(arguments[2].clone(), sum.clone(), increment);
    hash.try_finish(context)?;
    Ok(Value::Bulk(sum))
}

pub(crate) fn hrandfield(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (count, with_values) = Draws::parse(&arguments[2..], Some("WITHVALUES"))?;
    let Some(found) = context.collection(&arguments[1], Kind::Hash)? else { return Ok(count.of_nothing()) };
    let drawn = draws(&found, count, context.seed);
    Ok(match (count, with_values) {
        (Draws::One, _) => drawn.first().map_or(Value::Null, |element| bulk(element.name)),
        (_, false) => Value::Array(drawn.iter().map(|element| bulk(element.name)).collect()),
        (_, true) => {
            Value::Pairs(drawn.iter().map(|element| (bulk(element.name), bulk(element.value))).collect())
        }
    })
}

pub(crate) fn hscan(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    element_scan(context, arguments, Kind::Hash, |element, out| {
        out.push(bulk(element.name));
        out.push(bulk(element.value));
    })
}

fn field(found: Option<&FoundCollection<'_>>, name: &[u8]) -> Value {
    found.and_then(|found| found.get(name)).map_or(Value::Null, bulk)
}

fn bulk(bytes: &[u8]) -> Value {
    Value::Bulk(Bytes::copy_from_slice(bytes))
}
