//! `CLIENT SESSION`: what a session has seen of multi-primary keyspaces, so that it can go on at another node.
//!
//! A token is for each group its number and the vector of the replica that served the session last, in hexadecimal digits. It says no less than
//! what the session has seen; it may say more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use replication::PartitionId;
use replication::contract::{Admin, Call, Reply};
use resp::Value;

use crate::driver::Worker;

/// The longest token that is read.
const LONGEST: usize = 1 << 20;

/// What a token says; `None`: it is none.
pub fn parse(token: &[u8]) -> Option<BTreeMap<PartitionId, Bytes>> {
    let digits = std::str::from_utf8(token).ok().filter(|text| text.len() <= LONGEST && text.is_ascii())?;
    let byte = |place: usize| u8::from_str_radix(digits.get(place..place + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let mut bytes = Bytes::from(bytes?);
    let mut seen = BTreeMap::new();
    while !bytes.is_empty() {
        let partition = PartitionId(bytes.try_get_u32_le().ok()?);
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() || partition.keyspace() == 0 {
            return None;
        }
        seen.insert(partition, bytes.split_to(length));
    }
    Some(seen)
}

/// The token of a session that has used these groups.
///
/// # Errors
/// What a client is told.
pub async fn token(worker: &Worker, used: BTreeSet<PartitionId>) -> Reply {
    let mut token = BytesMut::new();
    for partition in used {
        if !worker.placement().primaries.contains_key(&partition) {
            continue;
        }
        match worker.ask_and_wait(partition, Call::Admin(Admin::Seen), worker.deadline()).await {
            Reply::Done(Value::Bulk(vector)) => {
                token.put_u32_le(partition.0);
                token.put_u32_le(vector.len() as u32);
                token.put_slice(&vector);
            }
            Reply::Done(other) => return Reply::Refused(format!("ERR a replica answered {other:?}")),
            other => return other,
        }
    }
    let digits: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    Reply::Done(Value::bulk(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(parse(b""), Some(BTreeMap::new()));
        let token = b"000001000200000001ff";
        let seen = BTreeMap::from([(PartitionId(1 << 16), Bytes::from_static(b"\x01\xff"))]);
        assert_eq!(parse(token), Some(seen));
        for length in 1..token.len() {
            assert_eq!(parse(&token[..length]), None, "cut at {length}");
        }
        assert_eq!(parse("\u{e9}\u{e9}".as_bytes()), None);
        assert_eq!(parse(b"000000000000000001ff"), None, "partitions have no vectors");
    }
}
