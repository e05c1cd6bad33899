//! Sorted sets: `ZADD` and its family.
//!
//! Where to read next: `range` (parts of a sorted set), `algebra` (unions, intersections, differences).

mod algebra;
mod range;

use bytes::Bytes;
use resp::Value;

use super::edit::Edit;
use super::random::{Draws, draws};
use super::scan::element_scan;
use super::{blocking, counted_keys, is_word, pop_count};
use crate::collection::{End, Kind, score};
use crate::context::Context;
use crate::errors;
use crate::number::{Decimal, parse_integer};
use crate::view::Scored;

pub(crate) use algebra::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub(crate) use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

type Result<T = Value> = std::result::Result<T, Value>;

/// When `ZADD` does what.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    only_absent: bool,
    only_present: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
}

impl Conditions {
    /// The options at the front of `arguments`, and the pairs of score and member that follow.
    fn parse(arguments: &[Bytes]) -> Result<(Conditions, &[Bytes])> {
        let mut conditions = Conditions::default();
        let mut rest = arguments;
        while let Some((word, after)) = rest.split_first() {
            match () {
                () if is_word(word, "NX") => conditions.only_absent = true,
                () if is_word(word, "XX") => conditions.only_present = true,
                () if is_word(word, "GT") => conditions.only_greater = true,
                () if is_word(word, "LT") => conditions.only_less = true,
                () if is_word(word, "CH") => conditions.count_changed = true,
                () if is_word(word, "INCR") => conditions.increment = true,
                () => break,
            }
            rest = after;
        }
        if rest.is_empty() || rest.len() % 2 == 1 {
            return Err(errors::SYNTAX);
        }
        let Conditions { only_absent, only_present, only_greater, only_less, .. } = conditions;
        if only_absent && only_present {
            return Err(Value::error("ERR XX and NX options at the same time are not compatible"));
        }
        if (only_absent && (only_greater || only_less)) || (only_greater && only_less) {
            return Err(Value::error("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if conditions.increment && rest.len() > 2 {
            return Err(Value::error("ERR INCR option supports a single increment-element pair"));
        }
        Ok((conditions, rest))
    }
}

pub(crate) fn zadd(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (conditions, pairs) = Conditions::parse(&arguments[2..])?;
    add(context, &arguments[1], conditions, pairs)
}

pub(crate) fn zincrby(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let conditions = Conditions { increment: true, ..Conditions::default() };
    add(context, &arguments[1], conditions, &arguments[2..])
}

fn add(context: &mut Context<'_>, key: &Bytes, conditions: Conditions, pairs: &[Bytes]) -> Result {
    let given: Vec<f64> = pairs.iter().step_by(2).map(parse_score).collect::<Result<_>>()?;
    let mut set = Edit::open(context, key, Kind::SortedSet)?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    for (given, member) in given.into_iter().zip(pairs.iter().skip(1).step_by(2)) {
        let before = set.get(member).map(score::decode);
        let after = match before {
            Some(before) if conditions.increment => before + given,
            _ => given,
        };
        if after.is_nan() {
            return Err(errors::SCORE_NAN);
        }
        let is_wanted = match before {
            None => !conditions.only_present,
            Some(before) => {
                !conditions.only_absent
                    && (!conditions.only_greater || after > before)
                    && (!conditions.only_less || after < before)
            }
        };
        if !is_wanted {
            continue;
        }
        let value = Bytes::copy_from_slice(&score::encode(after));
        match Decimal::parse(&pairs[0]) {
            Some(amount) if conditions.increment => set.increase(member.clone(), value, amount),
            _ => drop(set.set(member.clone(), value)),
        }
        added += i64::from(before.is_none());
        changed += i64::from(before.is_some_and(|before| before != after));
        last = Some(after);
    }
    if last.is_some() {
        set.try_finish(context)?;
    }
    Ok(match conditions {
        Conditions { increment: true, .. } => last.map_or(Value::Null, Value::Double),
        Conditions { count_changed: true, .. } => Value::Integer(added + changed),
        _ => Value::Integer(added),
    })
}

pub(crate) fn zrem(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut set = Edit::open(context, &arguments[1], Kind::SortedSet)?;
    let removed = arguments[2..].iter().filter(|member| set.remove((*member).clone())).count();
    if removed > 0 {
        set.finish(context);
    }
    Ok(Value::Integer(removed as i64))
}

pub(crate) fn zscore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::SortedSet)?;
    Ok(found.and_then(|found| found.score(&arguments[2])).map_or(Value::Null, Value::Double))
}

pub(crate) fn zmscore(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::SortedSet)?;
    let score = |member: &Bytes| {
        found.as_ref().and_then(|found| found.score(member)).map_or(Value::Null, Value::Double)
    };
    Ok(Value::Array(arguments[2..].iter().map(score).collect()))
}

pub(crate) fn zcard(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::SortedSet)?;
    Ok(Value::Integer(found.map_or(0, |found| found.len()) as i64))
}

pub(crate) fn zrank(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    rank(context, arguments, false)
}

pub(crate) fn zrevrank(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    rank(context, arguments, true)
}

fn rank(context: &mut Context<'_>, arguments: &[Bytes], from_highest: bool) -> Result {
    let with_score = match &arguments[3..] {
        [] => false,
        [word] if is_word(word, "WITHSCORE") => true,
        _ => return Err(errors::SYNTAX),
    };
    let nothing = if with_score { Value::NullArray } else { Value::Null };
    let Some(found) = context.collection(&arguments[1], Kind::SortedSet)? else { return Ok(nothing) };
    let Some(score) = found.score(&arguments[2]) else { return Ok(nothing) };
    let before = found.rank_of(&score::rank_name(&score::encode(score), &arguments[2]));
    let rank = if from_highest { found.len() - 1 - before } else { before };
    let rank = Value::Integer(rank as i64);
    Ok(if with_score { Value::Array(vec![rank, Value::Double(score)]) } else { rank })
}

pub(crate) fn zpopmin(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_members(context, arguments, false)
}

pub(crate) fn zpopmax(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_members(context, arguments, true)
}

fn pop_members(context: &mut Context<'_>, arguments: &[Bytes], from_highest: bool) -> Result {
    let count = match &arguments[2..] {
        [] => None,
        [count] => match parse_integer(count).map(usize::try_from) {
            Some(Ok(count)) => Some(count),
            _ => return Err(errors::MUST_BE_POSITIVE),
        },
        _ => return Err(errors::SYNTAX),
    };
    let popped = take(context, &arguments[1], count.unwrap_or(1), from_highest)?;
    let mut pairs = popped.into_iter().map(|(member, score)| (Value::Bulk(member), Value::Double(score)));
    Ok(match count {
        Some(_) => Value::Pairs(pairs.collect()),
        None => Value::Array(pairs.next().map_or(Vec::new(), |(member, score)| vec![member, score])),
    })
}

/// Takes members out at one end.
fn take(
    context: &mut Context<'_>,
    key: &Bytes,
    count: usize,
    from_highest: bool,
) -> Result<Vec<(Bytes, f64)>> {
    let mut set = Edit::open(context, key, Kind::SortedSet)?;
    let Some(found) = set.found() else { return Ok(Vec::new()) };
    let members: Vec<Scored<'_>> = found.scored(from_highest).take(count).collect();
    let values: Vec<_> = members.iter().map(|scored| found.get(scored.member).unwrap_or_default()).collect();
    let end = if from_highest { End::Last } else { End::First };
    let mut taken = Vec::with_capacity(members.len());
    for (scored, value) in members.into_iter().zip(values) {
        let member = Bytes::copy_from_slice(scored.member);
        set.remove_at(end, member.clone(), value);
        taken.push((member, scored.score));
    }
    if !taken.is_empty() {
        set.finish(context);
    }
    Ok(taken)
}

pub(crate) fn zmpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_first_of(context, &arguments[1..])
}

/// `numkeys key ... MIN|MAX [COUNT count]`.
fn pop_first_of(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (keys, rest) = counted_keys(arguments)?;
    let (from_highest, options) = match rest {
        [word, options @ ..] if is_word(word, "MIN") => (false, options),
        [word, options @ ..] if is_word(word, "MAX") => (true, options),
        _ => return Err(errors::SYNTAX),
    };
    let count = pop_count(options)?;
    for key in keys {
        let taken = take(context, key, count, from_highest)?;
        if !taken.is_empty() {
            let pair = |(member, score)| Value::Array(vec![Value::Bulk(member), Value::Double(score)]);
            let pairs = Value::Array(taken.into_iter().map(pair).collect());
            return Ok(Value::Array(vec![Value::Bulk(key.clone()), pairs]));
        }
    }
    Ok(Value::NullArray)
}

pub(crate) fn bzpopmin(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_or_wait(context, arguments, false)
}

pub(crate) fn bzpopmax(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_or_wait(context, arguments, true)
}

fn pop_or_wait(context: &mut Context<'_>, arguments: &[Bytes], from_highest: bool) -> Result {
    let (timeout, keys) = arguments[1..].split_last().ok_or(errors::SYNTAX)?;
    blocking::timeout(timeout)?;
    for key in keys {
        if let Some((member, score)) = take(context, key, 1, from_highest)?.pop() {
            return Ok(Value::Array(vec![
                Value::Bulk(key.clone()),
                Value::Bulk(member),
                Value::Double(score),
            ]));
        }
    }
    Ok(Value::NullArray)
}

pub(crate) fn bzmpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    blocking::timeout(&arguments[1])?;
    pop_first_of(context, &arguments[2..])
}

pub(crate) fn zrandmember(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (count, with_scores) = Draws::parse(&arguments[2..], Some("WITHSCORES"))?;
    let Some(found) = context.collection(&arguments[1], Kind::SortedSet)? else {
        return Ok(count.of_nothing());
    };
    let drawn = draws(&found, count, context.seed);
    let drawn: Vec<_> = drawn.iter().map(Scored::of).collect();
    Ok(match count {
        Draws::One => drawn.first().map_or(Value::Null, member),
        _ => members(&drawn, with_scores),
    })
}

pub(crate) fn zscan(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    element_scan(context, arguments, Kind::SortedSet, |element, out| {
        let scored = Scored::of(&element);
        let mut text = [0; resp::DOUBLE_BYTES];
        out.push(member(&scored));
        out.push(Value::bulk(resp::format_double(scored.score, &mut text).to_owned()));
    })
}

/// A score as clients write it.
fn parse_score(argument: &Bytes) -> Result<f64> {
    Decimal::parse(argument).map(Decimal::near).ok_or(errors::NOT_FLOAT)
}

fn member(scored: &Scored<'_>) -> Value {
    Value::Bulk(Bytes::copy_from_slice(scored.member))
}

/// Members as a reply, with their scores or without.
fn members(found: &[Scored<'_>], with_scores: bool) -> Value {
    match with_scores {
        false => Value::Array(found.iter().map(member).collect()),
        true => {
            Value::Pairs(found.iter().map(|scored| (member(scored), Value::Double(scored.score))).collect())
        }
    }
}
