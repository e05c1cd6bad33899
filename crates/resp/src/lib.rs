//! RESP: bytes to and from Redis protocol values, for both versions of the protocol.
//!
//! [`RequestDecoder`] turns what a client sends (RESP arrays of bulk strings, or inline commands) into arguments without
//! copying them; [`ValueDecoder`] reads what a server answers; [`encode`] writes a [`Value`] for RESP2 or RESP3. Every
//! decoder is resumable (half-sent input is kept, not parsed twice), bounded by [`Limits`] and never panics on any input.
//! Source: the Redis serialization protocol specification, RESP2 and RESP3.

mod decode;
mod encode;
mod value;

pub use decode::{Limits, ProtocolError, RequestDecoder, ValueDecoder};
pub use encode::{Protocol, encode};
pub use value::Value;
