//! What a client sends: no panic, and pieces make no difference.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use resp::{Limits, ProtocolError, RequestDecoder, encode_request};

const LIMITS: Limits =
    Limits { bulk_bytes: 1 << 20, arguments: 1 << 10, inline_bytes: 256, request_bytes: 1 << 20, nesting: 8 };

fn decode(input: &[u8], piece: usize) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
    let mut decoder = RequestDecoder::new(LIMITS);
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    for piece in input.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, input)) = data.split_first() else { return };
    let whole = decode(input, usize::MAX);
    assert_eq!(decode(input, usize::from(piece) + 1), whole);
    let mut again = BytesMut::new();
    for command in &whole.0 {
        encode_request(command, &mut again);
    }
    // An argument of the longest length may exceed the limit of a request once its header is in front of it again.
    if again.len() <= LIMITS.request_bytes {
        assert_eq!(decode(&again, usize::MAX), (whole.0, None));
    }
});
