//! The payload of a log entry: when it was decided, the idempotency token with its reply if there is one, the mutation.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::Mutation;

const VERSION: u8 = 1;
const HAS_TOKEN: u8 = 0x10;
const HAS_MUTATION: u8 = 0x20;

/// A decoded payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Payload {
    /// Wall clock of the leader, never less than in an earlier entry.
    pub time_ms: u64,
    /// Token and encoded reply.
    pub token: Option<(Bytes, Bytes)>,
    /// What changes.
    pub mutation: Option<Mutation>,
}

impl Payload {
    /// The bytes of the entry.
    pub fn encode(&self) -> Bytes {
        let token_bytes = self.token.as_ref().map_or(0, |(token, reply)| 5 + token.len() + reply.len());
        let mutation_bytes = self.mutation.as_ref().map_or(0, |mutation| mutation.0.len());
        let mut out = BytesMut::with_capacity(9 + token_bytes + mutation_bytes);
        let mut head = VERSION;
        head |= if self.token.is_some() { HAS_TOKEN } else { 0 };
        head |= if self.mutation.is_some() { HAS_MUTATION } else { 0 };
        out.put_u8(head);
        out.put_u64_le(self.time_ms);
        if let Some((token, reply)) = &self.token {
            out.put_u8(token.len() as u8);
            out.put_slice(token);
            out.put_u32_le(reply.len() as u32);
            out.put_slice(reply);
        }
        if let Some(mutation) = &self.mutation {
            out.put_slice(&mutation.0);
        }
        out.freeze()
    }

    /// The payload in `bytes`; `None` if they are not one, which only damage or a newer version can bring about.
    pub fn decode(mut bytes: Bytes) -> Option<Payload> {
        let head = bytes.try_get_u8().ok()?;
        if head & 0x0f != VERSION {
            return None;
        }
        let time_ms = bytes.try_get_u64_le().ok()?;
        let mut token = None;
        if head & HAS_TOKEN != 0 {
            let token_length = usize::from(bytes.try_get_u8().ok()?);
            let name = split(&mut bytes, token_length)?;
            let reply_length = bytes.try_get_u32_le().ok()? as usize;
            token = Some((name, split(&mut bytes, reply_length)?));
        }
        let mutation = (head & HAS_MUTATION != 0).then_some(Mutation(bytes));
        Some(Payload { time_ms, token, mutation })
    }
}

fn split(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_its_encoding() {
        for token in [None, Some((Bytes::from_static(b"t"), Bytes::from_static(b"+OK\r\n")))] {
            for mutation in [None, Some(Mutation(Bytes::from_static(b"\x01abc")))] {
                let payload = Payload { time_ms: 1 << 40, token: token.clone(), mutation };
                assert_eq!(Payload::decode(payload.encode()), Some(payload));
            }
        }
    }

    /// The bytes of version 1: whoever changes them must raise the version and keep reading these.
    #[test]
    fn version_1_is_still_read() {
        let bytes = Bytes::from_static(b"\x31\x07\0\0\0\0\0\0\0\x01t\x05\0\0\0+OK\r\nM");
        let payload = Payload::decode(bytes.clone()).expect("decodes");
        assert_eq!(payload.time_ms, 7);
        assert_eq!(payload.token, Some((Bytes::from_static(b"t"), Bytes::from_static(b"+OK\r\n"))));
        assert_eq!(payload.mutation, Some(Mutation(Bytes::from_static(b"M"))));
        assert_eq!(payload.encode(), bytes);
    }

    #[test]
    fn damage_is_not_a_payload() {
        assert_eq!(Payload::decode(Bytes::from_static(b"")), None);
        assert_eq!(Payload::decode(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\0")), None);
        assert_eq!(Payload::decode(Bytes::from_static(b"\x11\0\0\0\0\0\0\0\0\xffabc")), None);
    }
}
