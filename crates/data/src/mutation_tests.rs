//! The bytes of every operation are fixed here: a change of the format must raise the version and keep reading these.

use proptest::prelude::*;

use super::*;

fn encode(operations: &[Operation<'_>]) -> Mutation {
    operations.iter().cloned().collect::<MutationBuilder>().finish().expect("there are operations")
}

fn decode(mutation: &Mutation) -> Result<Vec<Operation<'_>>, Malformed> {
    mutation.operations().collect()
}

#[test]
fn fixtures_of_version_1() {
    let long = [b'x'; 200];
    let fixtures: &[(Operation<'_>, &[u8])] = &[
        (Operation::Set { key: b"key", value: b"value", expire_at_ms: None }, b"\x01\x01\x03key\x05value"),
        (
            Operation::Set { key: b"k", value: b"", expire_at_ms: Some(0x0102_0304_0506_0708) },
            b"\x01\x02\x08\x07\x06\x05\x04\x03\x02\x01\x01k\x00",
        ),
        (Operation::SetRange { key: b"k", offset: 300, bytes: b"ab" }, b"\x01\x03\x01k\xac\x02\x02ab"),
        (Operation::Delete { key: b"" }, b"\x01\x04\x00"),
        (
            Operation::Expire { key: b"k", expire_at_ms: Some(1_700_000_000_000) },
            b"\x01\x05\x01k\x00\x68\xe5\xcf\x8b\x01\x00\x00",
        ),
        (Operation::Expire { key: b"k", expire_at_ms: None }, b"\x01\x06\x01k"),
        (Operation::Flush, b"\x01\x07"),
    ];
    for (operation, bytes) in fixtures {
        let encoded = encode(std::slice::from_ref(operation));
        assert_eq!(&encoded.0[..], *bytes, "{operation:?}");
        assert_eq!(decode(&encoded), Ok(vec![operation.clone()]));
    }
    let encoded = encode(&[Operation::Set { key: b"k", value: &long, expire_at_ms: None }]);
    assert_eq!(&encoded.0[..6], b"\x01\x01\x01k\xc8\x01", "a length above 127 takes two bytes");
}

#[test]
fn nothing_gives_nothing() {
    assert_eq!(MutationBuilder::new().finish(), None);
}

#[test]
fn an_unknown_version_or_kind_is_refused() {
    for bytes in [&b""[..], b"\x02\x07", b"\x01\x08", b"\x01\x00"] {
        assert!(Mutation(Bytes::copy_from_slice(bytes)).check().is_err(), "{bytes:?}");
    }
    assert_eq!(Mutation(Bytes::from_static(b"\x01")).check(), Ok(()), "no operations are well formed");
}

#[test]
fn a_range_beyond_the_longest_string_is_refused() {
    for offset in [MAX_STRING_BYTES, u64::MAX] {
        let mutation = encode(&[Operation::SetRange { key: b"k", offset, bytes: b"x" }]);
        assert!(mutation.check().is_err());
    }
    let last = Operation::SetRange { key: b"k", offset: MAX_STRING_BYTES - 1, bytes: b"x" };
    assert_eq!(encode(&[last]).check(), Ok(()));
}

#[test]
fn every_cut_is_noticed() {
    let mutation = encode(&[Operation::Set { key: b"key", value: b"value", expire_at_ms: Some(1) }]);
    for end in 2..mutation.0.len() {
        assert!(Mutation(mutation.0.slice(..end)).check().is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() { *first = MUTATION_VERSION; }
        // Small tags and lengths, so that more than the first operation is reached.
        for byte in bytes.iter_mut().skip(1) { *byte %= 12; }
        let mutation = Mutation(Bytes::from(bytes));
        if let Ok(operations) = decode(&mutation)
            && !operations.is_empty()
        {
            let again = encode(&operations);
            prop_assert_eq!(decode(&again), Ok(operations.clone()));
        }
    }
}
