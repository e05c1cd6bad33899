//! Hash slots as Redis Cluster has them: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.

use crc::{CRC_16_XMODEM, Crc, Table};
use memchr::memchr;

/// The number of hash slots.
pub const SLOTS: u16 = 16384;

/// Takes 16 bytes in a step: each command asks for the slots of its keys, and each replica again when it applies them.
static CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// The slot of `key`; only what stands between the first `{` and the next `}` counts, if that is not empty.
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// The part of `key` that decides its slot.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    let tail = &key[open + 1..];
    match memchr(b'}', tail) {
        Some(length) if length > 0 => &tail[..length],
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    CRC16.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_standard_check_string() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn slots_as_redis_gives_them() {
        // CLUSTER KEYSLOT of Redis 7.0.
        let known: &[(&[u8], u16)] =
            &[(b"", 0), (b"foo", 12182), (b"bar", 5061), (b"hello", 866), (b"a", 15495)];
        for (key, slot) in known {
            assert_eq!(key_slot(key), *slot, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn hash_tags() {
        assert_eq!(hash_tag(b"{user1000}.following"), b"user1000");
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}", "an empty first tag: the whole key");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar", "up to the first closing brace");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar", "the first tag counts");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
        assert_eq!(hash_tag(b"foo}bar{"), b"foo}bar{");
    }
}
