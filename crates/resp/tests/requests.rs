//! Requests: a table of examples, limits, and the promises that hold for every input.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use resp::{Limits, ProtocolError, RequestDecoder, encode_request};

/// Everything that comes out of `input` when it arrives in pieces of the given lengths (repeated), and how it ended.
fn decode_in_pieces(
    limits: Limits,
    input: &[u8],
    pieces: &[usize],
) -> (Vec<Vec<Bytes>>, Option<ProtocolError>, usize) {
    let mut decoder = RequestDecoder::new(limits);
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    let mut rest = input;
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let length = (*lengths.next().expect("endless")).clamp(1, rest.len());
        buffer.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error), 0),
            }
        }
    }
    (commands, None, buffer.len())
}

fn decode_all(input: &[u8]) -> (Vec<Vec<Bytes>>, Option<ProtocolError>, usize) {
    decode_in_pieces(Limits::default(), input, &[usize::MAX])
}

#[test]
fn commands() {
    let table: [(&[u8], &[&[&[u8]]], usize); 11] = [
        (b"", &[], 0),
        (b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]], 0),
        (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&[b"ECHO", b""]], 0),
        (b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n", &[&[b"GET", b"a\r\nb"]], 0),
        (b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n", &[&[b"a"], &[b"b"]], 4),
        (b"*0\r\n*-1\r\n*-5\r\n\r\n\n   \r\n*1\r\n$1\r\na\r\n", &[&[b"a"]], 0),
        (b"PING\r\nECHO \"a b\"\nGET 'k'\r\n", &[&[b"PING"], &[b"ECHO", b"a b"], &[b"GET", b"k"]], 0),
        (b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\nPI", &[&[b"PING"], &[b"PING"], &[b"PING"]], 2),
        (b"*1\r\n$4\r\nPIN", &[], 11),
        (b"*1\r\n$4\r\nPING\r", &[], 13),
        (b"$1\r\n", &[&[b"$1"]], 0),
    ];
    for (input, expected, left) in table {
        let (commands, error, rest) = decode_all(input);
        assert_eq!((error, rest), (None, left), "{}", input.escape_ascii());
        assert_eq!(commands, expected, "{}", input.escape_ascii());
    }
}

#[test]
fn errors_are_those_of_redis() {
    let small = Limits { bulk_bytes: 100, arguments: 20, inline_bytes: 30, request_bytes: 120, nesting: 1 };
    let table: [(&[u8], &str); 20] = [
        (b"*1\r\nx", "expected '$', got 'x'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\xff", "expected '$', got '\\xff'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*21\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\rx", "invalid multibulk length"),
        (b"*1111111111111111111111111111111111", "too big mbulk count string"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$101\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$18446744073709551617\r\n", "invalid bulk length"),
        (b"*1\r\n$1111111111111111111111111111111111", "too big bulk count string"),
        (b"*1\r\n$1\r\nabc", "expected CRLF at the end of a bulk string"),
        (b"*2\r\n$20\r\n01234567890123456789\r\n$100\r\n", "too big request"),
        (b"SET k \"abc\r\n", "unbalanced quotes in request"),
        (b"0123456789012345678901234567890", "too big inline request"),
    ];
    for (input, text) in table {
        for pieces in [usize::MAX, 1, 3] {
            let (commands, error, _) = decode_in_pieces(small, input, &[pieces]);
            assert_eq!(
                error,
                Some(ProtocolError(format!("Protocol error: {text}"))),
                "{}",
                input.escape_ascii()
            );
            assert!(commands.is_empty());
        }
    }
}

#[test]
fn a_broken_connection_stays_broken() {
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut buffer = BytesMut::from("*1\r\nx");
    let error = decoder.decode(&mut buffer).expect_err("broken");
    buffer.clear();
    buffer.extend_from_slice(b"PING\r\n");
    assert_eq!(decoder.decode(&mut buffer), Err(error));
}

#[test]
fn strangers_are_held_to_less() {
    let argument = "$1\r\na\r\n";
    let eleven = format!("*11\r\n{}", argument.repeat(11));
    let ten = format!("*10\r\n{}", argument.repeat(10));
    let long = format!("*1\r\n$16385\r\n{}\r\n", "x".repeat(16385));
    let longest = format!("*1\r\n$16384\r\n{}\r\n", "x".repeat(16384));
    let decode = |authenticated: bool, input: &str| {
        let mut decoder = RequestDecoder::new(Limits::default());
        decoder.set_authenticated(authenticated);
        decoder.decode(&mut BytesMut::from(input)).map(|command| command.map_or(0, |command| command.len()))
    };
    assert_eq!(decode(false, &ten), Ok(10));
    assert_eq!(decode(false, &longest), Ok(1));
    let error = |text: &str| Err(ProtocolError(format!("Protocol error: {text}")));
    assert_eq!(decode(false, &eleven), error("unauthenticated multibulk length"));
    assert_eq!(decode(false, &long), error("unauthenticated bulk length"));
    assert_eq!(decode(true, &eleven), Ok(11));
    assert_eq!(decode(true, &long), Ok(1));
}

#[test]
fn limits_may_change_between_requests() {
    let mut decoder = RequestDecoder::new(Limits { arguments: 1, ..Limits::default() });
    let mut buffer = BytesMut::from("*1\r\n$1\r\na\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(decoder.decode(&mut buffer).map(|command| command.map(|command| command.len())), Ok(Some(1)));
    decoder.set_limits(Limits::default());
    assert_eq!(decoder.decode(&mut buffer).map(|command| command.map(|command| command.len())), Ok(Some(2)));
}

#[test]
fn arguments_are_slices_of_the_input() {
    let mut buffer = BytesMut::from("*2\r\n$3\r\nabc\r\n$4\r\ndefg\r\nGET key 'quoted'\r\n");
    let memory = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
    let mut decoder = RequestDecoder::new(Limits::default());
    let array = decoder.decode(&mut buffer).expect("valid").expect("complete");
    let inline = decoder.decode(&mut buffer).expect("valid").expect("complete");
    for argument in array.iter().chain(&inline[..2]) {
        assert!(memory.contains(&(argument.as_ptr() as usize)));
    }
    assert_eq!(inline[2], "quoted");
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut buffer = BytesMut::from("*1048576\r\n$536870912\r\n");
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert!(buffer.capacity() < 64 << 10, "{}", buffer.capacity());
    assert!(decoder.held_bytes() < 64 << 10, "{}", decoder.held_bytes());
    // While the payload arrives, room grows with it.
    for received in 1..=64 {
        buffer.extend_from_slice(&[b'x'; 16 << 10]);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert!(buffer.capacity() <= 4 * (received + 1) * (16 << 10), "{received}: {}", buffer.capacity());
    }
}

/// Input that is often a valid request, a mangled one, or nonsense.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let request =
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5).prop_map(|arguments| {
            let mut out = BytesMut::new();
            encode_request(&arguments, &mut out);
            out.to_vec()
        });
    let inline = "[ a-z'\"\\\\x0-9]{0,20}\r?\n".prop_map(String::into_bytes);
    let nonsense = prop::collection::vec(prop::sample::select(b"*$0123-\r\n\"' ax".to_vec()), 0..12);
    let part = prop_oneof![6 => request, 3 => inline, 1 => nonsense];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 0..6),
    ) {
        let mut out = BytesMut::new();
        for command in &commands {
            encode_request(command, &mut out);
        }
        let (decoded, error, left) = decode_all(&out);
        prop_assert_eq!((error, left), (None, 0));
        prop_assert_eq!(decoded, commands);
    }

    #[test]
    fn pieces_make_no_difference(input in wire(), pieces in prop::collection::vec(1_usize..9, 1..6)) {
        let limits = Limits { bulk_bytes: 15, arguments: 3, inline_bytes: 12, request_bytes: 60, nesting: 1 };
        for limits in [limits, Limits::default()] {
            let whole = decode_in_pieces(limits, &input, &[usize::MAX]);
            prop_assert_eq!(&decode_in_pieces(limits, &input, &pieces), &whole);
            prop_assert_eq!(&decode_in_pieces(limits, &input, &[1]), &whole);
        }
    }
}
