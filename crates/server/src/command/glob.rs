//! Glob patterns over names, as `CONFIG GET` takes them: `*`, `?`, everything else stands for itself.

/// Does `name` match `pattern`? Takes at most pattern x name steps, whatever the pattern.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    // Where to go on if what follows the last star does not fit: after the star, one byte of the name further.
    let mut retry: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, in_name));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    (at, in_name) = (after_star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let cases = [
            ("*", "", true),
            ("save", "save", true),
            ("sa?e", "save", true),
            ("max*", "maxmemory-policy", true),
            ("*mem*y", "maxmemory-policy", true),
            ("*mem*z", "maxmemory-policy", false),
            ("a*b*c*", "aXbYbZ", false),
            ("", "x", false),
            ("x", "", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
