//! The bytes of calls and replies on their way between nodes, and of replies that are kept beside idempotency tokens.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::{Command, Kind, Watch};
use resp::{Limits, Protocol, Value, ValueDecoder};

use crate::NodeId;
use crate::configuration::Acknowledgement;
use crate::consistency::{Consistency, Seen};
use crate::contract::{Admin, Call};
use crate::primaries::{Level, Quorum};

const COMMAND: u8 = 0;
const COMMAND_WITH_TOKEN: u8 = 1;
const TRANSACTION: u8 = 2;
const FINGERPRINT: u8 = 3;
const TRANSFER: u8 = 4;
const LOST: u8 = 5;
const FORGET_LOST: u8 = 6;
const DEMANDING: u8 = 7;
const WAIT: u8 = 8;
const WAIT_DURABLY: u8 = 9;
const AWAIT: u8 = 10;
const AFTER: u8 = 11;
const SEEN: u8 = 12;
const QUORUM: u8 = 13;
const AT: u8 = 14;
const EPOCH: u8 = 15;

/// The bytes of a call.
pub(crate) fn encode_call(call: &Call) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    match call {
        Call::Command { arguments, token: None, .. } => {
            out.put_u8(COMMAND);
            put_strings(arguments, &mut out);
        }
        Call::Command { arguments, token: Some(token), .. } => {
            out.put_u8(COMMAND_WITH_TOKEN);
            put_string(token, &mut out);
            put_strings(arguments, &mut out);
        }
        Call::Transaction { commands, watches } => {
            out.put_u8(TRANSACTION);
            out.put_u32_le(watches.len() as u32);
            for watch in watches {
                put_string(&watch.key, &mut out);
                out.put_u128_le(watch.fingerprint);
            }
            out.put_u32_le(commands.len() as u32);
            for (_, arguments) in commands {
                put_strings(arguments, &mut out);
            }
        }
        Call::Fingerprint { keys } => {
            out.put_u8(FINGERPRINT);
            put_strings(keys, &mut out);
        }
        Call::Admin(Admin::Transfer { to }) => {
            out.put_u8(TRANSFER);
            out.put_u64_le(to.0);
        }
        Call::Demanding { demand, call } => {
            out.put_u8(DEMANDING);
            out.put_u32_le(demand.rank());
            out.put_slice(&encode_call(call));
        }
        Call::Quorum { quorum, call } => {
            out.put_u8(QUORUM);
            for level in [quorum.read, quorum.write] {
                out.put_u32_le(level.map_or(0, Level::rank));
            }
            out.put_slice(&encode_call(call));
        }
        Call::At { consistency, call } => {
            out.put_u8(AT);
            out.put_u32_le(consistency.map_or(0, Consistency::rank));
            out.put_slice(&encode_call(call));
        }
        Call::After { seen, call } => {
            out.put_u8(AFTER);
            put_string(&seen.encode(), &mut out);
            out.put_slice(&encode_call(call));
        }
        Call::Admin(Admin::Seen) => out.put_u8(SEEN),
        Call::Admin(Admin::Wait { term, copies, milliseconds, durably }) => {
            out.put_u8(if *durably { WAIT_DURABLY } else { WAIT });
            out.put_u64_le(*term);
            out.put_u32_le(*copies);
            out.put_u32_le(*milliseconds);
        }
        Call::Admin(Admin::Await { kind, keys, waited_ms, milliseconds }) => {
            out.put_u8(AWAIT);
            out.put_u8(*kind as u8);
            put_strings(keys, &mut out);
            out.put_u32_le(*waited_ms);
            out.put_u32_le(*milliseconds);
        }
        Call::Admin(Admin::Lost { node }) => {
            out.put_u8(LOST);
            out.put_u64_le(node.0);
        }
        Call::Admin(Admin::Epoch { node }) => {
            out.put_u8(EPOCH);
            out.put_u64_le(node.0);
        }
        Call::Admin(Admin::ForgetLost { node, entries }) => {
            out.put_u8(FORGET_LOST);
            out.put_u64_le(node.0);
            for (index, term) in entries {
                out.put_u64_le(*index);
                out.put_u64_le(*term);
            }
        }
    }
    out.freeze()
}

/// The call in `bytes`; `None` if they are not one (or name a command that this build does not know).
pub(crate) fn decode_call(mut bytes: Bytes) -> Option<Call> {
    let call = match bytes.try_get_u8().ok()? {
        COMMAND => {
            let (command, arguments) = get_command(&mut bytes)?;
            Call::Command { command, arguments, token: None }
        }
        COMMAND_WITH_TOKEN => {
            let token = Some(get_string(&mut bytes)?);
            let (command, arguments) = get_command(&mut bytes)?;
            Call::Command { command, arguments, token }
        }
        TRANSACTION => {
            let mut watches = Vec::new();
            for _ in 0..bytes.try_get_u32_le().ok()? {
                let key = get_string(&mut bytes)?;
                watches.push(Watch { key, fingerprint: bytes.try_get_u128_le().ok()? });
            }
            let mut commands = Vec::new();
            for _ in 0..bytes.try_get_u32_le().ok()? {
                commands.push(get_command(&mut bytes)?);
            }
            Call::Transaction { commands, watches }
        }
        FINGERPRINT => Call::Fingerprint { keys: get_strings(&mut bytes)? },
        TRANSFER => Call::Admin(Admin::Transfer { to: get_node(&mut bytes)? }),
        DEMANDING => {
            let demand = Acknowledgement::of_rank(bytes.try_get_u32_le().ok()?);
            // One demand is enough, and none of a peer's frame may be as deep as it is long.
            if bytes.first() == Some(&DEMANDING) {
                return None;
            }
            return Some(Call::Demanding { demand, call: Box::new(decode_call(bytes)?) });
        }
        QUORUM => {
            let mut level = || {
                let rank = bytes.try_get_u32_le().ok()?;
                Some((rank > 0).then(|| Level::of_rank(rank)))
            };
            let quorum = Quorum { read: level()?, write: level()? };
            // As with demands.
            if matches!(bytes.first(), Some(&QUORUM | &DEMANDING)) {
                return None;
            }
            return Some(Call::Quorum { quorum, call: Box::new(decode_call(bytes)?) });
        }
        AT => {
            let rank = bytes.try_get_u32_le().ok()?;
            let consistency = (rank > 0).then(|| Consistency::of_rank(rank));
            // As with demands.
            if matches!(bytes.first(), Some(&AT | &DEMANDING | &QUORUM)) {
                return None;
            }
            return Some(Call::At { consistency, call: Box::new(decode_call(bytes)?) });
        }
        AFTER => {
            let seen = Seen::decode(&get_string(&mut bytes)?)?;
            // As with demands.
            if matches!(bytes.first(), Some(&AFTER | &AT | &DEMANDING | &QUORUM)) {
                return None;
            }
            return Some(Call::After { seen, call: Box::new(decode_call(bytes)?) });
        }
        SEEN => Call::Admin(Admin::Seen),
        kind @ (WAIT | WAIT_DURABLY) => Call::Admin(Admin::Wait {
            term: bytes.try_get_u64_le().ok()?,
            copies: bytes.try_get_u32_le().ok()?,
            milliseconds: bytes.try_get_u32_le().ok()?,
            durably: kind == WAIT_DURABLY,
        }),
        AWAIT => Call::Admin(Admin::Await {
            kind: Kind::from_number(bytes.try_get_u8().ok()?).ok()?,
            keys: get_strings(&mut bytes)?,
            waited_ms: bytes.try_get_u32_le().ok()?,
            milliseconds: bytes.try_get_u32_le().ok()?,
        }),
        LOST => Call::Admin(Admin::Lost { node: get_node(&mut bytes)? }),
        EPOCH => Call::Admin(Admin::Epoch { node: get_node(&mut bytes)? }),
        FORGET_LOST => {
            let node = get_node(&mut bytes)?;
            let mut entries = Vec::new();
            while !bytes.is_empty() {
                entries.push((bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?));
            }
            Call::Admin(Admin::ForgetLost { node, entries })
        }
        _ => return None,
    };
    bytes.is_empty().then_some(call)
}

fn get_command(bytes: &mut Bytes) -> Option<(&'static Command, Vec<Bytes>)> {
    let arguments = get_strings(bytes)?;
    let command = Command::lookup(arguments.first()?)?;
    command.check_arity(&arguments).ok()?;
    Some((command, arguments))
}

fn get_node(bytes: &mut Bytes) -> Option<NodeId> {
    bytes.try_get_u64_le().ok().map(NodeId)
}

fn put_string(string: &Bytes, out: &mut BytesMut) {
    out.put_u32_le(string.len() as u32);
    out.put_slice(string);
}

fn put_strings(strings: &[Bytes], out: &mut BytesMut) {
    out.put_u32_le(strings.len() as u32);
    for string in strings {
        put_string(string, out);
    }
}

fn get_string(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32_le().ok()? as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn get_strings(bytes: &mut Bytes) -> Option<Vec<Bytes>> {
    let count = bytes.try_get_u32_le().ok()? as usize;
    // Each string takes four bytes at least, so a claimed count cannot make us reserve more than the input's size.
    let mut strings = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        strings.push(get_string(bytes)?);
    }
    Some(strings)
}

/// The bytes of a value, as RESP3 writes it, which keeps every distinction but two: pairs and the null of arrays. No reply is a
/// push, so these are pushes here: pairs one with their members, that null an empty one.
pub(crate) fn encode_value(value: &Value) -> Bytes {
    let mut out = BytesMut::new();
    match spelled(value) {
        Some(spelled) => resp::encode(&spelled, Protocol::Resp3, &mut out),
        None => resp::encode(value, Protocol::Resp3, &mut out),
    }
    out.freeze()
}

/// The value with pairs and nulls of arrays as pushes; `None` if it is the same.
fn spelled(value: &Value) -> Option<Value> {
    match value {
        Value::NullArray => Some(Value::Push(Vec::new())),
        Value::Pairs(pairs) if pairs.is_empty() => Some(Value::Array(Vec::new())),
        Value::Pairs(pairs) => {
            let members = pairs.iter().flat_map(|(one, other)| [one, other]);
            Some(Value::Push(
                members.map(|member| spelled(member).unwrap_or_else(|| member.clone())).collect(),
            ))
        }
        Value::Array(elements) if elements.iter().any(|element| spelled(element).is_some()) => {
            let element = |element: &Value| spelled(element).unwrap_or_else(|| element.clone());
            Some(Value::Array(elements.iter().map(element).collect()))
        }
        _ => None,
    }
}

/// The value that [`spelled`] was given.
fn meant(value: Value) -> Value {
    match value {
        Value::Push(members) if members.is_empty() => Value::NullArray,
        Value::Push(members) => {
            let mut members = members.into_iter().map(meant);
            let pairs = std::iter::from_fn(|| Some((members.next()?, members.next()?)));
            Value::Pairs(pairs.collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(meant).collect()),
        other => other,
    }
}

/// The value in `bytes`; `None` if they are not exactly one.
pub(crate) fn decode_value(bytes: &[u8]) -> Option<Value> {
    // As it was written once; such logs are still read.
    if bytes.is_empty() {
        return Some(Value::NullArray);
    }
    let limits = Limits { bulk_bytes: usize::MAX, arguments: usize::MAX, nesting: 64, ..Limits::default() };
    let mut buffer = BytesMut::from(bytes);
    let value = ValueDecoder::new(limits).decode(&mut buffer).ok()??;
    buffer.is_empty().then(|| meant(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What RESP3 alone does not tell apart comes through all the same, also inside the answer to `EXEC`.
    #[test]
    fn values_come_back_as_they_were() {
        let pairs =
            Value::Pairs(vec![(Value::bulk("a"), Value::Double(1.5)), (Value::bulk("b"), Value::Null)]);
        for value in [
            pairs.clone(),
            Value::NullArray,
            Value::Null,
            Value::Array(vec![pairs.clone(), Value::NullArray, Value::Array(vec![pairs]), Value::Integer(1)]),
            Value::Array(vec![Value::bulk("a"), Value::Set(vec![Value::bulk("b")])]),
            Value::Map(vec![(Value::bulk("k"), Value::Double(f64::INFINITY))]),
        ] {
            assert_eq!(decode_value(&encode_value(&value)), Some(value));
        }
        let none = Value::Pairs(Vec::new());
        assert_eq!(decode_value(&encode_value(&none)), Some(Value::Array(Vec::new())), "the same to clients");
        assert_eq!(decode_value(b""), Some(Value::NullArray), "as it was written once");
    }

    #[test]
    fn who_waits_to_pop_is_told_of_whole() {
        let keys = vec![Bytes::from("a"), Bytes::from("b")];
        let waits = Admin::Await { kind: Kind::SortedSet, keys, waited_ms: 7, milliseconds: 900 };
        for admin in [waits, Admin::Epoch { node: NodeId(7) }] {
            let bytes = encode_call(&Call::Admin(admin.clone()));
            assert!(matches!(decode_call(bytes.clone()), Some(Call::Admin(decoded)) if decoded == admin));
            for length in 0..bytes.len() {
                assert!(decode_call(bytes.slice(..length)).is_none(), "cut at {length}");
            }
        }
    }
}
