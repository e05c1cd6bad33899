//! Values: tables of examples in both directions, limits, and the promises that hold for every input.

mod common;

use bytes::{Bytes, BytesMut};
use common::any_value;
use proptest::prelude::*;
use resp::{Limits, Protocol, ProtocolError, Value, ValueDecoder, encode};

fn encoded(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(value, protocol, &mut out);
    out.to_vec()
}

fn decode_in_pieces(limits: Limits, input: &[u8], piece: usize) -> (Vec<Value>, Option<ProtocolError>) {
    let mut decoder = ValueDecoder::new(limits);
    let mut buffer = BytesMut::new();
    let mut values = Vec::new();
    for piece in input.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => return (values, Some(error)),
            }
        }
    }
    (values, None)
}

fn decode_one(input: &[u8]) -> Value {
    let (mut values, error) = decode_in_pieces(Limits::default(), input, usize::MAX);
    assert_eq!(error, None, "{}", input.escape_ascii());
    assert_eq!(values.len(), 1, "{}", input.escape_ascii());
    values.remove(0)
}

fn simple(text: &'static str) -> Value {
    Value::Simple(text.into())
}

fn pair() -> Vec<Value> {
    vec![Value::Integer(1), Value::bulk("a")]
}

#[test]
fn both_versions_of_the_protocol() {
    let table: Vec<(Value, &str, &str)> = vec![
        (Value::OK, "+OK\r\n", "+OK\r\n"),
        (simple(""), "+\r\n", "+\r\n"),
        (Value::error("ERR no"), "-ERR no\r\n", "-ERR no\r\n"),
        (Value::error("ERR a\r\nb\n+OK"), "-ERR a  b +OK\r\n", "-ERR a  b +OK\r\n"),
        (simple("\r\n"), "+  \r\n", "+  \r\n"),
        (Value::Integer(0), ":0\r\n", ":0\r\n"),
        (Value::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
        (Value::Integer(i64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
        (Value::bulk("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
        (Value::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (Value::Null, "$-1\r\n", "_\r\n"),
        (Value::NullArray, "*-1\r\n", "_\r\n"),
        (Value::Array(vec![]), "*0\r\n", "*0\r\n"),
        (Value::Array(pair()), "*2\r\n:1\r\n$1\r\na\r\n", "*2\r\n:1\r\n$1\r\na\r\n"),
        (Value::Set(pair()), "*2\r\n:1\r\n$1\r\na\r\n", "~2\r\n:1\r\n$1\r\na\r\n"),
        (Value::Push(pair()), "*2\r\n:1\r\n$1\r\na\r\n", ">2\r\n:1\r\n$1\r\na\r\n"),
        (
            Value::Pairs(vec![(Value::Integer(1), Value::Double(0.5)), (Value::Integer(2), Value::Null)]),
            "*4\r\n:1\r\n$3\r\n0.5\r\n:2\r\n$-1\r\n",
            "*2\r\n*2\r\n:1\r\n,0.5\r\n*2\r\n:2\r\n_\r\n",
        ),
        (Value::Map(vec![(Value::Integer(1), Value::Null)]), "*2\r\n:1\r\n$-1\r\n", "%1\r\n:1\r\n_\r\n"),
        (Value::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
        (Value::Double(-3.0), "$2\r\n-3\r\n", ",-3\r\n"),
        (Value::Double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
        (Value::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
        (Value::Double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n"),
        (Value::Boolean(true), ":1\r\n", "#t\r\n"),
        (Value::Boolean(false), ":0\r\n", "#f\r\n"),
        (Value::BigNumber("-123".into()), "$4\r\n-123\r\n", "(-123\r\n"),
        (Value::Verbatim(*b"txt", Bytes::from_static(b"hi")), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
    ];
    for (value, resp2, resp3) in table {
        assert_eq!(
            encoded(&value, Protocol::Resp2).escape_ascii().to_string(),
            resp2.as_bytes().escape_ascii().to_string()
        );
        assert_eq!(
            encoded(&value, Protocol::Resp3).escape_ascii().to_string(),
            resp3.as_bytes().escape_ascii().to_string()
        );
    }
}

#[test]
fn decoding() {
    let table: Vec<(&[u8], Value)> = vec![
        (b"+OK\r\n", Value::OK),
        (b"+\r\n", simple("")),
        (b"-ERR no\r\n", Value::error("ERR no")),
        (b"!6\r\nERR no\r\n", Value::error("ERR no")),
        (b":-7\r\n", Value::Integer(-7)),
        (b":+7\r\n", Value::Integer(7)),
        (b"$-1\r\n", Value::Null),
        (b"*-1\r\n", Value::NullArray),
        (b"_\r\n", Value::Null),
        (b"$4\r\na\r\nb\r\n", Value::bulk("a\r\nb")),
        (
            b"*2\r\n*1\r\n:1\r\n*0\r\n",
            Value::Array(vec![Value::Array(vec![Value::Integer(1)]), Value::Array(vec![])]),
        ),
        (b"~1\r\n#t\r\n", Value::Set(vec![Value::Boolean(true)])),
        (b">2\r\n:1\r\n$1\r\na\r\n", Value::Push(pair())),
        (b"%1\r\n:1\r\n%0\r\n", Value::Map(vec![(Value::Integer(1), Value::Map(vec![]))])),
        (b",1.5e3\r\n", Value::Double(1500.0)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (
            b"(3492890328409238509324850943850943825024385\r\n",
            Value::BigNumber("3492890328409238509324850943850943825024385".into()),
        ),
        (b"=6\r\ntxt:hi\r\n", Value::Verbatim(*b"txt", Bytes::from_static(b"hi"))),
        // Attributes say something about the value that follows, wherever it stands; they are no values.
        (b"|1\r\n+ttl\r\n:1\r\n:7\r\n", Value::Integer(7)),
        (b"*2\r\n|1\r\n+ttl\r\n*1\r\n:1\r\n:1\r\n|0\r\n$1\r\na\r\n", Value::Array(pair())),
    ];
    for (input, value) in table {
        assert_eq!(decode_one(input), value, "{}", input.escape_ascii());
        let (pieces, error) = decode_in_pieces(Limits::default(), input, 1);
        assert_eq!((pieces, error), (vec![value], None), "{}", input.escape_ascii());
    }
    assert!(matches!(decode_one(b",nan\r\n"), Value::Double(number) if number.is_nan()));
    assert!(matches!(decode_one(b",-nan\r\n"), Value::Double(number) if number.is_nan()));
}

#[test]
fn refused() {
    let small = Limits { bulk_bytes: 10, arguments: 1, inline_bytes: 30, request_bytes: 40, nesting: 3 };
    let table: [(&[u8], &str); 24] = [
        (b"?", "unknown type '?'"),
        (b"\n", "unknown type ' '"),
        (b";4\r\n", "unknown type ';'"),
        (b"$?\r\n", "streamed types are not supported"),
        (b"*?\r\n", "streamed types are not supported"),
        (b"$11\r\n", "invalid bulk length"),
        (b"$-2\r\n", "invalid bulk length"),
        (b"=-1\r\n", "invalid bulk length"),
        (b"$01\r\n", "invalid bulk length"),
        (b"$1\r\nabc", "expected CRLF at the end of a bulk string"),
        (b"*-2\r\n", "invalid multibulk length"),
        (b"%-1\r\n", "invalid multibulk length"),
        (b"%9223372036854775807\r\n", "invalid multibulk length"),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n", "nested too deeply"),
        (b"|1\r\n|1\r\n|1\r\n|1\r\n", "nested too deeply"),
        (b"*4\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$10\r\n", "too big value"),
        (b"+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "too big line"),
        (b"+a\rb", "expected LF after CR"),
        (b":1x\r\n", "invalid value ':1x'"),
        (b":\r\n", "invalid value ':'"),
        (b"#x\r\n", "invalid value '#x'"),
        (b",1..2\r\n", "invalid value ',1..2'"),
        (b"(-\r\n", "invalid value '(-'"),
        (b"=3\r\ntxt\r\n", "invalid verbatim string"),
    ];
    for (input, text) in table {
        for piece in [usize::MAX, 1, 3] {
            let (values, error) = decode_in_pieces(small, input, piece);
            assert_eq!(
                error,
                Some(ProtocolError(format!("Protocol error: {text}"))),
                "{}",
                input.escape_ascii()
            );
            assert!(values.is_empty());
        }
    }
}

#[test]
fn a_claimed_length_costs_no_memory() {
    for claim in ["$536870912\r\n", "*1000000000\r\n", "*1000\r\n%1000\r\n~1000\r\n|1000\r\n"] {
        let mut decoder = ValueDecoder::new(Limits::default());
        let mut buffer = BytesMut::from(claim);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert!(buffer.capacity() + decoder.held_bytes() < 64 << 10, "{claim}");
    }
}

/// Arrays in many small pieces: what is decoded is taken out of the buffer, so nothing is read twice.
#[test]
fn elements_leave_the_buffer_as_they_arrive() {
    let mut decoder = ValueDecoder::new(Limits::default());
    let mut buffer = BytesMut::from("*100000\r\n");
    for _ in 0..99_999 {
        buffer.extend_from_slice(b"$3\r\nabc\r\n:1");
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert_eq!(&buffer[..], b":1");
        buffer.clear();
    }
    buffer.extend_from_slice(b":1\r\n");
    let value = decoder.decode(&mut buffer).expect("valid").expect("complete");
    assert!(matches!(value, Value::Array(items) if items.len() == 100_000));
}

/// What is left of a value when it goes through RESP2.
fn as_resp2(value: Value) -> Value {
    let all = |items: Vec<Value>| items.into_iter().map(as_resp2).collect::<Vec<_>>();
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => Value::Array(all(items)),
        Value::Map(pairs) => {
            Value::Array(all(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()))
        }
        Value::Boolean(truth) => Value::Integer(i64::from(truth)),
        Value::BigNumber(digits) => Value::bulk(digits.into_owned()),
        Value::Verbatim(_, text) => Value::Bulk(text),
        Value::Double(number) => {
            Value::bulk(resp::format_double(number, &mut [0; resp::DOUBLE_BYTES]).to_owned())
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(values in prop::collection::vec(any_value(), 1..4), piece in 1_usize..30) {
        let wire: Vec<u8> = values.iter().flat_map(|value| encoded(value, Protocol::Resp3)).collect();
        prop_assert_eq!(decode_in_pieces(Limits::default(), &wire, usize::MAX), (values.clone(), None));
        prop_assert_eq!(decode_in_pieces(Limits::default(), &wire, piece), (values.clone(), None));
        let wire: Vec<u8> = values.iter().flat_map(|value| encoded(value, Protocol::Resp2)).collect();
        let expected: Vec<Value> = values.into_iter().map(as_resp2).collect();
        prop_assert_eq!(decode_in_pieces(Limits::default(), &wire, piece), (expected, None));
    }

    #[test]
    fn no_text_can_forge_a_line(text in "[a\r\n+-]{0,20}") {
        for value in [Value::Simple(text.clone().into()), Value::error(text.clone()), Value::BigNumber(text.into())] {
            let wire = encoded(&value, Protocol::Resp3);
            prop_assert!(wire.ends_with(b"\r\n"));
            prop_assert!(!wire[..wire.len() - 2].iter().any(|&byte| byte == b'\r' || byte == b'\n'));
        }
    }

    #[test]
    fn pieces_make_no_difference(
        value in any_value(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        piece in 1_usize..9,
    ) {
        let mut wire = encoded(&value, Protocol::Resp3);
        for (place, byte) in edits {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        let small = Limits { bulk_bytes: 15, arguments: 3, inline_bytes: 12, request_bytes: 60, nesting: 3 };
        for limits in [small, Limits::default()] {
            // Compared as text, because a mutation may make a NaN.
            let whole = format!("{:?}", decode_in_pieces(limits, &wire, usize::MAX));
            prop_assert_eq!(format!("{:?}", decode_in_pieces(limits, &wire, piece)), whole.clone());
            prop_assert_eq!(format!("{:?}", decode_in_pieces(limits, &wire, 1)), whole);
        }
    }
}
