//! Numbers in strings, as Redis reads and writes them.

/// A whole number in its one canonical spelling: no blanks, no `+`, no leading zeros, no `-0`.
pub(crate) fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits.first()? {
        b'0' => bytes == b"0",
        b'1'..=b'9' => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The decimal places that [`Decimal`] keeps, which are those that Redis prints.
const PLACES: u32 = 17;
const ONE: i128 = 10i128.pow(PLACES);

/// A number of `INCRBYFLOAT`.
///
/// Redis adds in 80-bit floating point and prints 17 decimal places. Here numbers below 10^21 are added as decimals
/// with 17 places, exactly: `0.1 + 0.2` is `0.3`, and there is no rounding that differs between machines. Larger ones
/// are added as 64-bit floating point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    /// The number in units of 10^-17, if it fits.
    exact: Option<i128>,
    near: f64,
}

impl Decimal {
    /// What an absent key counts as.
    pub const ZERO: Decimal = Decimal { exact: Some(0), near: 0.0 };

    /// `12`, `-1.5`, `3e5`, `inf`; no blanks, no NaN, no hexadecimal, nothing beyond the range of 64-bit floating point.
    pub fn parse(bytes: &[u8]) -> Option<Decimal> {
        let text = std::str::from_utf8(bytes).ok()?;
        // `parse` takes what strtod takes, but for hexadecimal, and NaN is none.
        let near: f64 = text.parse().ok()?;
        let spelled_out = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
        if near.is_nan() || (near.is_infinite() && !spelled_out) {
            return None;
        }
        Some(Decimal { exact: if near.is_finite() { parse_exact(text) } else { None }, near })
    }

    /// So many units of 10^-17.
    pub fn of_units(units: i128) -> Decimal {
        Decimal { exact: Some(units), near: units as f64 / ONE as f64 }
    }

    /// In units of 10^-17; none if it is too large to be exact.
    pub fn units(self) -> Option<i128> {
        self.exact
    }

    /// A whole number.
    pub fn whole(number: i64) -> Decimal {
        Decimal::of_units(i128::from(number) * ONE)
    }

    /// The nearest 64-bit floating point number.
    pub fn near(self) -> f64 {
        self.near
    }

    /// The sum; `None` if it is not finite.
    pub fn add(self, other: Decimal) -> Option<Decimal> {
        let near = self.near + other.near;
        let exact = match (self.exact, other.exact) {
            (Some(one), Some(other)) => one.checked_add(other),
            _ => None,
        };
        near.is_finite().then_some(Decimal { exact, near })
    }

    /// Without exponent and without trailing zeros.
    pub fn print(self) -> String {
        let Some(exact) = self.exact else { return format!("{}", self.near) };
        let (whole, places) = (exact.unsigned_abs() / ONE as u128, exact.unsigned_abs() % ONE as u128);
        let sign = if exact < 0 { "-" } else { "" };
        let places = format!("{places:017}");
        match places.trim_end_matches('0') {
            "" => format!("{sign}{whole}"),
            places => format!("{sign}{whole}.{places}"),
        }
    }
}

/// The number in units of 10^-17, rounded half to even; `None` if it does not fit. `text` is a finite decimal number.
fn parse_exact(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['+', '-']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // How many digits of whole and fraction together stand before the last place kept.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(PLACES);
    let mut digits = whole.bytes().chain(fraction.bytes());
    let mut units: i128 = 0;
    for _ in 0..kept.max(0) {
        let digit = digits.next();
        if digit.is_none() && units == 0 {
            return Some(0);
        }
        units = units.checked_mul(10)?.checked_add(i128::from(digit.unwrap_or(b'0') - b'0'))?;
    }
    // With `kept` below 0 the number is below half of the last place.
    let next = if kept < 0 { 0 } else { digits.next().unwrap_or(b'0') - b'0' };
    let tie = next == 5 && digits.all(|digit| digit == b'0');
    if next > 5 || (next == 5 && !tie) || (tie && units % 2 == 1) {
        units += 1;
    }
    Some(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "a", "1a", "--1"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn decimals() {
        let sum = |one: &str, other: &str| {
            let (one, other) = (Decimal::parse(one.as_bytes())?, Decimal::parse(other.as_bytes())?);
            Some(one.add(other)?.print())
        };
        for (one, other, text) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("1", "1e-17", "1.00000000000000001"),
            ("1", "1e-18", "1"),
            ("1", "1e-400", "1"),
            (".5", "5.", "5.5"),
            ("0", "1.000000000000000005", "1"),
            ("0", "1.000000000000000015", "1.00000000000000002"),
            ("1e22", "1e22", "20000000000000000000000"),
            ("+1", "0", "1"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(text), "{one} + {other}");
        }
        assert_eq!(sum("1.7e308", "1.7e308"), None);
        assert_eq!(sum("inf", "1"), None);
        for text in ["", " 1", "1 ", "nan", "abc", "1e", "1e400", "0x10", "--1", "."] {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
