//! The same bytes through an independent implementation, the `redis-protocol` crate: both must read the same.

mod common;

use bytes::{Bytes, BytesMut};
use common::any_value;
use proptest::prelude::*;
use redis_protocol::resp2::{decode as resp2, types::BytesFrame as Frame2};
use redis_protocol::resp3::types::{BytesFrame as Frame3, VerbatimStringFormat};
use redis_protocol::resp3::{decode::complete as resp3, encode::complete as resp3_encode};
use resp::{Limits, Protocol, RequestDecoder, Value, ValueDecoder, encode, encode_request};

/// Does `frame` say what `value` says? (The other crate keeps maps and sets unordered and without duplicates.)
fn same(value: &Value, frame: &Frame3) -> bool {
    let all = |items: &[Value], frames: &[Frame3]| {
        items.len() == frames.len() && items.iter().zip(frames).all(|(item, frame)| same(item, frame))
    };
    match (value, frame) {
        (Value::Simple(text), Frame3::SimpleString { data, .. }) => text.as_bytes() == data,
        (Value::Error(text), Frame3::SimpleError { data, .. }) => **text == **data,
        (Value::Integer(ours), Frame3::Number { data, .. }) => ours == data,
        (Value::Bulk(ours), Frame3::BlobString { data, .. }) => ours == data,
        (Value::Null, Frame3::Null) => true,
        (Value::Double(ours), Frame3::Double { data, .. }) => ours == data,
        (Value::Boolean(ours), Frame3::Boolean { data, .. }) => ours == data,
        (Value::BigNumber(ours), Frame3::BigNumber { data, .. }) => ours.as_bytes() == data,
        (Value::Verbatim(kind, ours), Frame3::VerbatimString { data, format, .. }) => {
            ours == data && (kind == b"mkd") == matches!(format, VerbatimStringFormat::Markdown)
        }
        (Value::Array(items), Frame3::Array { data, .. }) => all(items, data),
        (Value::Push(items), Frame3::Push { data, .. }) => all(items, data),
        (Value::Set(items), Frame3::Set { data, .. }) => {
            items.iter().all(|item| data.iter().any(|frame| same(item, frame)))
                && data.iter().all(|frame| items.iter().any(|item| same(item, frame)))
        }
        (Value::Map(pairs), Frame3::Map { data, .. }) => {
            pairs.iter().all(|(key, _)| data.keys().any(|frame| same(key, frame)))
                && data.iter().all(|(key_frame, frame)| {
                    pairs.iter().any(|(key, value)| same(key, key_frame) && same(value, frame))
                })
        }
        _ => false,
    }
}

/// The other crate takes only strings and integers as keys of a map and members of a set.
fn with_simple_keys(value: Value) -> Value {
    let all = |items: Vec<Value>| items.into_iter().map(with_simple_keys).collect::<Vec<_>>();
    let key = |value: Value| match value {
        Value::Simple(_) | Value::Bulk(_) | Value::Integer(_) => value,
        other => Value::bulk(format!("{other:?}")),
    };
    match value {
        Value::Array(items) => Value::Array(all(items)),
        Value::Push(items) => Value::Push(all(items)),
        Value::Set(items) => Value::Set(items.into_iter().map(key).collect()),
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (key(k), with_simple_keys(v))).collect();
            // It has no multimaps either.
            let mut seen: Vec<Value> = Vec::new();
            pairs.retain(|(key, _)| {
                !seen.contains(key) && {
                    seen.push(key.clone());
                    true
                }
            });
            Value::Map(pairs)
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn it_reads_what_we_write(value in any_value().prop_map(with_simple_keys)) {
        let mut wire = BytesMut::new();
        encode(&value, Protocol::Resp3, &mut wire);
        let (frame, length) = resp3::decode_bytes(&wire.clone().freeze()).expect("valid").expect("complete");
        prop_assert_eq!(length, wire.len());
        prop_assert!(same(&value, &frame), "{:?} {:?}", value, frame);
    }

    #[test]
    fn we_read_what_it_writes(value in any_value().prop_map(with_simple_keys)) {
        let mut wire = BytesMut::new();
        encode(&value, Protocol::Resp3, &mut wire);
        let (frame, _) = resp3::decode_bytes(&wire.freeze()).expect("valid").expect("complete");
        let mut wire = BytesMut::new();
        resp3_encode::extend_encode(&mut wire, &frame, false).expect("encodable");
        let decoded = ValueDecoder::new(Limits::default()).decode(&mut wire).expect("valid").expect("complete");
        prop_assert!(same(&decoded, &frame), "{:?} {:?}", decoded, frame);
        prop_assert!(wire.is_empty());
    }

    /// Requests, some of them damaged: where both accept, both understand the same.
    #[test]
    fn requests(
        arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..5),
        damage in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"*$0123\r\nx".to_vec()))),
    ) {
        let mut wire = BytesMut::new();
        encode_request(&arguments, &mut wire);
        if let Some((place, byte)) = damage {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        let input = wire.clone().freeze();
        let ours = RequestDecoder::new(Limits::default()).decode(&mut wire);
        let theirs = resp2::decode_bytes(&input);
        if damage.is_none() {
            prop_assert!(matches!((&ours, &theirs), (Ok(Some(_)), Ok(Some(_)))));
        }
        if let (Ok(Some(ours)), Ok(Some((Frame2::Array(frames), length)))) = (ours, theirs)
            && !frames.is_empty()
        {
            let theirs: Vec<Bytes> = frames
                .into_iter()
                .map(|frame| match frame {
                    Frame2::BulkString(bytes) => bytes,
                    other => panic!("we took {other:?} for an argument"),
                })
                .collect();
            prop_assert_eq!(ours, theirs);
            prop_assert_eq!(input.len() - wire.len(), length);
        }
    }
}
