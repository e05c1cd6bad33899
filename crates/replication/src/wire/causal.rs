//! The messages of replicas that all take writes.

use bytes::{BufMut, Bytes, BytesMut};
use data::merged::{Facet, HybridTime, VersionVector};

use super::Malformed;
use super::fields::{Reader, put_bytes, put_flag, put_number, put_option, put_position};
use crate::merged::causal::{Body, Holds, Message, Range, Round, Want, What, state};

mod kind {
    pub const MUTATIONS: u8 = 0;
    pub const HOLDS: u8 = 1;
    pub const WANT_STEPS: u8 = 2;
    pub const WANT_STATE: u8 = 3;
    pub const STEPS: u8 = 4;
    pub const SLICE: u8 = 5;
    pub const GONE: u8 = 6;
    pub const RIGHTS: u8 = 7;
    pub const RANGE: u8 = 8;
    pub const RANGE_IS: u8 = 9;
    pub const REBUILD: u8 = 10;
    pub const ASK: u8 = 11;
    pub const TOLD: u8 = 12;
    pub const HINT: u8 = 13;
    pub const HINTED: u8 = 14;
}

fn put_vector(out: &mut BytesMut, vector: &VersionVector) {
    let mut bytes = BytesMut::new();
    vector.encode(&mut bytes);
    put_bytes(out, &bytes.freeze());
}

fn put_round(out: &mut BytesMut, kind: u8, round: Round, vector: &VersionVector) {
    out.put_u8(kind);
    out.put_u64_le(round.life);
    out.put_u64_le(round.number);
    put_vector(out, vector);
}

fn put_mutations(out: &mut BytesMut, mutations: &[Bytes]) {
    put_number(out, mutations.len() as u64);
    mutations.iter().for_each(|bytes| put_bytes(out, bytes));
}

fn put_cursor(out: &mut BytesMut, (facet, position): state::Cursor) {
    out.put_u8(facet as u8);
    put_position(out, position);
}

pub(super) fn put_message(out: &mut BytesMut, message: &Message) {
    match message {
        Message::Mutations(mutations) => {
            out.put_u8(kind::MUTATIONS);
            put_mutations(out, mutations);
        }
        Message::Hint { base, mutations } => {
            out.put_u8(kind::HINT);
            put_vector(out, base);
            put_mutations(out, mutations);
        }
        Message::Hinted { vector, takes } => {
            out.put_u8(kind::HINTED);
            put_vector(out, vector);
            put_flag(out, *takes);
        }
        Message::Holds(Holds { vector, base, folded, digest, knows }) => {
            out.put_u8(kind::HOLDS);
            [vector, base, folded].into_iter().for_each(|vector| put_vector(out, vector));
            put_option(out, *digest, |out, digest| out.put_u128_le(digest));
            put_number(out, *knows);
        }
        Message::Want(Want { id, vector, what }) => {
            match what {
                What::Steps { list, have } => {
                    out.put_u8(kind::WANT_STEPS);
                    out.put_u64_le(*list);
                    put_number(out, u64::from(*have));
                }
                What::State { from } => {
                    out.put_u8(kind::WANT_STATE);
                    put_cursor(out, *from);
                }
            }
            out.put_u64_le(*id);
            put_vector(out, vector);
        }
        Message::Piece { id, body } => {
            match body {
                Body::Steps { list, number, of, vector, bytes } => {
                    out.put_u8(kind::STEPS);
                    out.put_u64_le(*list);
                    put_number(out, u64::from(*number));
                    put_number(out, u64::from(*of));
                    put_vector(out, vector);
                    put_bytes(out, bytes);
                }
                Body::Slice { from, next, vector, latest, bytes } => {
                    out.put_u8(kind::SLICE);
                    put_cursor(out, *from);
                    put_option(out, *next, put_cursor);
                    put_vector(out, vector);
                    out.put_u64_le(latest.ms);
                    put_number(out, u64::from(latest.logical));
                    put_bytes(out, bytes);
                }
                Body::Gone => out.put_u8(kind::GONE),
            }
            out.put_u64_le(*id);
        }
        Message::Range(Range { round, from, to, vector, digest }) => {
            out.put_u8(kind::RANGE);
            out.put_u64_le(*round);
            put_position(out, *from);
            put_option(out, *to, put_position);
            put_vector(out, vector);
            out.put_u128_le(*digest);
        }
        Message::RangeIs { round, digest } => {
            out.put_u8(kind::RANGE_IS);
            out.put_u64_le(*round);
            out.put_u128_le(*digest);
        }
        Message::Rebuild { round } => {
            out.put_u8(kind::REBUILD);
            out.put_u64_le(*round);
        }
        Message::Ask { round, vector } => put_round(out, kind::ASK, *round, vector),
        Message::Told { round, vector } => put_round(out, kind::TOLD, *round, vector),
        Message::Rights { key, amount } => {
            out.put_u8(kind::RIGHTS);
            put_bytes(out, key);
            out.put_u128_le(*amount as u128);
        }
    }
}

fn vector(reader: &mut Reader) -> Result<VersionVector, Malformed> {
    let mut bytes: Bytes = reader.bytes()?;
    let vector = VersionVector::decode(&mut bytes).map_err(|malformed| Malformed(malformed.0))?;
    if bytes.is_empty() { Ok(vector) } else { Err(Malformed("bytes after a version vector")) }
}

fn mutations(reader: &mut Reader) -> Result<Vec<Bytes>, Malformed> {
    let mut mutations = Vec::new();
    for _ in 0..reader.number()? {
        mutations.push(reader.bytes()?);
    }
    Ok(mutations)
}

fn round(reader: &mut Reader) -> Result<Round, Malformed> {
    Ok(Round { life: reader.word()?, number: reader.word()? })
}

fn cursor(reader: &mut Reader) -> Result<state::Cursor, Malformed> {
    let facet = Facet::from_number(reader.byte()?).map_err(|malformed| Malformed(malformed.0))?;
    Ok((facet, reader.word()?))
}

pub(super) fn message(reader: &mut Reader) -> Result<Message, Malformed> {
    Ok(match reader.byte()? {
        kind::MUTATIONS => Message::Mutations(mutations(reader)?),
        kind::HINT => Message::Hint { base: vector(reader)?, mutations: mutations(reader)? },
        kind::HINTED => Message::Hinted { vector: vector(reader)?, takes: reader.flag()? },
        kind::HOLDS => Message::Holds(Holds {
            vector: vector(reader)?,
            base: vector(reader)?,
            folded: vector(reader)?,
            digest: reader.option(Reader::long_word)?,
            knows: reader.number()?,
        }),
        kind::WANT_STEPS => {
            let what = What::Steps { list: reader.word()?, have: reader.number_u32()? };
            Message::Want(Want { what, id: reader.word()?, vector: vector(reader)? })
        }
        kind::WANT_STATE => {
            let what = What::State { from: cursor(reader)? };
            Message::Want(Want { what, id: reader.word()?, vector: vector(reader)? })
        }
        kind::STEPS => {
            let body = Body::Steps {
                list: reader.word()?,
                number: reader.number_u32()?,
                of: reader.number_u32()?,
                vector: vector(reader)?,
                bytes: reader.bytes()?,
            };
            Message::Piece { body, id: reader.word()? }
        }
        kind::SLICE => {
            let body = Body::Slice {
                from: cursor(reader)?,
                next: reader.option(cursor)?,
                vector: vector(reader)?,
                latest: HybridTime { ms: reader.word()?, logical: reader.number_u32()? },
                bytes: reader.bytes()?,
            };
            Message::Piece { body, id: reader.word()? }
        }
        kind::RANGE => Message::Range(Range {
            round: reader.word()?,
            from: reader.word()?,
            to: reader.option(Reader::word)?,
            vector: vector(reader)?,
            digest: reader.long_word()?,
        }),
        kind::RANGE_IS => Message::RangeIs { round: reader.word()?, digest: reader.long_word()? },
        kind::REBUILD => Message::Rebuild { round: reader.word()? },
        kind::ASK => Message::Ask { round: round(reader)?, vector: vector(reader)? },
        kind::TOLD => Message::Told { round: round(reader)?, vector: vector(reader)? },
        kind::RIGHTS => Message::Rights { key: reader.bytes()?, amount: reader.long_word()? as i128 },
        kind::GONE => Message::Piece { body: Body::Gone, id: reader.word()? },
        _ => return Err(Malformed("a kind of message that is not known")),
    })
}
