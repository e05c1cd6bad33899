//! The values of the Redis protocol.

use std::borrow::Cow;

use bytes::Bytes;

/// A value of RESP3. What RESP2 cannot say is turned into what RESP2 has when it is encoded (a map becomes a flat
/// array, a double a bulk string, and so on, as Redis does).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+OK`
    Simple(Cow<'static, str>),
    /// `-ERR ...`: the text with its prefix (`ERR`, `WRONGTYPE`, `UNKNOWN`, ...).
    Error(Cow<'static, str>),
    /// `:1`
    Integer(i64),
    /// `$3\r\nfoo`
    Bulk(Bytes),
    /// `_` in RESP3, `$-1` in RESP2.
    Null,
    /// `_` in RESP3, `*-1` in RESP2 (an aborted `EXEC`, a blocking pop that timed out).
    NullArray,
    /// `*2 ...`
    Array(Vec<Value>),
    /// `%1 ...`
    Map(Vec<(Value, Value)>),
    /// Pairs in an order: an array of arrays of two in RESP3, a flat array in RESP2 (`ZRANGE ... WITHSCORES`).
    Pairs(Vec<(Value, Value)>),
    /// `~2 ...`
    Set(Vec<Value>),
    /// `,1.5`
    Double(f64),
    /// `#t`
    Boolean(bool),
    /// `(123...`
    BigNumber(Cow<'static, str>),
    /// `=15\r\ntxt:...`: three letters of format, then the text.
    Verbatim([u8; 3], Bytes),
    /// `>2 ...`
    Push(Vec<Value>),
}

impl Value {
    /// `+OK`
    pub const OK: Value = Value::Simple(Cow::Borrowed("OK"));

    /// An error with a text of its own, prefix included.
    pub fn error(text: impl Into<Cow<'static, str>>) -> Value {
        Value::Error(text.into())
    }

    /// A bulk string.
    pub fn bulk(bytes: impl Into<Bytes>) -> Value {
        Value::Bulk(bytes.into())
    }

    /// Is this an error?
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }
}
