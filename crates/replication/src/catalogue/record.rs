//! The records that the catalogue's table holds: a key each, and a version byte and postcard as value.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use data::{Table, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Catalogue, Keyspace, Member, PartitionPlacement, Policy};
use crate::configuration::Configuration;
use crate::consistency::Consistency;
use crate::{NodeId, PartitionId};

/// The version byte of all values.
const VERSION: u8 = 1;
/// But this is that of a keyspace whose copies are not durable at once; for the rest it looks the same.
const VERSION_RELAXED: u8 = 2;
/// And this that of a group with [`Configuration::dismissed`], which comes behind the rest.
const VERSION_DISMISSED: u8 = 3;

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// [`Catalogue::epoch`].
    Epoch,
    /// [`Catalogue::settings`].
    Settings,
    /// [`Catalogue::voters`].
    Voters,
    /// One of [`Catalogue::members`].
    Member(NodeId),
    /// One of [`Catalogue::removed`].
    Removed(NodeId),
    /// One of [`Catalogue::keyspaces`].
    Keyspace(Bytes),
    /// One of [`Catalogue::reads`].
    Read(Bytes),
    /// One of [`Catalogue::users`].
    User(Bytes),
    /// One of [`Catalogue::partitions`].
    Partition(u32),
    /// [`Catalogue::partitions_wanted`].
    PartitionsWanted,
    /// [`Catalogue::split`].
    Split,
    /// [`Catalogue::parents`].
    Parents,
    /// One of [`Catalogue::groups`].
    Group(PartitionId),
    /// [`Catalogue::keyspaces_numbered`].
    KeyspacesNumbered,
    /// One of [`Catalogue::primaries`].
    Primaries(PartitionId),
    /// One of [`Catalogue::readers`].
    Readers(PartitionId),
}

/// A record cannot be understood: another version of the program wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Record {
    /// The key of the record.
    pub fn key(&self) -> Bytes {
        let mut key = BytesMut::new();
        match self {
            Record::Epoch => key.put_slice(b"epoch"),
            Record::Settings => key.put_slice(b"settings"),
            Record::Voters => key.put_slice(b"voters"),
            Record::PartitionsWanted => key.put_slice(b"partitions-wanted"),
            Record::Split => key.put_slice(b"split"),
            Record::Parents => key.put_slice(b"parents"),
            Record::KeyspacesNumbered => key.put_slice(b"keyspaces-numbered"),
            Record::Group(PartitionId(number)) => key.put_slice(format!("group/{number:08x}").as_bytes()),
            Record::Primaries(PartitionId(number)) => {
                key.put_slice(format!("primaries/{number:08x}").as_bytes());
            }
            Record::Readers(PartitionId(number)) => key.put_slice(format!("readers/{number:08x}").as_bytes()),
            Record::Member(id) => key.put_slice(format!("member/{:016x}", id.0).as_bytes()),
            Record::Removed(id) => key.put_slice(format!("removed/{:016x}", id.0).as_bytes()),
            Record::Keyspace(prefix) => {
                key.put_slice(b"keyspace/");
                key.put_slice(prefix);
            }
            Record::Read(prefix) => {
                key.put_slice(b"read/");
                key.put_slice(prefix);
            }
            Record::User(name) => {
                key.put_slice(b"user/");
                key.put_slice(name);
            }
            Record::Partition(number) => key.put_slice(format!("partition/{number:08x}").as_bytes()),
        }
        key.freeze()
    }

    /// The record of that key.
    pub fn of_key(key: &[u8]) -> Option<Record> {
        let hexadecimal = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let record = match key {
            b"epoch" => Record::Epoch,
            b"settings" => Record::Settings,
            b"voters" => Record::Voters,
            b"partitions-wanted" => Record::PartitionsWanted,
            b"split" => Record::Split,
            b"parents" => Record::Parents,
            b"keyspaces-numbered" => Record::KeyspacesNumbered,
            _ => {
                let (kind, rest) = key.split_at(key.iter().position(|&byte| byte == b'/')? + 1);
                match kind {
                    b"member/" => Record::Member(NodeId(hexadecimal(rest)?)),
                    b"removed/" => Record::Removed(NodeId(hexadecimal(rest)?)),
                    b"keyspace/" => Record::Keyspace(Bytes::copy_from_slice(rest)),
                    b"read/" => Record::Read(Bytes::copy_from_slice(rest)),
                    b"user/" => Record::User(Bytes::copy_from_slice(rest)),
                    b"group/" => Record::Group(PartitionId(hexadecimal(rest)?.try_into().ok()?)),
                    b"primaries/" => Record::Primaries(PartitionId(hexadecimal(rest)?.try_into().ok()?)),
                    b"readers/" => Record::Readers(PartitionId(hexadecimal(rest)?.try_into().ok()?)),
                    b"partition/" => Record::Partition(hexadecimal(rest)?.try_into().ok()?),
                    _ => return None,
                }
            }
        };
        (record.key() == key).then_some(record)
    }

    /// The value of the record in `catalogue`; `None`: it is not there.
    pub fn value(&self, catalogue: &Catalogue) -> Option<Bytes> {
        match self {
            Record::Epoch => (catalogue.epoch > 0).then(|| encode(&catalogue.epoch)),
            Record::Settings => Some(encode(&catalogue.settings)),
            Record::Voters => Some(encode(&catalogue.voters)),
            Record::Member(id) => catalogue.members.get(id).map(encode),
            Record::Removed(id) => catalogue.removed.get(id).map(encode),
            Record::Keyspace(prefix) => catalogue.keyspaces.get(prefix).map(encode_keyspace),
            Record::Read(prefix) => catalogue.reads.get(prefix).map(encode),
            Record::User(name) => catalogue.users.get(name).map(|text| encode(&&text[..])),
            Record::Partition(number) => catalogue.partitions.get(*number as usize).map(encode),
            Record::PartitionsWanted => {
                (catalogue.partitions_wanted > 0).then(|| encode(&catalogue.partitions_wanted))
            }
            Record::Split => catalogue.split.as_ref().map(encode),
            Record::Group(number) => catalogue.groups.get(number).map(encode_group),
            Record::Primaries(number) => catalogue.primaries.get(number).map(encode),
            Record::Readers(number) => catalogue.readers.get(number).map(encode),
            Record::KeyspacesNumbered => {
                (catalogue.keyspaces_numbered > 0).then(|| encode(&catalogue.keyspaces_numbered))
            }
            Record::Parents => (!catalogue.parents.is_empty()).then(|| encode(&catalogue.parents)),
        }
    }

    /// Every record that `catalogue` has.
    pub fn all(catalogue: &Catalogue) -> Vec<Record> {
        let members = catalogue.members.keys().map(|id| Record::Member(*id));
        let removed = catalogue.removed.keys().map(|id| Record::Removed(*id));
        let keyspaces = catalogue.keyspaces.keys().map(|prefix| Record::Keyspace(prefix.clone()));
        let reads = catalogue.reads.keys().map(|prefix| Record::Read(prefix.clone()));
        let users = catalogue.users.keys().map(|name| Record::User(name.clone()));
        let partitions = (0..catalogue.partitions.len() as u32).map(Record::Partition);
        let single = [Record::Epoch, Record::Settings, Record::Voters];
        let groups = catalogue.groups.keys().map(|number| Record::Group(*number));
        let primaries = catalogue.primaries.keys().map(|number| Record::Primaries(*number));
        let readers = catalogue.readers.keys().map(|number| Record::Readers(*number));
        let rare = [Record::PartitionsWanted, Record::Split, Record::Parents, Record::KeyspacesNumbered];
        let rare = rare.into_iter().filter(|record| record.value(catalogue).is_some());
        single
            .into_iter()
            .chain(rare)
            .chain(members)
            .chain(removed)
            .chain(keyspaces)
            .chain(reads)
            .chain(users)
            .chain(partitions)
            .chain(groups)
            .chain(primaries)
            .chain(readers)
            .collect()
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_as(VERSION, value)
}

fn encode_as<T: Serialize>(version: u8, value: &T) -> Bytes {
    let bytes = postcard::to_extend(value, vec![version]);
    Bytes::from(bytes.expect("plain data of numbers, texts and lists always has an encoding"))
}

fn encode_keyspace(keyspace: &Keyspace) -> Bytes {
    match &keyspace.policy {
        Policy::PrimaryReplica { options, .. } if options.relaxed => encode_as(VERSION_RELAXED, keyspace),
        _ => encode(keyspace),
    }
}

fn decode_keyspace(record: &Record, bytes: &[u8]) -> Result<Keyspace, Unreadable> {
    let is_relaxed = bytes.first() == Some(&VERSION_RELAXED);
    let version = if is_relaxed { VERSION_RELAXED } else { VERSION };
    let mut keyspace: Keyspace = decode_as(version, record, bytes)?;
    if let Policy::PrimaryReplica { options, .. } = &mut keyspace.policy {
        options.relaxed = is_relaxed;
    }
    Ok(keyspace)
}

fn encode_group(group: &Configuration) -> Bytes {
    match group.dismissed.is_empty() {
        true => encode(group),
        false => encode_as(VERSION_DISMISSED, &(group, &group.dismissed)),
    }
}

fn decode_group(record: &Record, bytes: &[u8]) -> Result<Configuration, Unreadable> {
    if bytes.first() != Some(&VERSION_DISMISSED) {
        return decode(record, bytes);
    }
    let (group, dismissed): (Configuration, Vec<NodeId>) = decode_as(VERSION_DISMISSED, record, bytes)?;
    Ok(Configuration { dismissed, ..group })
}

fn decode<T: DeserializeOwned>(record: &Record, bytes: &[u8]) -> Result<T, Unreadable> {
    decode_as(VERSION, record, bytes)
}

fn decode_as<T: DeserializeOwned>(version: u8, record: &Record, bytes: &[u8]) -> Result<T, Unreadable> {
    let value = match bytes.split_first() {
        Some((&found, rest)) if found == version => postcard::take_from_bytes(rest).ok(),
        _ => None,
    };
    match value {
        Some((value, [])) => Ok(value),
        _ => Err(Unreadable(format!("the catalogue's record {record:?} was written by another version"))),
    }
}

/// The epoch that a table's records are of; 0: it holds no catalogue.
///
/// # Errors
/// See [`Unreadable`].
pub fn epoch_of(table: &Table) -> Result<u64, Unreadable> {
    match table.get(b"epoch").map(|entry| entry.value) {
        Some(ValueRef::String(bytes)) => decode(&Record::Epoch, bytes),
        Some(ValueRef::Collection(_)) => Err(Unreadable("the catalogue's epoch is no record".into())),
        _ => Ok(0),
    }
}

/// The epoch that the record of it says, as `GET` answers.
///
/// # Errors
/// See [`Unreadable`].
pub fn read_epoch(bytes: &[u8]) -> Result<u64, Unreadable> {
    decode(&Record::Epoch, bytes)
}

/// The catalogue that a table holds.
///
/// # Errors
/// See [`Unreadable`].
pub fn load(table: &Table) -> Result<Catalogue, Unreadable> {
    let mut catalogue = Catalogue::default();
    let mut partitions: BTreeMap<u32, PartitionPlacement> = BTreeMap::new();
    for (_, entry) in table.entries_from(0) {
        let key = entry.key_bytes();
        let unknown = || Unreadable(format!("the catalogue holds an unknown record {key:?}"));
        let record = Record::of_key(&key).ok_or_else(unknown)?;
        let bytes = entry.value.as_string().ok_or_else(unknown)?;
        match &record {
            Record::Epoch => catalogue.epoch = decode(&record, bytes)?,
            Record::Settings => catalogue.settings = decode(&record, bytes)?,
            Record::Voters => catalogue.voters = decode(&record, bytes)?,
            Record::Member(id) => {
                catalogue.members.insert(*id, decode::<Member>(&record, bytes)?);
            }
            Record::Removed(id) => {
                catalogue.removed.insert(*id, decode(&record, bytes)?);
            }
            Record::Keyspace(prefix) => {
                catalogue.keyspaces.insert(prefix.clone(), decode_keyspace(&record, bytes)?);
            }
            Record::Read(prefix) => {
                let level: Consistency = decode(&record, bytes)?;
                catalogue.reads.insert(prefix.clone(), level);
            }
            Record::User(name) => {
                let text: Vec<u8> = decode(&record, bytes)?;
                catalogue.users.insert(name.clone(), text.into());
            }
            Record::Partition(number) => {
                partitions.insert(*number, decode(&record, bytes)?);
            }
            Record::PartitionsWanted => catalogue.partitions_wanted = decode(&record, bytes)?,
            Record::Split => catalogue.split = Some(decode(&record, bytes)?),
            Record::Parents => catalogue.parents = decode(&record, bytes)?,
            Record::KeyspacesNumbered => catalogue.keyspaces_numbered = decode(&record, bytes)?,
            Record::Group(number) => {
                catalogue.groups.insert(*number, decode_group(&record, bytes)?);
            }
            Record::Readers(number) => {
                catalogue.readers.insert(*number, decode(&record, bytes)?);
            }
            Record::Primaries(number) => {
                // Those of before there were former numbers end without them.
                let group =
                    decode(&record, bytes).or_else(|_| decode(&record, &[bytes, &[0, 0]].concat()))?;
                catalogue.primaries.insert(*number, group);
            }
        }
    }
    if partitions.keys().copied().ne(0..partitions.len() as u32) {
        return Err(Unreadable("the catalogue's partitions are not numbered without gaps".into()));
    }
    catalogue.partitions = partitions.into_values().collect();
    Ok(catalogue)
}
