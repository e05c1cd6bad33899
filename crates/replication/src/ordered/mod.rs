//! Strategies that agree on a log and apply it.

pub(crate) mod pace;
pub mod raft;
pub(crate) mod replica;

pub use replica::TOKEN_BYTES;
pub use replica::split::FIRST_OF_CHILD;

/// The keys that the entry with this payload writes, in order; none if it writes all of them, or is no write.
pub fn keys_written(payload: &bytes::Bytes) -> Vec<bytes::Bytes> {
    let mutation = replica::payload::Payload::decode(payload.clone()).and_then(|payload| payload.mutation);
    let mut keys: Vec<bytes::Bytes> = Vec::new();
    for operation in mutation.iter().flat_map(data::Mutation::operations) {
        let key = match operation {
            Ok(data::Operation::Set { key, .. })
            | Ok(data::Operation::SetRange { key, .. })
            | Ok(data::Operation::Delete { key })
            | Ok(data::Operation::Expire { key, .. }) => key,
            Ok(data::Operation::Flush) | Err(_) => continue,
        };
        if !keys.iter().any(|known| known == key) {
            keys.push(bytes::Bytes::copy_from_slice(key));
        }
    }
    keys
}
