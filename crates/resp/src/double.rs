//! Floating point numbers as Redis writes them.

use std::io::Write;

/// Room for any double as [`format_double`] writes it, in bytes.
pub const DOUBLE_BYTES: usize = 32;

/// Writes `value` into `out` and returns the text: the shortest digits (at most 17) that read back as the same number,
/// plain where that is short and with an exponent otherwise; `inf`, `-inf`, `nan`; whole numbers without a point.
/// The layout is that of Redis 7.2 and later (`1.5`, `0.000001`, `1e-7`, `1e+21`).
pub fn format_double(value: f64, out: &mut [u8; DOUBLE_BYTES]) -> &str {
    let mut writer = Writer { out, length: 0 };
    if value.is_nan() {
        writer.put(b"nan");
    } else if value.is_infinite() {
        writer.put(if value < 0.0 { b"-inf" } else { b"inf" });
    } else {
        writer.put(if value.is_sign_negative() { b"-" } else { b"" });
        finite(value.abs(), &mut writer);
    }
    let Writer { out, length } = writer;
    // Only ASCII was written.
    std::str::from_utf8(&out[..length]).unwrap_or_default()
}

/// A number below this is exactly an integer or has a fraction; Redis writes the integers among them in full.
const EXACT_INTEGERS: f64 = (1_u64 << 52) as f64;

fn finite(value: f64, writer: &mut Writer<'_>) {
    if value < EXACT_INTEGERS && value.fract() == 0.0 {
        writer.format(format_args!("{value:.0}"));
        return;
    }
    let mut scratch = [0; DOUBLE_BYTES];
    let mut scientific = Writer { out: &mut scratch, length: 0 };
    scientific.format(format_args!("{value:e}"));
    let length = scientific.length;
    let (digits, exponent) = digits_and_exponent(&mut scratch[..length]);
    lay_out(digits, exponent, writer);
}

/// Splits `1.2345e-7` into its digits (the point squeezed out) and the exponent of the first digit.
fn digits_and_exponent(scientific: &mut [u8]) -> (&[u8], i32) {
    let mark = scientific.iter().position(|&byte| byte == b'e').unwrap_or(scientific.len());
    let (mantissa, exponent) = scientific.split_at_mut(mark);
    let exponent = exponent
        .get(1..)
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if mantissa.len() > 1 {
        mantissa[..2].reverse();
        return (&mantissa[1..], exponent);
    }
    (mantissa, exponent)
}

/// Chooses between the plain and the exponent notation by the same rule as Redis: `power` is the power of ten of the
/// last digit.
fn lay_out(digits: &[u8], exponent: i32, writer: &mut Writer<'_>) {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let power = exponent + 1 - count;
    let magnitude = exponent.abs();
    if power >= 0 && magnitude < count + 7 {
        writer.put(digits);
        writer.zeros(power);
    } else if power < 0 && (power > -7 || magnitude < 4) {
        let whole = count + power;
        if whole <= 0 {
            writer.put(b"0.");
            writer.zeros(-whole);
            writer.put(digits);
        } else {
            let (before, after) = digits.split_at(usize::try_from(whole).unwrap_or(0));
            writer.put(before);
            writer.put(b".");
            writer.put(after);
        }
    } else {
        writer.put(&digits[..1]);
        writer.put(if count > 1 { b"." } else { b"" });
        writer.put(&digits[1..]);
        writer.format(format_args!("e{exponent:+}"));
    }
}

/// Appends to a fixed piece of memory. The longest text is a sign, 17 digits, a point and an exponent of five bytes, or
/// 17 digits behind up to eight zeros and a point: what does not fit cannot occur, and would be cut.
struct Writer<'a> {
    out: &'a mut [u8; DOUBLE_BYTES],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, text: &[u8]) {
        self.format(format_args!("{}", std::str::from_utf8(text).unwrap_or_default()));
    }

    fn zeros(&mut self, count: i32) {
        for _ in 0..count {
            self.put(b"0");
        }
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        let mut rest = &mut self.out[self.length..];
        let before = rest.len();
        let _ = rest.write_fmt(text);
        self.length += before - rest.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        format_double(value, &mut [0; DOUBLE_BYTES]).to_owned()
    }

    #[test]
    fn examples() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (1.5, "1.5"),
            (3.1, "3.1"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (3.5e6, "3500000"),
            (4503599627370495.5, "4503599627370495.5"),
            (9007199254740993.0, "9007199254740992"),
            (0.000001, "0.000001"),
            (0.00000123, "1.23e-6"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (1e15, "1000000000000000"),
            (1e17, "1e+17"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (-1.2345e-100, "-1.2345e-100"),
            (123456789.123, "123456789.123"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, expected) in table {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn reads_back_as_the_same_number() {
        let mut state = 1_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let value = f64::from_bits(state ^ (state >> 29));
            if value.is_finite() {
                let text = text(value);
                assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()), "{text}");
            }
        }
    }
}
