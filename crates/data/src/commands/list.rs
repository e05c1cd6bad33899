//! Lists: `LPUSH` and its family. What blocks until there is something (`BLPOP`) is one of these for a transaction and for a
//! single try; the server tries again (see `blocking`).

use bytes::Bytes;
use resp::Value;

use super::edit::Edit;
use super::{element_range, integer, is_word};
use crate::collection::{Element, End, Kind, position};
use crate::context::Context;
use crate::errors;
use crate::number::parse_integer;

type Result<T = Value> = std::result::Result<T, Value>;

/// The end that this word names.
fn parse_end(word: &Bytes) -> Result<End> {
    match () {
        () if is_word(word, "LEFT") => Ok(End::First),
        () if is_word(word, "RIGHT") => Ok(End::Last),
        () => Err(errors::SYNTAX),
    }
}

/// A list that is being pushed to and popped from, at its ends.
struct List<'a, 'k> {
    edit: Edit<'a, 'k>,
    /// The positions at the ends of what is there now, as far as they were looked for.
    ends: [Option<Vec<u8>>; 2],
}

impl<'a, 'k> List<'a, 'k> {
    fn open(context: &mut Context<'a>, key: &'k Bytes) -> Result<Self> {
        Ok(List { edit: Edit::open(context, key, Kind::List)?, ends: [None, None] })
    }

    fn push(&mut self, context: &Context<'_>, end: End, value: &Bytes) {
        if self.ends[end as usize].is_none() {
            self.ends[end as usize] = self.first_from(end).map(|element| element.name.to_vec());
        }
        let position = match (&self.ends[end as usize], end) {
            (Some(first), End::First) => position::before(first),
            (Some(last), End::Last) => position::after(last),
            (None, _) => {
                let position = position::first();
                self.ends = [Some(position.clone()), Some(position.clone())];
                position
            }
        };
        let position = context.own_position(position);
        self.ends[end as usize] = Some(position.clone());
        self.edit.add(Bytes::from(position), value.clone());
    }

    /// Takes up to `count` of what was there before the command.
    fn pop(&mut self, end: End, count: usize) -> Vec<Bytes> {
        let popped: Vec<_> = self.from(end).take(count).collect();
        popped
            .into_iter()
            .map(|element| {
                self.edit.remove_at(end, copy(element.name), element.value);
                copy(element.value)
            })
            .collect()
    }

    fn first_from(&self, end: End) -> Option<Element<'a>> {
        self.from(end).next()
    }

    /// What was there before the command, from one end.
    fn from(&self, end: End) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let elements = self.edit.found().map(|found| match end {
            End::First => found.elements(),
            End::Last => found.elements_reversed(),
        });
        elements.into_iter().flatten()
    }
}

pub(crate) fn lpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    push(context, arguments, End::First, false)
}

pub(crate) fn rpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    push(context, arguments, End::Last, false)
}

pub(crate) fn lpushx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    push(context, arguments, End::First, true)
}

pub(crate) fn rpushx(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    push(context, arguments, End::Last, true)
}

fn push(context: &mut Context<'_>, arguments: &[Bytes], end: End, only_present: bool) -> Result {
    let mut list = List::open(context, &arguments[1])?;
    if only_present && list.edit.found().is_none() {
        return Ok(Value::Integer(0));
    }
    arguments[2..].iter().for_each(|value| list.push(context, end, value));
    let length = list.edit.len();
    list.edit.finish(context);
    Ok(Value::Integer(length as i64))
}

pub(crate) fn lpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop(context, arguments, End::First)
}

pub(crate) fn rpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop(context, arguments, End::Last)
}

fn pop(context: &mut Context<'_>, arguments: &[Bytes], end: End) -> Result {
    let count = match &arguments[2..] {
        [] => None,
        [count] => match parse_integer(count).map(usize::try_from) {
            Some(Ok(count)) => Some(count),
            _ => return Err(errors::MUST_BE_POSITIVE),
        },
        _ => return Err(errors::wrong_arity(context.name)),
    };
    let mut list = List::open(context, &arguments[1])?;
    if list.edit.found().is_none() {
        return Ok(if count.is_some() { Value::NullArray } else { Value::Null });
    }
    let mut popped = list.pop(end, count.unwrap_or(1)).into_iter().map(Value::Bulk);
    Ok(match count {
        Some(0) => Value::Array(Vec::new()),
        Some(_) => {
            list.edit.finish(context);
            Value::Array(popped.collect())
        }
        None => {
            list.edit.finish(context);
            popped.next().unwrap_or(Value::Null)
        }
    })
}

pub(crate) fn llen(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::List)?;
    Ok(Value::Integer(found.map_or(0, |found| found.len()) as i64))
}

pub(crate) fn lindex(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let found = context.collection(&arguments[1], Kind::List)?;
    let Some(found) = found else { return Ok(Value::Null) };
    let index = integer(&arguments[2])?;
    let element = index_in(index, found.len()).and_then(|index| found.element_at(index));
    Ok(element.map_or(Value::Null, |element| Value::Bulk(copy(element.value))))
}

pub(crate) fn lrange(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (start, end) = (integer(&arguments[2])?, integer(&arguments[3])?);
    let Some(found) = context.collection(&arguments[1], Kind::List)? else {
        return Ok(Value::Array(Vec::new()));
    };
    let Some((start, end)) = element_range(start, end, found.len()) else {
        return Ok(Value::Array(Vec::new()));
    };
    let elements = found.elements_from(start).take(end - start + 1);
    Ok(Value::Array(elements.map(|element| Value::Bulk(copy(element.value))).collect()))
}

pub(crate) fn lset(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    let Some(found) = list.found() else { return Err(errors::NO_SUCH_KEY) };
    let index = integer(&arguments[2])?;
    let element = index_in(index, found.len()).and_then(|index| found.element_at(index));
    let name = copy(element.ok_or(errors::INDEX_RANGE)?.name);
    list.set(name, arguments[3].clone());
    list.finish(context);
    Ok(Value::OK)
}

pub(crate) fn lrem(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let count = integer(&arguments[2])?;
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    let Some(found) = list.found() else { return Ok(Value::Integer(0)) };
    let elements = if count < 0 { found.elements_reversed() } else { found.elements() };
    let most =
        if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let equal = elements.filter(|element| element.value == arguments[3]).take(most);
    let names: Vec<_> = equal.map(|element| copy(element.name)).collect();
    let removed = names.into_iter().filter(|name| list.remove(name.clone())).count();
    if removed > 0 {
        list.finish(context);
    }
    Ok(Value::Integer(removed as i64))
}

pub(crate) fn ltrim(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (start, end) = (integer(&arguments[2])?, integer(&arguments[3])?);
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    let Some(found) = list.found() else { return Ok(Value::OK) };
    let length = found.len();
    let Some((start, end)) = element_range(start, end, length) else {
        context.delete(&arguments[1]);
        return Ok(Value::OK);
    };
    let (before, after) = (start, length - 1 - end);
    let names: Vec<_> = found
        .elements()
        .take(before)
        .chain(found.elements_reversed().take(after))
        .map(|e| copy(e.name))
        .collect();
    if !names.is_empty() {
        names.into_iter().for_each(|name| {
            list.remove(name);
        });
        list.finish(context);
    }
    Ok(Value::OK)
}

pub(crate) fn linsert(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let is_after = match &arguments[2] {
        word if is_word(word, "AFTER") => true,
        word if is_word(word, "BEFORE") => false,
        _ => return Err(errors::SYNTAX),
    };
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    let Some(found) = list.found() else { return Ok(Value::Integer(0)) };
    let mut before: Option<&[u8]> = None;
    let mut elements = found.elements();
    let place = loop {
        let Some(element) = elements.next() else { return Ok(Value::Integer(-1)) };
        if element.value == arguments[3] {
            let (low, high) = match is_after {
                true => (Some(element.name), elements.next().map(|next| next.name)),
                false => (before, Some(element.name)),
            };
            break match (low, high) {
                (Some(low), Some(high)) => position::between(low, high),
                (Some(low), None) => position::after(low),
                (None, high) => position::before(high.unwrap_or_default()),
            };
        }
        before = Some(element.name);
    };
    drop(elements);
    list.add(Bytes::from(context.own_position(place)), arguments[4].clone());
    let length = list.len();
    list.finish(context);
    Ok(Value::Integer(length as i64))
}

pub(crate) fn lpos(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (mut rank, mut count, mut most) = (1, None, usize::MAX);
    for option in arguments[3..].chunks(2) {
        let [word, number] = option else { return Err(errors::SYNTAX) };
        match () {
            () if is_word(word, "RANK") => {
                rank = integer(number)?;
                if rank == 0 {
                    return Err(errors::RANK_ZERO);
                }
                if rank == i64::MIN {
                    return Err(errors::OUT_OF_RANGE);
                }
            }
            () if is_word(word, "COUNT") => {
                let number = parse_integer(number).and_then(|number| usize::try_from(number).ok());
                count = Some(number.ok_or(errors::COUNT_NEGATIVE)?);
            }
            () if is_word(word, "MAXLEN") => {
                let number = parse_integer(number).and_then(|number| usize::try_from(number).ok());
                most = match number.ok_or(errors::MAXLEN_NEGATIVE)? {
                    0 => usize::MAX,
                    number => number,
                };
            }
            () => return Err(errors::SYNTAX),
        }
    }
    let nothing = if count.is_some() { Value::Array(Vec::new()) } else { Value::Null };
    let Some(found) = context.collection(&arguments[1], Kind::List)? else { return Ok(nothing) };
    let length = found.len();
    let elements = if rank < 0 { found.elements_reversed() } else { found.elements() };
    let skipped = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let equal = elements.take(most).enumerate().filter(|(_, element)| element.value == arguments[2]);
    let mut places = equal
        .skip(skipped)
        .map(|(index, _)| Value::Integer(if rank < 0 { length - 1 - index } else { index } as i64));
    Ok(match count {
        None => places.next().unwrap_or(Value::Null),
        Some(0) => Value::Array(places.collect()),
        Some(count) => Value::Array(places.take(count).collect()),
    })
}

pub(crate) fn rpoplpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    transfer(context, &arguments[1], &arguments[2], End::Last, End::First)
}

pub(crate) fn lmove(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (from, to) = (parse_end(&arguments[3])?, parse_end(&arguments[4])?);
    transfer(context, &arguments[1], &arguments[2], from, to)
}

fn transfer(context: &mut Context<'_>, source: &Bytes, target: &Bytes, from: End, to: End) -> Result {
    let mut list = List::open(context, source)?;
    if list.edit.found().is_none() {
        return Ok(Value::Null);
    }
    if source == target {
        // The ends are those of before: what is popped makes room for itself.
        let popped = list.pop(from, 1);
        let Some(value) = popped.first() else { return Ok(Value::Null) };
        if list.edit.len() == 0 || from == to {
            return Ok(Value::Bulk(value.clone()));
        }
        list.push(context, to, value);
        list.edit.finish(context);
        return Ok(Value::Bulk(value.clone()));
    }
    let mut other = List::open(context, target)?;
    let popped = list.pop(from, 1);
    let Some(value) = popped.first() else { return Ok(Value::Null) };
    list.edit.finish(context);
    other.push(context, to, value);
    other.edit.finish(context);
    Ok(Value::Bulk(value.clone()))
}

pub(crate) fn lmpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_first_of(context, &arguments[1..])
}

/// `numkeys key ... LEFT|RIGHT [COUNT count]`.
fn pop_first_of(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (keys, rest) = super::counted_keys(arguments)?;
    let [end, options @ ..] = rest else { return Err(errors::SYNTAX) };
    let end = parse_end(end)?;
    let count = super::pop_count(options)?;
    for key in keys {
        let mut list = List::open(context, key)?;
        let popped = list.pop(end, count);
        if !popped.is_empty() {
            list.edit.finish(context);
            let popped = popped.into_iter().map(Value::Bulk).collect();
            return Ok(Value::Array(vec![Value::Bulk(key.clone()), Value::Array(popped)]));
        }
    }
    Ok(Value::NullArray)
}

pub(crate) fn blpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_or_wait(context, arguments, End::First)
}

pub(crate) fn brpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    pop_or_wait(context, arguments, End::Last)
}

fn pop_or_wait(context: &mut Context<'_>, arguments: &[Bytes], end: End) -> Result {
    let (timeout, keys) = arguments[1..].split_last().ok_or(errors::SYNTAX)?;
    super::blocking::timeout(timeout)?;
    for key in keys {
        let mut list = List::open(context, key)?;
        if let Some(value) = list.pop(end, 1).pop() {
            list.edit.finish(context);
            return Ok(Value::Array(vec![Value::Bulk(key.clone()), Value::Bulk(value)]));
        }
    }
    Ok(Value::NullArray)
}

pub(crate) fn blmove(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let (from, to) = (parse_end(&arguments[3])?, parse_end(&arguments[4])?);
    super::blocking::timeout(&arguments[5])?;
    transfer(context, &arguments[1], &arguments[2], from, to)
}

pub(crate) fn brpoplpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    super::blocking::timeout(&arguments[3])?;
    transfer(context, &arguments[1], &arguments[2], End::Last, End::First)
}

pub(crate) fn blmpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    super::blocking::timeout(&arguments[1])?;
    pop_first_of(context, &arguments[2..])
}

/// `LPUT key position value ...`: for doing lost writes again (`KEYSPACE LOST`), which name elements by their positions.
pub(crate) fn lput(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let pairs = arguments[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(errors::wrong_arity(context.name));
    }
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    for pair in pairs {
        list.set(parse_position(&pair[0])?, pair[1].clone());
    }
    let length = list.len();
    list.finish(context);
    Ok(Value::Integer(length as i64))
}

/// `LTAKE key position ...`: its counterpart.
pub(crate) fn ltake(context: &mut Context<'_>, arguments: &[Bytes]) -> Result {
    let positions: Vec<_> = arguments[2..].iter().map(parse_position).collect::<Result<_>>()?;
    let mut list = Edit::open(context, &arguments[1], Kind::List)?;
    let taken = positions.into_iter().filter(|position| list.remove(position.clone())).count();
    if taken > 0 {
        list.finish(context);
    }
    Ok(Value::Integer(taken as i64))
}

/// A position in hexadecimal.
fn parse_position(argument: &Bytes) -> Result<Bytes> {
    let digits = argument.chunks_exact(2).map(|pair| {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(pair, 16).ok()
    });
    let position: Option<Vec<u8>> = digits.collect();
    match position {
        Some(position) if argument.len().is_multiple_of(2) && position::is_position(&position) => {
            Ok(Bytes::from(position))
        }
        _ => Err(errors::NOT_A_POSITION),
    }
}

/// An index, negative ones counted from the end; `None` if it is outside.
fn index_in(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < length)
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
