//! Values to bytes.

use bytes::BytesMut;

use crate::Value;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The default of a new connection.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Appends `value` to `out` as `protocol` writes it.
pub fn encode(value: &Value, protocol: Protocol, out: &mut BytesMut) {
    let _ = (value, protocol, out);
    todo!()
}
