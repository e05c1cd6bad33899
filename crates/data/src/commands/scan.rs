//! Going through all keys of a partition: `SCAN`, `KEYS`, `RANDOMKEY`.
//!
//! A cursor of `SCAN` is a position without its last bits, so that it fits into 53 bits: there are clients that keep it in a
//! signed or a floating point number. Keys whose positions differ in the bits left out only are given out together, so
//! what holds for positions holds for cursors: everything before a cursor has been given out.

use bytes::Bytes;
use resp::Value;

use super::{integer, is_word};
use crate::collection::{Element, Kind};
use crate::context::{Context, Key};
use crate::errors;
use crate::glob;
use crate::route::Home;
use crate::slot::SLOTS;
use crate::table::{HASH_BITS, Position, first_position, slot_of};

/// The bits of a position that its cursor has not.
const LEFT_OUT: u32 = 11;

/// The cursors of a keyspace with groups of its own begin here: the number of the keyspace, the slot, some bits of the hash,
/// and a zero, so that they are exact in floating point though they have a bit more.
const OWN: u64 = 1 << 53;
/// The bits of the hash in such a cursor.
const OWN_HASH_BITS: u32 = 22;
const SLOT_BITS: u32 = 14;

/// How often `RANDOMKEY` draws before it takes the next best key.
const DRAWS: u64 = 100;

/// The cursor that goes on at a home.
pub(crate) fn cursor_of_home(home: Home) -> u64 {
    cursor_of(home.keyspace, first_position(home.slot))
}

/// Where a cursor stands: the home, and the position.
pub(crate) fn parse_cursor(argument: &[u8]) -> Result<(Home, Position), Value> {
    let digits = std::str::from_utf8(argument).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let cursor: u64 = digits.and_then(|text| text.parse().ok()).ok_or(errors::INVALID_CURSOR)?;
    if cursor >= OWN {
        let own = (cursor - OWN) >> 1;
        let keyspace =
            u16::try_from(own >> (OWN_HASH_BITS + SLOT_BITS)).map_err(|_| errors::INVALID_CURSOR)?;
        if keyspace == 0 || cursor & 1 == 1 {
            return Err(errors::INVALID_CURSOR);
        }
        let position = (own & ((1 << (OWN_HASH_BITS + SLOT_BITS)) - 1)) << (HASH_BITS - OWN_HASH_BITS);
        return Ok((Home { keyspace, slot: slot_of(position) }, position));
    }
    let slot = cursor >> (HASH_BITS - LEFT_OUT);
    if slot >= u64::from(SLOTS) {
        return Err(errors::INVALID_CURSOR);
    }
    Ok((Home { keyspace: 0, slot: slot as u16 }, cursor << LEFT_OUT))
}

struct Options<'a> {
    pattern: Option<&'a Bytes>,
    count: usize,
    type_name: Option<&'a Bytes>,
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [Bytes]) -> Result<Self, Value> {
        let mut options = Options { pattern: None, count: 10, type_name: None };
        for pair in arguments.chunks(2) {
            let [word, value] = pair else { return Err(errors::SYNTAX) };
            match () {
                () if is_word(word, "MATCH") => options.pattern = Some(value),
                () if is_word(word, "TYPE") => options.type_name = Some(value),
                () if is_word(word, "COUNT") => {
                    let count = integer(value)?;
                    options.count =
                        usize::try_from(count).ok().filter(|&count| count > 0).ok_or(errors::SYNTAX)?;
                }
                () => return Err(errors::SYNTAX),
            }
        }
        Ok(options)
    }

    fn takes(&self, key: Key<'_>, context: &Context<'_>) -> bool {
        let is_type = |name| context.type_name(key.key).is_some_and(|own| is_word(name, own));
        self.pattern.is_none_or(|pattern| glob::matches(pattern, key.key))
            && self.type_name.is_none_or(is_type)
    }
}

pub(crate) fn scan(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let (Home { keyspace, .. }, from) = parse_cursor(&arguments[1])?;
    let options = Options::parse(&arguments[2..])?;
    let mut keys = Vec::new();
    let mut next = cursor_after(keyspace, context.slots().1);
    let mut last = None;
    for (visited, (position, key)) in context.keys_from(from).enumerate() {
        let here = cursor_of(keyspace, position);
        if visited >= options.count && last != Some(here) {
            next = here;
            break;
        }
        last = Some(here);
        if options.takes(key, context) {
            give(context, key, &mut keys);
        }
    }
    Ok(Value::Array(vec![Value::bulk(next.to_string()), Value::Array(keys)]))
}

pub(crate) fn keys(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let mut keys = Vec::new();
    for (_, key) in context.keys_from(0) {
        if glob::matches(&arguments[1], key.key) {
            give(context, key, &mut keys);
        }
    }
    Ok(Value::Array(keys))
}

pub(crate) fn randomkey(context: &mut Context<'_>, _: &[Bytes]) -> Result<Value, Value> {
    for draw in 0..DRAWS {
        match context.key_at_rank(spread(context.seed.wrapping_add(draw))) {
            Some(key) if !key.is_expired(context.now_ms) => return Ok(Value::Bulk(key.to_bytes())),
            Some(_) => {}
            None => return Ok(Value::Null),
        }
    }
    // Nearly all have expired. That there is no other key holds once they are deleted.
    let mut found = Vec::new();
    for (_, key) in context.keys_from(0) {
        give(context, key, &mut found);
        if let Some(key) = found.pop() {
            return Ok(key);
        }
    }
    Ok(Value::Null)
}

/// Gives the key out, unless it is past its expiry.
fn give(context: &mut Context<'_>, key: Key<'_>, keys: &mut Vec<Value>) {
    if key.is_expired(context.now_ms) {
        context.found_expired(key.to_bytes());
    } else {
        keys.push(Value::Bulk(key.to_bytes()));
    }
}

fn cursor_of(keyspace: u16, position: Position) -> u64 {
    match keyspace {
        0 => position >> LEFT_OUT,
        _ => {
            let place = position >> (HASH_BITS - OWN_HASH_BITS);
            OWN + ((u64::from(keyspace) << (OWN_HASH_BITS + SLOT_BITS) | place) << 1)
        }
    }
}

/// Where a scan goes on after a partition that ends with this slot; 0: it is over.
fn cursor_after(keyspace: u16, last_slot: u16) -> u64 {
    match last_slot + 1 {
        SLOTS => 0,
        slot => cursor_of_home(Home { keyspace, slot }),
    }
}

/// `HSCAN`, `SSCAN`, `ZSCAN`: some elements of a collection, and where to go on. A short collection is given as a whole.
pub(super) fn element_scan(
    context: &mut Context<'_>,
    arguments: &[Bytes],
    kind: Kind,
    put: impl Fn(Element<'_>, &mut Vec<Value>),
) -> Result<Value, Value> {
    let digits =
        std::str::from_utf8(&arguments[2]).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let cursor: u64 = digits.and_then(|text| text.parse().ok()).ok_or(errors::INVALID_CURSOR)?;
    let found = context.collection(&arguments[1], kind)?;
    // As in Redis, the options of a key that is not there are not looked at.
    let Some(found) = found else {
        return Ok(Value::Array(vec![Value::bulk("0"), Value::Array(Vec::new())]));
    };
    let options = Options::parse(&arguments[3..])?;
    if options.type_name.is_some() {
        return Err(errors::SYNTAX);
    }
    let (elements, next) = found.scan(cursor, options.count);
    let mut out = Vec::new();
    for element in elements {
        if options.pattern.is_none_or(|pattern| glob::matches(pattern, element.name)) {
            put(element, &mut out);
        }
    }
    Ok(Value::Array(vec![Value::bulk(next.to_string()), Value::Array(out)]))
}

/// Seeds that follow one another give ranks that do not (the mixing function of SplitMix64).
pub(super) fn spread(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
