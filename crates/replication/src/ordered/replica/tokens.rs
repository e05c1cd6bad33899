//! Idempotency tokens: a write that carries one runs once, however often it is sent.
//!
//! The table is part of the replicated state: the log entry of a write carries its token and its reply, so every replica
//! remembers both. It is bounded by age (time of the entries, not of any clock) and by number, oldest first; a token
//! that has aged out is not recognised any more, which `INFO` and the documentation say.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest token, in bytes.
pub const TOKEN_BYTES: usize = 64;

/// What applied writes answered, by token.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    replies: BTreeMap<Bytes, Bytes>,
    /// In the order of the log: when, and which.
    ages: VecDeque<(u64, Bytes)>,
}

impl Tokens {
    /// What the write with this token answered.
    pub fn reply(&self, token: &[u8]) -> Option<&Bytes> {
        self.replies.get(token)
    }

    /// Forgets the one that was inserted last, if it is this one: the write is taken back.
    pub fn remove(&mut self, token: &[u8]) {
        self.replies.remove(token);
        if let Some(place) = self.ages.iter().rposition(|(_, known)| known == token) {
            self.ages.remove(place);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.ages.len()
    }

    /// Remembers a write that was applied at `time_ms` and forgets what is too old or too much.
    pub fn insert(&mut self, token: Bytes, reply: Bytes, time_ms: u64, retention_ms: u64, limit: usize) {
        // Copies: slices would keep the whole log entry in memory.
        let token = Bytes::copy_from_slice(&token);
        if self.replies.insert(token.clone(), Bytes::copy_from_slice(&reply)).is_none() {
            self.ages.push_back((time_ms, token));
        }
        while let Some((age, _)) = self.ages.front() {
            if self.ages.len() <= limit && age.saturating_add(retention_ms) >= time_ms {
                break;
            }
            if let Some((_, oldest)) = self.ages.pop_front() {
                self.replies.remove(&oldest);
            }
        }
    }

    /// The bytes of the table, for snapshots.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.ages.len() as u32);
        for (time_ms, token) in &self.ages {
            let reply = self.replies.get(token).map_or(&[][..], |reply| &reply[..]);
            out.put_u64_le(*time_ms);
            out.put_u8(token.len() as u8);
            out.put_slice(token);
            out.put_u32_le(reply.len() as u32);
            out.put_slice(reply);
        }
    }

    /// The table in `bytes`; `None` if they are not one.
    pub fn decode(bytes: &mut Bytes) -> Option<Tokens> {
        let mut tokens = Tokens::default();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let time_ms = bytes.try_get_u64_le().ok()?;
            let token_length = usize::from(bytes.try_get_u8().ok()?);
            let token = take(bytes, token_length)?;
            let reply_length = bytes.try_get_u32_le().ok()? as usize;
            let reply = take(bytes, reply_length)?;
            tokens.replies.insert(token.clone(), reply);
            tokens.ages.push_back((time_ms, token));
        }
        Some(tokens)
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| Bytes::copy_from_slice(&bytes.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u32) -> Bytes {
        Bytes::from(format!("token-{number}"))
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_when_they_are_too_old() {
        let mut tokens = Tokens::default();
        for number in 0..5 {
            tokens.insert(token(number), Bytes::from_static(b"+OK\r\n"), 1000 + u64::from(number), 100, 3);
        }
        assert_eq!(tokens.len(), 3);
        assert!(tokens.reply(b"token-1").is_none());
        assert!(tokens.reply(b"token-2").is_some());
        tokens.insert(token(9), Bytes::new(), 1104, 100, 3);
        assert!(tokens.reply(b"token-3").is_none(), "1003 + 100 < 1104");
        assert!(tokens.reply(b"token-4").is_some());
    }

    #[test]
    fn the_table_survives_its_encoding() {
        let mut tokens = Tokens::default();
        for number in 0..10 {
            tokens.insert(token(number), Bytes::from(vec![7; number as usize]), u64::from(number), 100, 100);
        }
        let mut out = BytesMut::new();
        tokens.encode(&mut out);
        let again = Tokens::decode(&mut out.clone().freeze()).expect("decodes");
        assert_eq!(again.replies, tokens.replies);
        assert_eq!(again.ages, tokens.ages);
        for length in 0..out.len() {
            assert!(Tokens::decode(&mut out.clone().freeze().slice(..length)).is_none());
        }
    }
}
