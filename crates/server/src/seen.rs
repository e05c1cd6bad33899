//! `CLIENT SESSION`: what a session has seen, so that it can go on at another node.
//!
//! A token is for each group that the session has used its number and what was seen of it ([`Seen`]), under a code that only nodes of this cluster can
//! make (HMAC-SHA-256, RFC 2104, of which eight bytes are kept), if they share a secret: what is damaged, forged or of another cluster is none. It
//! says no less than what the session has seen; it may say more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::merged::VersionVector;
use hmac::{Hmac, Mac};
use replication::PartitionId;
use replication::consistency::Seen;
use replication::contract::{Admin, Call, Reply};
use resp::Value;
use sha2::Sha256;

use crate::config::Config;
use crate::driver::Worker;

/// The longest token that is read.
const LONGEST: usize = 1 << 20;
/// What tokens look like.
const VERSION: u8 = 2;
/// How long a group whose leader changes is left alone.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How much of a code is kept: who does not know the secret has to guess that, by asking a node each time.
const CODE_BYTES: usize = 8;

/// What codes of a cluster are made with: its name, and the secret of its nodes if they have one. Without one whoever knows the name can make them.
pub fn key(config: &Config) -> Vec<u8> {
    [config.cluster.as_bytes(), b"\0", config.peer_secret.as_deref().unwrap_or_default().as_bytes()].concat()
}

fn code(key: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    code.update(b"consort session");
    code.update(bytes);
    code
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

/// What a token says; `None`: it is none of the cluster with that key.
pub fn parse(token: &[u8], key: &[u8]) -> Option<Token> {
    let mut seen = BTreeMap::new();
    if token.is_empty() {
        return Some(Token::default());
    }
    let digits = std::str::from_utf8(token).ok().filter(|text| text.len() <= LONGEST && text.is_ascii())?;
    let byte = |place: usize| u8::from_str_radix(digits.get(place..place + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let mut bytes = Bytes::from(bytes?);
    let kept = (bytes.len() >= CODE_BYTES).then(|| bytes.split_to(CODE_BYTES))?;
    if code(key, &bytes).verify_truncated_left(&kept).is_err() || bytes.try_get_u8().ok()? != VERSION {
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
fn spell(token: &Token, key: &[u8]) -> String {
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
    let code = code(key, &bytes).finalize().into_bytes();
    code[..CODE_BYTES].iter().chain(&bytes).map(|byte| format!("{byte:02x}")).collect()
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
    let deadline = worker.deadline();
    let is_there = |partition: PartitionId| {
        let placement = worker.placement();
        match partition.keyspace() {
            0 => placement.get(partition).is_some(),
            _ => placement.primaries.contains_key(&partition) || placement.groups.contains_key(&partition),
        }
    };
    for partition in used.into_iter().filter(|partition| is_there(*partition)) {
        let merges = worker.placement().primaries.contains_key(&partition);
        let reply = loop {
            match worker.ask_and_wait(partition, Call::Admin(Admin::Seen), deadline).await {
                // Leadership moves. It changes nothing to ask again.
                Reply::Refused(text)
                    if text.starts_with("TRYAGAIN") && worker.node.clock.now().time < deadline =>
                {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                reply => break reply,
            }
        };
        let told = match reply {
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
    Reply::Done(Value::bulk(spell(&token, &key(&worker.node.context.config))))
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
            let token = spell(&groups, b"a");
            prop_assert_eq!(parse(token.as_bytes(), b"a"), Some(groups.clone()));
            prop_assert_eq!(parse(token.as_bytes(), b"b"), None, "of another cluster");
            prop_assert_eq!(parse(&token.as_bytes()[..token.len() - 1], b"a"), None);
            let mut forged = token.clone().into_bytes();
            let at = place.index(forged.len());
            forged[at] = b"0123456789abcdef"[digit as usize];
            let expected = (forged == token.as_bytes()).then_some(groups);
            prop_assert_eq!(parse(&forged, b"a"), expected);
        }

        #[test]
        fn anything_at_all_is_looked_at_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            parse(&bytes, b"a");
        }
    }

    /// Many tokens, and of each one something that is not quite it. `CONSORT_TOKENS` says how many.
    #[test]
    fn many_tokens_come_back_and_what_is_made_of_them_does_not() {
        let count =
            std::env::var("CONSORT_TOKENS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000_u64);
        let mut state = 7_u64;
        let mut next = move || {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let mut former = Vec::new();
        for number in 0..count {
            let mut seen = BTreeMap::new();
            for _ in 0..=next() % 4 {
                let of_group = match next() % 2 {
                    0 => Seen::Log { term: next() >> (next() % 64), index: next() >> (next() % 64) },
                    _ => {
                        let mut vector = VersionVector::new();
                        (0..next() % 4).for_each(|_| vector.raise(next(), 1 + (next() >> 2)));
                        Seen::Vector(vector)
                    }
                };
                seen.insert(PartitionId(next() as u32), of_group);
            }
            let token = Token { layout: next() as u32, keyspaces: next() as u16, seen };
            let spelled = spell(&token, b"key").into_bytes();
            assert_eq!(parse(&spelled, b"key").as_ref(), Some(&token), "token {number}");
            assert_eq!(parse(&spelled, b"other"), None, "token {number}");
            let (mut forged, at) = (spelled.clone(), next() as usize % spelled.len());
            match next() % 5 {
                0 => forged[at] ^= 1 << (next() % 8),
                1 => forged.truncate(at),
                2 => drop(forged.splice(at..at, *b"00")),
                3 => forged.extend_from_slice(&former),
                // The code of one before what another one says.
                _ => forged
                    .iter_mut()
                    .zip(&former)
                    .take(2 * CODE_BYTES)
                    .for_each(|(digit, other)| *digit = *other),
            }
            // Digits may be written large, too.
            let is_same = forged.eq_ignore_ascii_case(&spelled) || forged.is_empty();
            assert!(is_same || parse(&forged, b"key").is_none(), "token {number}: {}", forged.escape_ascii());
            former = spelled;
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(parse(b"", b"a"), Some(Token::default()));
        assert_eq!(parse("\u{e9}\u{e9}".as_bytes(), b"a"), None);
        assert_eq!(parse(b"000000000000000001ff", b"a"), None);
        let longer = vec![b'0'; LONGEST + 2];
        assert_eq!(parse(&longer, b"a"), None);
    }
}
