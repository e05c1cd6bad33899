//! Mutations: absolute changes of state, as bytes that are the same in memory, in the log and on the wire.
//!
//! Layout: one byte of version, then operations, each a tag and its fields. A *block* is a varint length and that many
//! bytes.
//!
//! ```text
//! 1 Set, no expiry    key block, value block
//! 2 Set, with expiry  expiry (8 bytes, little endian), key block, value block
//! 3 SetRange          key block, offset varint, bytes block
//! 4 Delete            key block
//! 5 Expire            key block, expiry (8 bytes, little endian)
//! 6 Persist           key block
//! 7 Flush
//! 8 SetElement        kind (1 byte; 0x80 added if the element is new), key block, name block, value block
//! 9 RemoveElement     kind (1 byte; 0x80 added if it was the first, 0x40 if it was the last), key block, name block, and of a sorted
//!                      set with 0x80 or 0x40 the score (8 bytes)
//! 10 SetCollection, no expiry    kind (1 byte), key block, content block (packed elements, see `collection`)
//! 11 SetCollection, with expiry  expiry (8 bytes, little endian), then the same
//! ```
//!
//! Invariant: applying a mutation again to a later state of the keys, and then all those that followed it, ends in the
//! same state as applying them once. Every operation overwrites what it names, so this holds as long as `Expire` is
//! made only for a key that is present at its place in the order, and the removal of a collection's last element is a `Delete`
//! (an expiry must not outlive it); [`prepare`](crate::prepare()) keeps to that.

use bytes::{BufMut, Bytes, BytesMut};

use crate::collection::{Element, End, Kind, block, score};
use crate::table::Malformed;
use crate::varint::{self, Reader};

/// The version that [`MutationBuilder`] writes.
pub const MUTATION_VERSION: u8 = 1;

/// The longest string in bytes; Redis' default of `proto-max-bulk-len`.
pub const MAX_STRING_BYTES: u64 = 512 * 1024 * 1024;

const SET: u8 = 1;
const SET_WITH_EXPIRY: u8 = 2;
const SET_RANGE: u8 = 3;
const DELETE: u8 = 4;
const EXPIRE: u8 = 5;
const PERSIST: u8 = 6;
const FLUSH: u8 = 7;
const SET_ELEMENT: u8 = 8;
const REMOVE_ELEMENT: u8 = 9;
const SET_COLLECTION: u8 = 10;
const SET_COLLECTION_WITH_EXPIRY: u8 = 11;
const INCREASE: u8 = 12;

/// In the kind of [`Operation::SetElement`].
const IS_NEW: u8 = 0x80;
/// In the kind of [`Operation::RemoveElement`].
const IS_FIRST: u8 = 0x80;
const IS_LAST: u8 = 0x40;

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
    /// The element of the collection has this value from now on. An absent key becomes a collection without expiry.
    /// `is_new`: there was none of this name (for counting before it is applied; applying looks for itself).
    SetElement { key: &'a [u8], kind: Kind, name: &'a [u8], value: &'a [u8], is_new: bool },
    /// The element, which is there and not the only one, is gone. `at_end`: none stood before it, or behind it (so that who looks
    /// for the next one before it is applied finds that soon; applying looks for itself). Then `score` is that of a sorted set's
    /// member; otherwise it is empty.
    RemoveElement { key: &'a [u8], kind: Kind, name: &'a [u8], at_end: Option<End>, score: &'a [u8] },
    /// The key holds this collection from now on.
    SetCollection { key: &'a [u8], kind: Kind, content: &'a [u8], expire_at_ms: Option<u64> },
    /// So much (in units of 10^-17) is added to a number, which is `value` then: a string, with its expiry, or an element of this
    /// kind. Made only where changes merge ([`merged`](crate::merged)), and never written to a log; for who looks at it before that it
    /// puts the value.
    Increase {
        key: &'a [u8],
        kind: Option<Kind>,
        name: &'a [u8],
        amount: i128,
        value: &'a [u8],
        is_new: bool,
        expire_at_ms: Option<u64>,
    },
    /// Every key of the partition is gone.
    Flush,
}

impl<'a> Operation<'a> {
    /// The key that it is about; `None`: all.
    pub fn key(&self) -> Option<&'a [u8]> {
        match self {
            Operation::Set { key, .. }
            | Operation::SetRange { key, .. }
            | Operation::Delete { key }
            | Operation::Expire { key, .. }
            | Operation::SetElement { key, .. }
            | Operation::RemoveElement { key, .. }
            | Operation::SetCollection { key, .. }
            | Operation::Increase { key, .. } => Some(key),
            Operation::Flush => None,
        }
    }
}

impl Operation<'_> {
    /// The commands that do the same, wherever the keys are what they were before it.
    pub fn as_commands(&self) -> Vec<Vec<Bytes>> {
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let number = |number: u64| Bytes::from(number.to_string());
        let copy = Bytes::copy_from_slice;
        let ending = |key: &[u8], at_ms: u64| vec![text("PEXPIREAT"), copy(key), number(at_ms)];
        vec![match *self {
            Operation::Set { key, value, expire_at_ms: None } => vec![text("SET"), copy(key), copy(value)],
            Operation::Set { key, value, expire_at_ms: Some(at_ms) } => {
                vec![text("SET"), copy(key), copy(value), text("PXAT"), number(at_ms)]
            }
            Operation::SetRange { key, offset, bytes } => {
                vec![text("SETRANGE"), copy(key), number(offset), copy(bytes)]
            }
            Operation::Delete { key } => vec![text("DEL"), copy(key)],
            Operation::Expire { key, expire_at_ms: Some(at_ms) } => ending(key, at_ms),
            Operation::Expire { key, expire_at_ms: None } => vec![text("PERSIST"), copy(key)],
            Operation::SetElement { key, kind, name, value, .. } => {
                set_elements(key, kind, std::iter::once(Element { name, value }))
            }
            Operation::Increase { key, kind: Some(kind), name, value, .. } => {
                set_elements(key, kind, std::iter::once(Element { name, value }))
            }
            Operation::Increase { key, kind: None, value, .. } => vec![text("SET"), copy(key), copy(value)],
            Operation::RemoveElement { key, kind, name, .. } => match kind {
                Kind::Hash => vec![text("HDEL"), copy(key), copy(name)],
                Kind::Set => vec![text("SREM"), copy(key), copy(name)],
                Kind::SortedSet => vec![text("ZREM"), copy(key), copy(name)],
                Kind::List => vec![text("LTAKE"), copy(key), hexadecimal(name)],
            },
            Operation::SetCollection { key, kind, content, expire_at_ms } => {
                let mut commands =
                    vec![vec![text("DEL"), copy(key)], set_elements(key, kind, block::elements(content))];
                commands.extend(expire_at_ms.map(|at_ms| ending(key, at_ms)));
                return commands;
            }
            Operation::Flush => vec![text("FLUSHALL")],
        }]
    }
}

/// The command that sets these elements.
fn set_elements<'e>(key: &[u8], kind: Kind, elements: impl Iterator<Item = Element<'e>>) -> Vec<Bytes> {
    let name = match kind {
        Kind::Hash => "HSET",
        Kind::Set => "SADD",
        Kind::List => "LPUT",
        Kind::SortedSet => "ZADD",
    };
    let copy = Bytes::copy_from_slice;
    let mut arguments = vec![Bytes::from_static(name.as_bytes()), copy(key)];
    for Element { name, value } in elements {
        match kind {
            Kind::Hash => arguments.extend([copy(name), copy(value)]),
            Kind::Set => arguments.push(copy(name)),
            Kind::List => arguments.extend([hexadecimal(name), copy(value)]),
            Kind::SortedSet => {
                let mut text = [0; resp::DOUBLE_BYTES];
                let score = resp::format_double(score::decode(value), &mut text).to_owned();
                arguments.extend([Bytes::from(score), copy(name)]);
            }
        }
    }
    arguments
}

fn hexadecimal(bytes: &[u8]) -> Bytes {
    Bytes::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A sequence of operations that take effect together, encoded. The first byte is the version of the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation(pub Bytes);

impl Mutation {
    /// The operations, in order. The iterator ends after the first error.
    pub fn operations(&self) -> Operations<'_> {
        let mut reader = Reader::new(&self.0);
        let failed = match reader.byte() {
            Ok(MUTATION_VERSION) => None,
            Ok(_) => Some(Malformed("a mutation of an unknown version")),
            Err(error) => Some(error),
        };
        Operations { reader, failed, done: false }
    }

    /// The key that the first operation of these bytes, which are or become a mutation, is about, as far as can be told at a glance.
    pub fn first_key(bytes: &[u8]) -> Option<&[u8]> {
        let mut reader = Reader::new(bytes);
        reader.byte().ok()?;
        read_operation(&mut reader).ok()?.key()
    }

    /// Goes through all operations.
    ///
    /// # Errors
    /// The bytes are not a mutation.
    pub fn check(&self) -> Result<(), Malformed> {
        self.operations().try_for_each(|operation| operation.map(|_| ()))
    }
}

/// The operations of a [`Mutation`].
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    reader: Reader<'a>,
    failed: Option<Malformed>,
    done: bool,
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = match self.failed.take() {
            Some(error) => Err(error),
            None if self.reader.is_empty() => {
                self.done = true;
                return None;
            }
            None => read_operation(&mut self.reader),
        };
        self.done = item.is_err();
        Some(item)
    }
}

fn read_operation<'a>(reader: &mut Reader<'a>) -> Result<Operation<'a>, Malformed> {
    match reader.byte()? {
        SET => read_set(reader, None),
        SET_WITH_EXPIRY => {
            let expire_at_ms = Some(reader.u64_le()?);
            read_set(reader, expire_at_ms)
        }
        SET_RANGE => read_set_range(reader),
        DELETE => Ok(Operation::Delete { key: reader.block()? }),
        EXPIRE => Ok(Operation::Expire { key: reader.block()?, expire_at_ms: Some(reader.u64_le()?) }),
        PERSIST => Ok(Operation::Expire { key: reader.block()?, expire_at_ms: None }),
        FLUSH => Ok(Operation::Flush),
        SET_ELEMENT => read_set_element(reader),
        REMOVE_ELEMENT => {
            let first = reader.byte()?;
            let at_end = match first & (IS_FIRST | IS_LAST) {
                0 => None,
                IS_FIRST => Some(End::First),
                IS_LAST => Some(End::Last),
                _ => return Err(Malformed("an element at both ends")),
            };
            let kind = Kind::from_number(first & !(IS_FIRST | IS_LAST))?;
            let (key, name) = (reader.block()?, reader.block()?);
            let has_score = kind == Kind::SortedSet && at_end.is_some();
            let score = if has_score { reader.take(score::SCORE_BYTES)? } else { &[] };
            Ok(Operation::RemoveElement { key, kind, name, at_end, score })
        }
        INCREASE => read_increase(reader),
        SET_COLLECTION => read_set_collection(reader, None),
        SET_COLLECTION_WITH_EXPIRY => {
            let expire_at_ms = Some(reader.u64_le()?);
            read_set_collection(reader, expire_at_ms)
        }
        _ => Err(Malformed("an operation of an unknown kind")),
    }
}

fn read_set<'a>(reader: &mut Reader<'a>, expire_at_ms: Option<u64>) -> Result<Operation<'a>, Malformed> {
    Ok(Operation::Set { key: reader.block()?, value: reader.block()?, expire_at_ms })
}

fn read_set_range<'a>(reader: &mut Reader<'a>) -> Result<Operation<'a>, Malformed> {
    let (key, offset, bytes) = (reader.block()?, reader.varint()?, reader.block()?);
    match offset.checked_add(bytes.len() as u64) {
        Some(end) if end <= MAX_STRING_BYTES => Ok(Operation::SetRange { key, offset, bytes }),
        _ => Err(Malformed("a range beyond the longest string")),
    }
}

fn read_set_element<'a>(reader: &mut Reader<'a>) -> Result<Operation<'a>, Malformed> {
    let first = reader.byte()?;
    let kind = Kind::from_number(first & !IS_NEW)?;
    let (key, name, value) = (reader.block()?, reader.block()?, reader.block()?);
    kind.check_element(&Element { name, value })?;
    Ok(Operation::SetElement { key, kind, name, value, is_new: first & IS_NEW != 0 })
}

fn read_increase<'a>(reader: &mut Reader<'a>) -> Result<Operation<'a>, Malformed> {
    let first = reader.byte()?;
    let kind = match first & !IS_NEW {
        0 => None,
        number => Some(Kind::from_number(number)?),
    };
    let at_ms = reader.u64_le()?;
    let (key, name) = (reader.block()?, reader.block()?);
    let (high, low) = (reader.u64_le()?, reader.u64_le()?);
    let amount = (u128::from(high) << 64 | u128::from(low)) as i128;
    let (is_new, expire_at_ms) = (first & IS_NEW != 0, (at_ms != 0).then_some(at_ms));
    Ok(Operation::Increase { key, kind, name, amount, value: reader.block()?, is_new, expire_at_ms })
}

fn read_set_collection<'a>(
    reader: &mut Reader<'a>,
    expire_at_ms: Option<u64>,
) -> Result<Operation<'a>, Malformed> {
    let kind = Kind::from_number(reader.byte()?)?;
    let (key, content) = (reader.block()?, reader.block()?);
    kind.check_content(content)?;
    Ok(Operation::SetCollection { key, kind, content, expire_at_ms })
}

/// Puts a [`Mutation`] together.
#[derive(Debug, Default)]
pub struct MutationBuilder {
    /// Empty until the first operation.
    bytes: BytesMut,
}

impl MutationBuilder {
    /// A builder without operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has nothing been added yet?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: &Operation<'_>) {
        match *operation {
            Operation::Set { key, value, expire_at_ms } => {
                self.start(key.len() + value.len());
                match expire_at_ms {
                    None => self.bytes.put_u8(SET),
                    Some(at_ms) => {
                        self.bytes.put_u8(SET_WITH_EXPIRY);
                        self.bytes.put_u64_le(at_ms);
                    }
                }
                self.block(key);
                self.block(value);
            }
            Operation::SetRange { key, offset, bytes } => {
                self.tagged_key(SET_RANGE, key, bytes.len());
                varint::put(&mut self.bytes, offset);
                self.block(bytes);
            }
            Operation::Delete { key } => self.tagged_key(DELETE, key, 0),
            Operation::Expire { key, expire_at_ms: Some(at_ms) } => {
                self.tagged_key(EXPIRE, key, 0);
                self.bytes.put_u64_le(at_ms);
            }
            Operation::Expire { key, expire_at_ms: None } => self.tagged_key(PERSIST, key, 0),
            Operation::SetElement { key, kind, name, value, is_new } => {
                self.start(key.len() + name.len() + value.len());
                self.bytes.put_u8(SET_ELEMENT);
                self.bytes.put_u8(kind as u8 | if is_new { IS_NEW } else { 0 });
                self.block(key);
                self.block(name);
                self.block(value);
            }
            Operation::RemoveElement { key, kind, name, at_end, score } => {
                self.start(key.len() + name.len());
                self.bytes.put_u8(REMOVE_ELEMENT);
                let flag = match at_end {
                    None => 0,
                    Some(End::First) => IS_FIRST,
                    Some(End::Last) => IS_LAST,
                };
                self.bytes.put_u8(kind as u8 | flag);
                self.block(key);
                self.block(name);
                self.bytes.extend_from_slice(score);
            }
            Operation::SetCollection { key, kind, content, expire_at_ms } => {
                self.start(key.len() + content.len());
                match expire_at_ms {
                    None => self.bytes.put_u8(SET_COLLECTION),
                    Some(at_ms) => {
                        self.bytes.put_u8(SET_COLLECTION_WITH_EXPIRY);
                        self.bytes.put_u64_le(at_ms);
                    }
                }
                self.bytes.put_u8(kind as u8);
                self.block(key);
                self.block(content);
            }
            Operation::Increase { key, kind, name, amount, value, is_new, expire_at_ms } => {
                self.start(key.len() + name.len() + value.len() + 32);
                self.bytes.put_u8(INCREASE);
                self.bytes.put_u8(kind.map_or(0, |kind| kind as u8) | if is_new { IS_NEW } else { 0 });
                self.bytes.put_u64_le(expire_at_ms.unwrap_or(0));
                self.block(key);
                self.block(name);
                self.bytes.put_u64_le((amount as u128 >> 64) as u64);
                self.bytes.put_u64_le(amount as u64);
                self.block(value);
            }
            Operation::Flush => {
                self.start(0);
                self.bytes.put_u8(FLUSH);
            }
        }
    }

    /// Adds all operations of `mutation`, which this crate has built.
    pub(crate) fn append(&mut self, mutation: &Mutation) {
        self.start(mutation.0.len());
        self.bytes.extend_from_slice(mutation.0.get(1..).unwrap_or_default());
    }

    /// The mutation; `None` if nothing was added.
    pub fn finish(self) -> Option<Mutation> {
        (!self.bytes.is_empty()).then(|| Mutation(self.bytes.freeze()))
    }

    /// Writes the version before the first operation, and makes room for one with `payload_bytes` of blocks.
    fn start(&mut self, payload_bytes: usize) {
        // Tag, expiry and three varints take 29 bytes at most with lengths below 4 GiB.
        self.bytes.reserve(payload_bytes + 32);
        if self.bytes.is_empty() {
            self.bytes.put_u8(MUTATION_VERSION);
        }
    }

    fn tagged_key(&mut self, tag: u8, key: &[u8], more_bytes: usize) {
        self.start(key.len() + more_bytes);
        self.bytes.put_u8(tag);
        self.block(key);
    }

    fn block(&mut self, bytes: &[u8]) {
        varint::put(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }
}

impl<'a> FromIterator<Operation<'a>> for MutationBuilder {
    fn from_iter<I: IntoIterator<Item = Operation<'a>>>(operations: I) -> Self {
        let mut builder = MutationBuilder::new();
        operations.into_iter().for_each(|operation| builder.push(&operation));
        builder
    }
}

#[cfg(test)]
#[path = "mutation_tests.rs"]
mod tests;
