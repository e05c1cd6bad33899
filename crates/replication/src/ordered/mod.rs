//! Strategies that agree on a log and apply it.

pub(crate) mod pace;
pub mod raft;
pub(crate) mod replica;

pub use replica::TOKEN_BYTES;
pub use replica::split::FIRST_OF_CHILD;

/// The keys that the entry with this payload writes, in order; none if it writes all of them, or is no write.
pub fn keys_written(payload: &bytes::Bytes) -> Vec<bytes::Bytes> {
    let mut keys: Vec<bytes::Bytes> = Vec::new();
    operations_of(payload, |operation| {
        let Some(key) = operation.key() else { return };
        if !keys.iter().any(|known| known == key) {
            keys.push(bytes::Bytes::copy_from_slice(key));
        }
    });
    keys
}

/// Goes through what the entry with this payload does.
pub(crate) fn operations_of<T>(payload: &bytes::Bytes, each: impl FnMut(data::Operation<'_>) -> T) -> Vec<T> {
    let mutation = replica::payload::Payload::decode(payload.clone()).and_then(|payload| payload.mutation);
    mutation.iter().flat_map(data::Mutation::operations).filter_map(Result::ok).map(each).collect()
}
