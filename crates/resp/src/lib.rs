//! RESP: bytes to and from Redis protocol values, for both versions of the protocol.
//!
//! [`RequestDecoder`] turns what a client sends (RESP arrays of bulk strings, or inline commands) into arguments without
//! copying them; [`ValueDecoder`] reads what a server answers; [`encode`] writes a [`Value`] for RESP2 or RESP3. Every
//! decoder is resumable (half-sent input is kept, not parsed twice), bounded by [`Limits`] and never panics on any input.
//! Source: the Redis serialization protocol specification, RESP2 and RESP3.
//!
//! Where to read next: [`request`](RequestDecoder) for what clients send, `reply` for values, `line` for what both share,
//! `encode` for the other direction.

mod double;
mod encode;
mod inline;
mod limits;
mod line;
mod reply;
mod request;
mod value;

pub use double::{DOUBLE_BYTES, format_double};
pub use encode::{Protocol, encode, encode_request};
pub use limits::{Limits, ProtocolError};
pub use reply::ValueDecoder;
pub use request::{RequestDecoder, UNAUTHENTICATED_ARGUMENTS, UNAUTHENTICATED_BULK_BYTES};
pub use value::Value;
