//! Error replies, word for word as Redis 7 gives them: clients match on them.

use resp::Value;

pub(crate) const WRONG_TYPE: Value =
    text("WRONGTYPE Operation against a key holding the wrong kind of value");
pub(crate) const SYNTAX: Value = text("ERR syntax error");
pub(crate) const NOT_INTEGER: Value = text("ERR value is not an integer or out of range");
pub(crate) const NOT_FLOAT: Value = text("ERR value is not a valid float");
pub(crate) const OVERFLOW: Value = text("ERR increment or decrement would overflow");
pub(crate) const DECREMENT_OVERFLOW: Value = text("ERR decrement would overflow");
pub(crate) const NAN_OR_INFINITY: Value = text("ERR increment would produce NaN or Infinity");
pub(crate) const TOO_LONG: Value = text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub(crate) const OFFSET_RANGE: Value = text("ERR offset is out of range");
pub(crate) const BIT_OFFSET: Value = text("ERR bit offset is not an integer or out of range");
pub(crate) const BIT_VALUE: Value = text("ERR bit is not an integer or out of range");
pub(crate) const BIT_ARGUMENT: Value = text("ERR The bit argument must be 1 or 0.");
pub(crate) const HASH_NOT_INTEGER: Value = text("ERR hash value is not an integer");
pub(crate) const HASH_NOT_FLOAT: Value = text("ERR hash value is not a float");
pub(crate) const OUT_OF_RANGE: Value = text("ERR value is out of range");
pub(crate) const LONG_RANGE: Value =
    text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
pub(crate) const NOT_A_POSITION: Value =
    text("ERR a position has at least 16 hexadecimal digits, as KEYSPACE LOST gives it");
pub(crate) const TOO_LARGE_TO_MERGE: Value =
    text("ERR where changes merge only numbers below 10^21 can be added, nothing was done");
pub(crate) const MUST_BE_POSITIVE: Value = text("ERR value is out of range, must be positive");
pub(crate) const INDEX_RANGE: Value = text("ERR index out of range");
pub(crate) const NUMKEYS_POSITIVE: Value = text("ERR numkeys should be greater than 0");
pub(crate) const TOO_MANY_KEYS: Value = text("ERR Number of keys can't be greater than number of args");
pub(crate) const LIMIT_NEGATIVE: Value = text("ERR LIMIT can't be negative");
pub(crate) const COUNT_POSITIVE: Value = text("ERR count should be greater than 0");
pub(crate) const COUNT_NEGATIVE: Value = text("ERR COUNT can't be negative");
pub(crate) const MAXLEN_NEGATIVE: Value = text("ERR MAXLEN can't be negative");
pub(crate) const RANK_ZERO: Value = text(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);
pub(crate) const TIMEOUT_NOT_FLOAT: Value = text("ERR timeout is not a float or out of range");
pub(crate) const TIMEOUT_NEGATIVE: Value = text("ERR timeout is negative");
pub(crate) const TIMEOUT_RANGE: Value = text("ERR timeout is out of range");
pub(crate) const MIN_MAX_NOT_FLOAT: Value = text("ERR min or max is not a float");
pub(crate) const MIN_MAX_NOT_LEX: Value = text("ERR min or max not valid string range item");
pub(crate) const SCORE_NAN: Value = text("ERR resulting score is not a number (NaN)");
pub(crate) const WEIGHT_NOT_FLOAT: Value = text("ERR weight value is not a float");
pub(crate) const NO_SUCH_KEY: Value = text("ERR no such key");
pub(crate) const SAME_OBJECT: Value = text("ERR source and destination objects are the same");
pub(crate) const DB_RANGE: Value = text("ERR DB index is out of range");
pub(crate) const INT_RANGE: Value =
    text("ERR value is out of range, value must between -2147483648 and 2147483647");
pub(crate) const INVALID_CURSOR: Value = text("ERR invalid cursor");
pub(crate) const CROSS_SLOT: Value = text("CROSSSLOT Keys in request don't hash to the same slot");
/// Not of Redis: keys of one slot in keyspaces that are replicated apart.
pub const CROSS_KEYSPACE: Value =
    text("CROSSSLOT Keys in request are in keyspaces that are not replicated together");
pub(crate) const NO_KEYS: Value = text("ERR The command has no key arguments");

const fn text(text: &'static str) -> Value {
    Value::Error(std::borrow::Cow::Borrowed(text))
}

/// `EX 0` and the like.
pub(crate) fn invalid_expire_time(command: &str) -> Value {
    Value::error(format!("ERR invalid expire time in '{command}' command"))
}

/// A number of arguments that the command does not take.
pub(crate) fn wrong_arity(command: &str) -> Value {
    Value::error(format!("ERR wrong number of arguments for '{command}' command"))
}

/// A container such as `OBJECT` was asked for what it does not have.
pub(crate) fn unknown_subcommand(subcommand: &[u8], container: &str) -> Value {
    let (shown, container) = (shown(subcommand), container.to_ascii_uppercase());
    Value::error(format!("ERR unknown subcommand '{shown}'. Try {container} HELP."))
}

/// An option of `EXPIRE` that does not exist.
pub(crate) fn unsupported_option(option: &[u8]) -> Value {
    Value::error(format!("ERR Unsupported option {}", shown(option)))
}

/// Bytes from a client as part of an error: short, up to the first NUL as Redis has it, and without line breaks.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(128)];
    let cut = cut.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(cut).replace(['\r', '\n'], " ")
}
