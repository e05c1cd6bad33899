//! When two replies are the same.

use bytes::{Bytes, BytesMut};
use resp::{Limits, Value, ValueDecoder};

use super::ours::command;

/// A reply of ours as it comes from a connection that speaks RESP2, as the one to Redis does.
pub fn as_sent(value: &Value) -> Value {
    let mut bytes = BytesMut::new();
    resp::encode(value, resp::Protocol::Resp2, &mut bytes);
    let decoded = ValueDecoder::new(Limits::default()).decode(&mut bytes).expect("it was encoded just now");
    decoded.expect("it is whole")
}

/// A reply whose order means nothing in an order that does: pairs for hashes, elements for sets.
pub fn sorted_reply(value: &Value, step: usize) -> Vec<String> {
    let elements = match value {
        Value::Array(elements) => match &elements[..] {
            // Cursor and elements of a scan.
            [Value::Bulk(_), Value::Array(inner)] => &inner[..],
            elements => elements,
        },
        other => std::slice::from_ref(other),
    };
    let mut sorted: Vec<_> = elements.chunks(step).map(|chunk| format!("{chunk:?}")).collect();
    sorted.sort();
    sorted
}

/// The same but for how floating point numbers are written: with 17 digits by Redis 7.0, as short as possible by ours.
pub fn same_numbers(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_numbers(one, other))
        }
        _ if one == other => true,
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        },
    }
}

/// Are the replies the same, but for clocks that ran on between them and for what is meant to differ?
pub fn agree(arguments: &[Bytes], ours: &Value, theirs: &Value) -> bool {
    let ours = &as_sent(ours);
    if ours == theirs {
        return true;
    }
    // The null of arrays may be null as an element.
    if matches!(ours, Value::NullArray | Value::Null) && matches!(theirs, Value::NullArray | Value::Null) {
        return ours == theirs;
    }
    let length = |value: &Value| match value {
        Value::Array(elements) => Some(elements.len()),
        Value::Bulk(_) => Some(1),
        _ => None,
    };
    match command(arguments).name {
        "hgetall" | "hscan" => return sorted_reply(ours, 2) == sorted_reply(theirs, 2),
        "hkeys" | "hvals" | "smembers" | "spop" | "sunion" | "sinter" | "sdiff" | "sscan" => {
            return sorted_reply(ours, 1) == sorted_reply(theirs, 1);
        }
        "zscan" => return sorted_reply(ours, 2).len() == sorted_reply(theirs, 2).len(),
        "hrandfield" | "srandmember" | "zrandmember" => {
            return !ours.is_error() && length(ours) == length(theirs);
        }
        name if name.starts_with('z') => return same_numbers(ours, theirs),
        _ => {}
    }
    // Ours says only the beginning of a long option that it does not know.
    if let (Value::Error(one), Value::Error(other)) = (ours, theirs)
        && one.len() > 128
        && other.starts_with(&**one)
    {
        return true;
    }
    let within = |tolerance: i64| match (ours, theirs) {
        (Value::Integer(one), Value::Integer(other)) => {
            *one > 0 && *other > 0 && one.abs_diff(*other) <= tolerance as u64
        }
        _ => false,
    };
    match command(arguments).name {
        // Cut short by the generator they may succeed; only their errors are compared here.
        "scan" | "memory" | "object" => !ours.is_error() && !theirs.is_error(),
        // The databases that only Redis has.
        "copy" => matches!(ours, Value::Error(text) if text == "ERR DB index is out of range"),
        "ttl" | "expiretime" => within(2),
        "pttl" | "pexpiretime" => within(2000),
        "incrbyfloat" => match (number(ours), number(theirs)) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
            _ => false,
        },
        _ => false,
    }
}

pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}
