//! Scores of sorted sets as bytes: eight of them, in whose order the scores stand. -0 is 0, and NaN is none.

/// The bytes of a score.
pub(crate) const SCORE_BYTES: usize = 8;

/// The bytes of `score`.
pub(crate) fn encode(score: f64) -> [u8; SCORE_BYTES] {
    // -0.0 + 0.0 is 0.0: both are the same score, so they have to be the same bytes.
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

/// The score of these bytes.
pub(crate) fn decode(bytes: &[u8]) -> f64 {
    let ordered = u64::from_be_bytes(bytes.try_into().expect("a score has eight bytes"));
    f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered })
}

/// Are these the bytes of a score?
pub(crate) fn is_score(bytes: &[u8]) -> bool {
    bytes.len() == SCORE_BYTES && !decode(bytes).is_nan() && encode(decode(bytes)) == bytes
}

/// The score in the value of a member, which has more behind it where changes merge.
pub(crate) fn of_value(value: &[u8]) -> &[u8] {
    &value[..SCORE_BYTES]
}

/// The name under which a member stands in the order of scores.
pub(crate) fn rank_name(score: &[u8], member: &[u8]) -> Vec<u8> {
    [score, member].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_order_of_scores() {
        let scores =
            [f64::NEG_INFINITY, -1e300, -2.5, -1.0, -1e-300, 0.0, 1e-300, 1.0, 2.5, 1e300, f64::INFINITY];
        for pair in scores.windows(2) {
            assert!(encode(pair[0]) < encode(pair[1]), "{pair:?}");
        }
        for score in scores {
            assert_eq!(decode(&encode(score)), score);
            assert!(is_score(&encode(score)));
        }
        assert_eq!(encode(-0.0), encode(0.0));
        assert!(!is_score(&[0; 8]) && !is_score(&[0xff; 8]) && !is_score(b"short"), "NaN, and too short");
        assert!(!is_score(&(!(1u64 << 63)).to_be_bytes()), "-0");
    }
}
