//! `CLIENT SESSION`: what a session has seen, so that it can go on at another node.
//!
//! A token is for each group that the session has used its number and what was seen of it ([`Seen`]), under a checksum with the name of the cluster:
//! one of another cluster is none. It says no less than what the session has seen; it may say more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::merged::VersionVector;
use replication::PartitionId;
use replication::consistency::Seen;
use replication::contract::{Admin, Call, Reply};
use resp::Value;

use crate::driver::Worker;

/// The longest token that is read.
const LONGEST: usize = 1 << 20;
/// What tokens look like.
const VERSION: u8 = 1;

fn checksum(cluster: &str, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(cluster.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// What a session has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// There were so many partitions, where it was.
    pub layout: u32,
    /// And so many keyspaces had been given groups of their own.
    pub keyspaces: u16,
    /// By group.
    pub seen: BTreeMap<PartitionId, Seen>,
}

/// What a token says; `None`: it is none of this cluster.
pub fn parse(token: &[u8], cluster: &str) -> Option<Token> {
    let mut seen = BTreeMap::new();
    if token.is_empty() {
        return Some(Token::default());
    }
    let digits = std::str::from_utf8(token).ok().filter(|text| text.len() <= LONGEST && text.is_ascii())?;
    let byte = |place: usize| u8::from_str_radix(digits.get(place..place + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let mut bytes = Bytes::from(bytes?);
    let sum = bytes.try_get_u32_le().ok()?;
    if sum != checksum(cluster, &bytes) || bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let (layout, keyspaces) = (bytes.try_get_u32_le().ok()?, bytes.try_get_u16_le().ok()?);
    while !bytes.is_empty() {
        let partition = PartitionId(bytes.try_get_u32_le().ok()?);
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() {
            return None;
        }
        seen.insert(partition, Seen::decode(&bytes.split_to(length))?);
    }
    Some(Token { layout, keyspaces, seen })
}

/// As it is given to a client.
fn spell(token: &Token, cluster: &str) -> String {
    let Token { layout, keyspaces, seen } = token;
    if seen.is_empty() {
        return String::new();
    }
    let mut bytes = BytesMut::new();
    bytes.put_u8(VERSION);
    bytes.put_u32_le(*layout);
    bytes.put_u16_le(*keyspaces);
    for (partition, seen) in seen {
        let seen = seen.encode();
        bytes.put_u32_le(partition.0);
        bytes.put_u32_le(seen.len() as u32);
        bytes.put_slice(&seen);
    }
    let sum = checksum(cluster, &bytes).to_le_bytes();
    sum.iter().chain(&bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The token of a session that has seen so much, and used these groups without being told what it saw.
///
/// # Errors
/// What a client is told.
pub async fn token(
    worker: &Worker,
    used: BTreeSet<PartitionId>,
    mut seen: BTreeMap<PartitionId, Seen>,
) -> Reply {
    let is_there = |partition: PartitionId| {
        let placement = worker.placement();
        match partition.keyspace() {
            0 => placement.get(partition).is_some(),
            _ => placement.primaries.contains_key(&partition) || placement.groups.contains_key(&partition),
        }
    };
    for partition in used.into_iter().filter(|partition| is_there(*partition)) {
        let merges = worker.placement().primaries.contains_key(&partition);
        let told = match worker.ask_and_wait(partition, Call::Admin(Admin::Seen), worker.deadline()).await {
            Reply::Done(Value::Bulk(told)) if merges => {
                VersionVector::decode(&mut told.clone()).ok().map(Seen::Vector)
            }
            Reply::Done(Value::Bulk(told)) => Seen::decode(&told),
            Reply::Done(_) => None,
            other => return other,
        };
        let Some(told) = told else { return Reply::Refused("ERR a replica's answer cannot be read".into()) };
        let told = match seen.remove(&partition) {
            Some(former) => former.and(told),
            None => told,
        };
        seen.insert(partition, told);
    }
    let (layout, keyspaces) = (worker.layout(), worker.placement().keyspaces_numbered);
    let token = Token { layout, keyspaces, seen };
    Reply::Done(Value::bulk(spell(&token, &worker.node.context.config.cluster)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen() -> impl Strategy<Value = Seen> {
        let vector = proptest::collection::btree_map(any::<u64>(), 1..u64::MAX, 0..6).prop_map(|counters| {
            let mut vector = VersionVector::new();
            counters.into_iter().for_each(|(origin, counter)| vector.raise(origin, counter));
            Seen::Vector(vector)
        });
        prop_oneof![any::<(u64, u64)>().prop_map(|(term, index)| Seen::Log { term, index }), vector]
    }

    proptest! {
        #[test]
        fn what_is_spelled_is_read_and_nothing_else(
            (layout, keyspaces) in any::<(u32, u16)>(),
            seen in proptest::collection::btree_map(any::<u32>().prop_map(PartitionId), seen(), 1..5),
            (place, digit) in (any::<prop::sample::Index>(), 0_u8..16),
        ) {
            let groups = Token { layout, keyspaces, seen };
            let token = spell(&groups, "a");
            prop_assert_eq!(parse(token.as_bytes(), "a"), Some(groups.clone()));
            prop_assert_eq!(parse(token.as_bytes(), "b"), None, "of another cluster");
            prop_assert_eq!(parse(&token.as_bytes()[..token.len() - 1], "a"), None);
            let mut forged = token.clone().into_bytes();
            let at = place.index(forged.len());
            forged[at] = b"0123456789abcdef"[digit as usize];
            let expected = (forged == token.as_bytes()).then_some(groups);
            prop_assert_eq!(parse(&forged, "a"), expected);
        }

        #[test]
        fn anything_at_all_is_looked_at_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            parse(&bytes, "a");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(parse(b"", "a"), Some(Token::default()));
        assert_eq!(parse("\u{e9}\u{e9}".as_bytes(), "a"), None);
        assert_eq!(parse(b"000000000000000001ff", "a"), None);
        let longer = vec![b'0'; LONGEST + 2];
        assert_eq!(parse(&longer, "a"), None);
    }
}
