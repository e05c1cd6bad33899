//! The payload of a log entry: when it was decided, the idempotency token with its reply if there is one, the mutation. Or
//! what is to become of the partition itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::Mutation;

use crate::PartitionId;

const VERSION: u8 = 1;
/// The version of entries that carry a [`Division`] and nothing else.
const VERSION_DIVISION: u8 = 2;
const SPLIT: u8 = 0;
const SETTLED: u8 = 1;
const HAS_TOKEN: u8 = 0x10;
const HAS_MUTATION: u8 = 0x20;
/// Of this size are the pieces that payloads are cut from.
const ROOM_BYTES: usize = 16 << 10;

/// A decoded payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Payload {
    /// Wall clock of the leader, never less than in an earlier entry.
    pub time_ms: u64,
    /// Token and encoded reply.
    pub token: Option<(Bytes, Bytes)>,
    /// What changes.
    pub mutation: Option<Mutation>,
    /// Nothing else, but this.
    pub division: Option<Division>,
}

/// What becomes of a partition that is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Division {
    /// It has the slots `slots` (first and last). From this entry on those from `first_slot` on are those of `child`.
    Split { child: PartitionId, first_slot: u16, slots: (u16, u16) },
    /// A majority holds the new partition by itself: this one's log is not needed for that any more.
    Settled { child: PartitionId },
}

impl Payload {
    /// The bytes of the entry.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes());
        self.put(&mut out);
        out.freeze()
    }

    /// The same, cut from `room`, and the mutation as it stands in there. Entries come and go in the order of the log: those
    /// that were made together share what is allocated for them, and what counts who holds it.
    pub fn encode_into(&self, room: &mut BytesMut) -> (Bytes, Option<Mutation>) {
        let bytes = self.bytes();
        if room.capacity() < bytes {
            room.reserve(bytes.max(ROOM_BYTES));
        }
        self.put(room);
        let bytes = room.split().freeze();
        let mutation = self.mutation.as_ref();
        let mutation = mutation.map(|mutation| Mutation(bytes.slice(bytes.len() - mutation.0.len()..)));
        (bytes, mutation)
    }

    /// How many it takes.
    fn bytes(&self) -> usize {
        if self.division.is_some() {
            return 16;
        }
        let token_bytes = self.token.as_ref().map_or(0, |(token, reply)| 5 + token.len() + reply.len());
        let mutation_bytes = self.mutation.as_ref().map_or(0, |mutation| mutation.0.len());
        9 + token_bytes + mutation_bytes
    }

    fn put(&self, out: &mut BytesMut) {
        if let Some(division) = &self.division {
            return self.put_division(division, out);
        }
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
    }

    fn put_division(&self, division: &Division, out: &mut BytesMut) {
        out.put_u8(VERSION_DIVISION);
        out.put_u64_le(self.time_ms);
        match *division {
            Division::Split { child, first_slot, slots } => {
                out.put_u8(SPLIT);
                out.put_u32_le(child.0);
                out.put_u16_le(first_slot);
                out.put_u16_le(slots.0);
                out.put_u16_le(slots.1);
            }
            Division::Settled { child } => {
                out.put_u8(SETTLED);
                out.put_u32_le(child.0);
            }
        }
    }

    /// The first key that the mutation in the payload of an entry is about, as far as can be told at a glance.
    pub fn first_key(mut bytes: &[u8]) -> Option<&[u8]> {
        let head = bytes.try_get_u8().ok()?;
        if head & 0x0f != VERSION || head & HAS_MUTATION == 0 {
            return None;
        }
        bytes.try_get_u64_le().ok()?;
        if head & HAS_TOKEN != 0 {
            let token_length = usize::from(bytes.try_get_u8().ok()?);
            bytes = bytes.get(token_length..)?;
            let reply_length = bytes.try_get_u32_le().ok()? as usize;
            bytes = bytes.get(reply_length..)?;
        }
        Mutation::first_key(bytes)
    }

    /// The division in the payload of an entry, if it carries one.
    pub fn division_in(bytes: &Bytes) -> Option<Division> {
        if bytes.first() != Some(&VERSION_DIVISION) {
            return None;
        }
        Payload::decode(bytes.clone())?.division
    }

    /// The payload in `bytes`; `None` if they are not one, which only damage or a newer version can bring about.
    pub fn decode(mut bytes: Bytes) -> Option<Payload> {
        let head = bytes.try_get_u8().ok()?;
        let is_division = head == VERSION_DIVISION;
        if head & 0x0f != VERSION && !is_division {
            return None;
        }
        let time_ms = bytes.try_get_u64_le().ok()?;
        if is_division {
            let kind = bytes.try_get_u8().ok()?;
            let child = PartitionId(bytes.try_get_u32_le().ok()?);
            let division = match kind {
                SPLIT => {
                    let first_slot = bytes.try_get_u16_le().ok()?;
                    let slots = (bytes.try_get_u16_le().ok()?, bytes.try_get_u16_le().ok()?);
                    let divides = slots.0 < first_slot && first_slot <= slots.1;
                    divides.then_some(Division::Split { child, first_slot, slots })?
                }
                SETTLED => Division::Settled { child },
                _ => return None,
            };
            let division = bytes.is_empty().then_some(division)?;
            return Some(Payload { time_ms, token: None, mutation: None, division: Some(division) });
        }
        let mut token = None;
        if head & HAS_TOKEN != 0 {
            let token_length = usize::from(bytes.try_get_u8().ok()?);
            let name = split(&mut bytes, token_length)?;
            let reply_length = bytes.try_get_u32_le().ok()? as usize;
            token = Some((name, split(&mut bytes, reply_length)?));
        }
        let mutation = (head & HAS_MUTATION != 0).then_some(Mutation(bytes));
        Some(Payload { time_ms, token, mutation, division: None })
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
        let (mut room, mut kept) = (BytesMut::new(), Vec::new());
        for token in [None, Some((Bytes::from_static(b"t"), Bytes::from_static(b"+OK\r\n")))] {
            for mutation in [None, Some(Mutation(Bytes::from_static(b"\x01abc")))] {
                let payload = Payload { time_ms: 1 << 40, token: token.clone(), mutation, division: None };
                // Also where it stands behind others, and where there is no room for it any more.
                for _ in 0..ROOM_BYTES / 8 {
                    let (bytes, mutation) = payload.encode_into(&mut room);
                    assert_eq!((&bytes, &mutation), (&payload.encode(), &payload.mutation));
                    kept.push(bytes);
                }
                assert_eq!(Payload::decode(payload.encode()), Some(payload));
            }
        }
        assert!(kept.iter().all(|bytes| Payload::decode(bytes.clone()).is_some()), "they stay as they are");
        let child = PartitionId(7);
        for division in
            [Division::Split { child, first_slot: 300, slots: (2, 400) }, Division::Settled { child }]
        {
            let payload = Payload { time_ms: 9, token: None, mutation: None, division: Some(division) };
            let bytes = payload.encode();
            assert_eq!(Payload::division_in(&bytes), Some(division));
            assert_eq!(Payload::decode(bytes.clone()), Some(payload));
            for length in 0..bytes.len() {
                assert_eq!(Payload::decode(bytes.slice(..length)), None);
            }
        }
    }

    #[test]
    fn the_first_key_is_found_without_decoding() {
        let mut builder = data::MutationBuilder::new();
        for key in [b"first", b"other"] {
            builder.push(&data::Operation::Set { key, value: b"v", expire_at_ms: None });
        }
        let mutation = builder.finish();
        assert!(mutation.is_some());
        for token in [None, Some((Bytes::from_static(b"t"), Bytes::from_static(b"+OK\r\n")))] {
            let payload = Payload { time_ms: 9, token, mutation: mutation.clone(), division: None };
            let bytes = payload.encode();
            assert_eq!(Payload::first_key(&bytes), Some(&b"first"[..]));
            // Whatever else there is: nothing, and no panic.
            for length in 0..bytes.len() {
                let _ = Payload::first_key(&bytes[..length]);
            }
            let nothing = Payload { mutation: None, ..payload };
            assert_eq!(Payload::first_key(&nothing.encode()), None);
        }
        assert_eq!(Payload::first_key(b"\x02\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x2c\x01\x02\0\x90\x01"), None);
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
        let bytes = Bytes::from_static(b"\x02\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x2c\x01\x02\0\x90\x01");
        let payload = Payload::decode(bytes.clone()).expect("decodes");
        let split = Division::Split { child: PartitionId(5), first_slot: 300, slots: (2, 400) };
        assert_eq!(payload.division, Some(split));
        assert_eq!(payload.encode(), bytes);
    }

    #[test]
    fn damage_is_not_a_payload() {
        assert_eq!(Payload::decode(Bytes::from_static(b"")), None);
        assert_eq!(Payload::decode(Bytes::from_static(b"\x03\0\0\0\0\0\0\0\0")), None);
        assert_eq!(Payload::decode(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\0\x09\0\0\0\0")), None);
        assert_eq!(Payload::decode(Bytes::from_static(b"\x11\0\0\0\0\0\0\0\0\xffabc")), None);
    }
}
