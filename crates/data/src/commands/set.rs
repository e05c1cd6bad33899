//! Sets: `SADD` and its family.

use std::collections::BTreeSet;

use bytes::Bytes;
use resp::Value;

use super::edit::{Edit, store};
use super::random::{Draws, draws};
use super::scan::element_scan;
use super::{integer, is_word};
use crate::collection::{Element, Kind};
use crate::context::Context;
use crate::errors;
use crate::number::parse_integer;
use crate::view::FoundCollection;

type Result<T = Value> = std::result::Result<T, Value>;

pub(crate) fn sadd(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut set = Edit::open(context, &arguments[1], Kind::Set)?;
    let new = arguments[2..].iter().filter(|member| set.set((*member).clone(), Bytes::new())).count();
    set.finish(context);
    Ok(Value::Integer(new as i64))
}

pub(crate) fn srem(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut set = Edit::open(context, &arguments[1], Kind::Set)?;
    let removed = arguments[2..].iter().filter(|member| set.remove((*member).clone())).count();
    if removed > 0 {
        set.finish(context);
    }
    Ok(Value::Integer(removed as i64))
}

pub(crate) fn sismember(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Set)?;
    Ok(Value::Integer(found.is_some_and(|found| found.contains(&arguments[2])).into()))
}

pub(crate) fn smismember(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Set)?;
    let is_member = |member: &Bytes| found.as_ref().is_some_and(|found| found.contains(member));
    Ok(Value::Array(arguments[2..].iter().map(|member| Value::Integer(is_member(member).into())).collect()))
}

pub(crate) fn scard(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Set)?;
    Ok(Value::Integer(found.map_or(0, |found| found.len()) as i64))
}

pub(crate) fn smembers(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::Set)?;
    Ok(Value::Set(found.iter().flat_map(FoundCollection::elements).map(member).collect()))
}

pub(crate) fn spop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let count = match &arguments[2..] {
        [] => Draws::One,
        [count] => match parse_integer(count).map(u64::try_from) {
            Some(Ok(count)) => Draws::Different(count),
            _ => return Err(errors::MUST_BE_POSITIVE),
        },
        _ => return Err(errors::SYNTAX),
    };
    let mut set = Edit::open(context, &arguments[1], Kind::Set)?;
    let Some(found) = set.found() else {
        return Ok(if count == Draws::One { Value::Null } else { Value::Set(Vec::new()) });
    };
    let drawn = draws(found, count, context.seed);
    for element in &drawn {
        set.remove(Bytes::copy_from_slice(element.name));
    }
    if !drawn.is_empty() {
        set.finish(context);
    }
    let mut members = drawn.into_iter().map(member);
    Ok(if count == Draws::One {
        members.next().unwrap_or(Value::Null)
    } else {
        Value::Set(members.collect())
    })
}

pub(crate) fn srandmember(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    if arguments.len() > 3 {
        return Err(errors::SYNTAX);
    }
    let (count, _) = Draws::parse(&arguments[2..], None)?;
    let Some(found) = context.collection(&arguments[1], Kind::Set)? else { return Ok(count.of_nothing()) };
    let mut members = draws(&found, count, context.seed).into_iter().map(member);
    Ok(if count == Draws::One {
        members.next().unwrap_or(Value::Null)
    } else {
        Value::Array(members.collect())
    })
}

pub(crate) fn smove(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (from, to, member) = (&arguments[1], &arguments[2], &arguments[3]);
    let mut source = Edit::open(context, from, Kind::Set)?;
    if source.found().is_none() {
        return Ok(Value::Integer(0));
    }
    let mut target = Edit::open(context, to, Kind::Set)?;
    if from == to {
        return Ok(Value::Integer(source.get(member).is_some().into()));
    }
    if !source.remove(member.clone()) {
        return Ok(Value::Integer(0));
    }
    source.finish(context);
    target.set(member.clone(), Bytes::new());
    target.finish(context);
    Ok(Value::Integer(1))
}

/// What is made of several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algebra {
    Union,
    Intersection,
    Difference,
}

pub(crate) fn sunion(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    of_sets(context, &arguments[1..], Algebra::Union).map(set_of)
}

pub(crate) fn sinter(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    of_sets(context, &arguments[1..], Algebra::Intersection).map(set_of)
}

pub(crate) fn sdiff(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    of_sets(context, &arguments[1..], Algebra::Difference).map(set_of)
}

pub(crate) fn sunionstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_sets(context, arguments, Algebra::Union)
}

pub(crate) fn sinterstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_sets(context, arguments, Algebra::Intersection)
}

pub(crate) fn sdiffstore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    store_sets(context, arguments, Algebra::Difference)
}

pub(crate) fn sintercard(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let count = match integer(&arguments[1]).map(usize::try_from) {
        Ok(Ok(count)) if count > 0 => count,
        _ => return Err(errors::NUMKEYS_POSITIVE),
    };
    let Some(keys) = arguments.get(2..2 + count) else { return Err(errors::TOO_MANY_KEYS) };
    let mut limit = usize::MAX;
    for option in arguments[2 + count..].chunks(2) {
        match option {
            [word, number] if is_word(word, "LIMIT") => {
                limit = integer(number)
                    .ok()
                    .and_then(|number| usize::try_from(number).ok())
                    .ok_or(errors::LIMIT_NEGATIVE)?;
            }
            _ => return Err(errors::SYNTAX),
        }
    }
    let found = of_sets(context, keys, Algebra::Intersection)?.len();
    Ok(Value::Integer(if limit == 0 { found } else { found.min(limit) } as i64))
}

pub(crate) fn sscan(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    element_scan(context, arguments, Kind::Set, |element, out| out.push(member(element)))
}

fn store_sets(context: &mut Context<'_>, arguments: &[Bytes], algebra: Algebra) -> Result {
    let members = of_sets(context, &arguments[2..], algebra)?;
    let elements = members.iter().map(|name| Element { name, value: b"" });
    store(context, &arguments[1], Kind::Set, elements);
    Ok(Value::Integer(members.len() as i64))
}

/// The members of what is made of the sets in `keys`.
fn of_sets<'a>(context: &mut Context<'a>, keys: &[Bytes], algebra: Algebra) -> Result<BTreeSet<&'a [u8]>> {
    let mut sets = Vec::with_capacity(keys.len());
    for key in keys {
        sets.push(context.collection(key, Kind::Set)?);
    }
    let members = |set: &Option<FoundCollection<'a>>| -> BTreeSet<&'a [u8]> {
        set.iter().flat_map(FoundCollection::elements).map(|element| element.name).collect()
    };
    let has =
        |set: &Option<FoundCollection<'a>>, name: &[u8]| set.as_ref().is_some_and(|set| set.contains(name));
    Ok(match algebra {
        Algebra::Union => sets.iter().flat_map(members).collect(),
        Algebra::Intersection => {
            // From the smallest, so that it costs what that weighs.
            sets.sort_by_key(|set| set.as_ref().map_or(0, FoundCollection::len));
            let mut common = sets.first().map(members).unwrap_or_default();
            common.retain(|name| sets[1..].iter().all(|set| has(set, name)));
            common
        }
        Algebra::Difference => {
            let mut rest = sets.first().map(members).unwrap_or_default();
            rest.retain(|name| !sets[1..].iter().any(|set| has(set, name)));
            rest
        }
    })
}

fn set_of(members: BTreeSet<&[u8]>) -> Value {
    Value::Set(members.into_iter().map(|name| Value::Bulk(Bytes::copy_from_slice(name))).collect())
}

fn member(element: Element<'_>) -> Value {
    Value::Bulk(Bytes::copy_from_slice(element.name))
}
