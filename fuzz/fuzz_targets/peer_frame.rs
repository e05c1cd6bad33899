//! What another node sends: no panic, and what is understood survives being encoded again.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use replication::wire::{decode, encode};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = decode(Bytes::copy_from_slice(data)) else { return };
    let mut again = BytesMut::new();
    encode(&message, &mut again);
    assert_eq!(decode(again.freeze()), Ok(message));
});
