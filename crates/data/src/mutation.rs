//! Mutations: absolute changes of state, as bytes that are the same in memory, in the log and on the wire.

use bytes::Bytes;

/// One change to one key (or to every key of the partition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The key holds this string from now on; `expire_at_ms` is wall clock milliseconds since the epoch.
    Set { key: &'a [u8], value: &'a [u8], expire_at_ms: Option<u64> },
    /// These bytes of the string are overwritten from `offset` on; a gap is filled with zeros. An absent key becomes
    /// a string without expiry; the expiry of a present one stays.
    SetRange { key: &'a [u8], offset: u64, bytes: &'a [u8] },
    /// The key is gone.
    Delete { key: &'a [u8] },
    /// The key expires then, or never. An absent key stays absent.
    Expire { key: &'a [u8], expire_at_ms: Option<u64> },
    /// Every key of the partition is gone.
    Flush,
}

/// A sequence of operations that take effect together, encoded. The first byte is the version of the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation(pub Bytes);
