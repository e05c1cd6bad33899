//! What a server answers: no panic, and pieces make no difference.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use resp::{Limits, Protocol, ProtocolError, Value, ValueDecoder, encode};

const LIMITS: Limits =
    Limits { bulk_bytes: 1 << 20, arguments: 1 << 10, inline_bytes: 256, request_bytes: 1 << 20, nesting: 8 };

fn decode(limits: Limits, input: &[u8], piece: usize) -> (Vec<Value>, Option<ProtocolError>) {
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

/// Values may hold a NaN, which is not equal to itself: they are compared as RESP3.
fn wire(values: &[Value]) -> BytesMut {
    let mut out = BytesMut::new();
    for value in values {
        encode(value, Protocol::Resp3, &mut out);
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, input)) = data.split_first() else { return };
    let (values, error) = decode(LIMITS, input, usize::MAX);
    let (pieces, piecewise_error) = decode(LIMITS, input, usize::from(piece) + 1);
    let wire_of_values = wire(&values);
    assert_eq!(wire(&pieces), wire_of_values);
    assert_eq!(piecewise_error, error);
    // Text that is not UTF-8 grows when it is read, so the second reading has the default limits.
    let (again, error) = decode(Limits::default(), &wire_of_values, usize::MAX);
    assert_eq!(error, None);
    assert_eq!(wire(&again), wire_of_values);
    let mut out = BytesMut::new();
    for value in &values {
        encode(value, Protocol::Resp2, &mut out);
    }
});
