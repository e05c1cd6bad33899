//! Commands that wait until there is something to pop. Here each is a single try that finds something or does not; the server
//! tries again when one of the keys has changed, until the time is over.

use bytes::Bytes;
use resp::Value;

use crate::errors;
use crate::number::Decimal;

/// How long a client is ready to wait, in milliseconds; `None`: without end.
pub(crate) fn timeout(argument: &Bytes) -> Result<Option<u64>, Value> {
    let seconds = Decimal::parse(argument).ok_or(errors::TIMEOUT_NOT_FLOAT)?.near();
    if seconds < 0.0 {
        return Err(errors::TIMEOUT_NEGATIVE);
    }
    let milliseconds = (seconds * 1000.0).ceil();
    if !milliseconds.is_finite() || milliseconds >= i64::MAX as f64 {
        return Err(errors::TIMEOUT_RANGE);
    }
    Ok((milliseconds > 0.0).then_some(milliseconds as u64))
}
