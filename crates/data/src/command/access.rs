//! What a command does to each of its keys, which is what users may be kept from.

use bytes::Bytes;

use super::{Command, Kind};

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it holds is told, or goes to another key.
    pub reads: bool,
    /// It is changed.
    pub writes: bool,
}

const READS: Access = Access { reads: true, writes: false };
const WRITES: Access = Access { reads: false, writes: true };
const BOTH: Access = Access { reads: true, writes: true };

/// What a command does to the key that is the `nth` of those it names, from 0 on. As in Redis 7, a command that answers no more than how much it
/// changed only writes.
pub fn access(command: &Command, arguments: &[Bytes], nth: usize) -> Access {
    let row = command.resolve(arguments);
    let first = nth == 0;
    match row.name {
        // From the first key to the second.
        "copy" => {
            if first {
                READS
            } else {
                WRITES
            }
        }
        "rename" | "renamenx" | "lmove" | "blmove" | "rpoplpush" | "brpoplpush" | "smove" => {
            if first {
                BOTH
            } else {
                WRITES
            }
        }
        // Into the first key, from all others.
        "sinterstore" | "sunionstore" | "sdiffstore" | "zinterstore" | "zunionstore" | "zdiffstore"
        | "zrangestore" => {
            if first {
                WRITES
            } else {
                READS
            }
        }
        "set" => {
            let gets = arguments.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"));
            if gets { BOTH } else { WRITES }
        }
        "zadd" => {
            // Its options stand before the first score.
            let mut options =
                arguments.iter().skip(2).take_while(|word| word.first().is_some_and(u8::is_ascii_alphabetic));
            if options.any(|word| word.eq_ignore_ascii_case(b"incr")) { BOTH } else { WRITES }
        }
        "append" | "del" | "expire" | "expireat" | "hdel" | "hmset" | "hset" | "hsetnx" | "linsert"
        | "lpush" | "lpushx" | "lrem" | "lset" | "ltrim" | "mset" | "msetnx" | "persist" | "pexpire"
        | "pexpireat" | "psetex" | "rpush" | "rpushx" | "sadd" | "setex" | "setnx" | "setrange" | "srem"
        | "unlink" | "zrem" | "zremrangebylex" | "zremrangebyrank" | "zremrangebyscore" => WRITES,
        _ => {
            if row.kind == Kind::Write {
                BOTH
            } else {
                READS
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<Access> {
        let arguments: Vec<Bytes> =
            line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let command = Command::lookup(&arguments[0]).expect("it is a command");
        let keys = crate::route::keys_of(command, &arguments).expect("it has keys");
        (0..keys.len()).map(|nth| access(command, &arguments, nth)).collect()
    }

    #[test]
    fn what_is_told_is_read_and_what_changes_is_written() {
        assert_eq!(of("GET a"), [READS]);
        assert_eq!(of("MGET a b"), [READS, READS]);
        assert_eq!(of("MSET a 1 b 2"), [WRITES, WRITES]);
        assert_eq!(of("SET a 1"), [WRITES]);
        assert_eq!(of("SET get get"), [WRITES]);
        assert_eq!(of("SET a 1 NX get"), [BOTH]);
        assert_eq!(of("INCR a"), [BOTH]);
        assert_eq!(of("ZADD a 1 incr"), [WRITES]);
        assert_eq!(of("ZADD a INCR 1 b"), [BOTH]);
        assert_eq!(of("COPY a b"), [READS, WRITES]);
        assert_eq!(of("RENAME a b"), [BOTH, WRITES]);
        assert_eq!(of("LMOVE a b LEFT RIGHT"), [BOTH, WRITES]);
        assert_eq!(of("SINTERSTORE a b c"), [WRITES, READS, READS]);
        assert_eq!(of("ZUNIONSTORE a 2 b c"), [WRITES, READS, READS]);
        assert_eq!(of("MEMORY USAGE a"), [READS]);
    }

    #[test]
    fn every_command_named_here_is_one() {
        // Of the names in `access`: one that is spelled wrongly would be taken for one that does both.
        for (line, expected) in
            [("APPEND a 1", WRITES), ("ZRANGESTORE a b 0 1", WRITES), ("PSETEX a 1 b", WRITES)]
        {
            assert_eq!(of(line)[0], expected, "{line}");
        }
    }
}
