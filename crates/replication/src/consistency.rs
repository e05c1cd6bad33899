//! How fresh a read has to be, and what a session has seen.
//!
//! A client chooses for its connection (`CLIENT CONSISTENCY`), a keyspace for all others (`READ`); without either a read is as its strategy
//! makes it. What a level means does not depend on the strategy, but not every strategy can give every level ([`Consistency::refusal`]).
//!
//! - `strong`: linearizable (Herlihy and Wing 1990).
//! - `bounded`: no older than so many milliseconds: all that was acknowledged that long before the read came is seen. The bound is kept without
//!   anybody's wall clock: a replica that asks others at a time on *its own* clock, and has what they answered, is as fresh as that time. So
//!   only the rates of clocks matter ([`Consistency::reaches_back`]).
//! - `session`: read your writes, monotonic reads, writes follow reads (Terry et al., *Session guarantees for weakly consistent replicated
//!   data*, 1994). What a session has seen is a place in a log, or a version vector, for each group that it has used ([`Seen`]).
//! - `eventual`: whatever the nearest replica has.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::merged::VersionVector;
use serde::{Deserialize, Serialize};

use crate::catalogue::StrategyKind;

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// It sees all that was acknowledged before it was sent.
    Strong,
    /// It sees all that was acknowledged so many milliseconds before.
    Bounded(u32),
    /// It sees what its session has written and seen.
    Session,
    /// It sees what the nearest replica has.
    Eventual,
}

/// The longest bound: a day.
pub const LONGEST_BOUND_MS: u32 = 86_400_000;

impl Consistency {
    /// The level that the words spell, and how many words that are; `None`: none.
    pub fn parse(words: &[Bytes]) -> Option<(Consistency, usize)> {
        let word = words.first()?.to_ascii_lowercase();
        match &word[..] {
            b"strong" => Some((Consistency::Strong, 1)),
            b"session" => Some((Consistency::Session, 1)),
            b"eventual" => Some((Consistency::Eventual, 1)),
            b"bounded" => {
                let bound = std::str::from_utf8(words.get(1)?).ok()?.parse::<u32>().ok()?;
                let bound = (1..=LONGEST_BOUND_MS).contains(&bound).then_some(bound)?;
                Some((Consistency::Bounded(bound), 2))
            }
            _ => None,
        }
    }

    /// As it is spelled.
    pub fn name(self) -> String {
        match self {
            Consistency::Strong => "strong".into(),
            Consistency::Bounded(bound) => format!("bounded {bound}"),
            Consistency::Session => "session".into(),
            Consistency::Eventual => "eventual".into(),
        }
    }

    /// Why a keyspace of that strategy cannot give it.
    pub fn refusal(self, strategy: StrategyKind, is_sloppy: bool) -> Option<&'static str> {
        match (strategy, self) {
            (StrategyKind::MultiPrimary, Consistency::Strong) => Some(
                "ERR a multi-primary keyspace has no strong reads: every replica takes writes; it can session, eventual",
            ),
            (StrategyKind::MultiPrimary, Consistency::Bounded(_)) => Some(
                "ERR a multi-primary keyspace has no bound: a replica that cannot be reached takes writes, too; it can session, eventual",
            ),
            (StrategyKind::Leaderless, Consistency::Strong) => Some(
                "ERR a leaderless keyspace has no strong reads: with R + W > N it is regular, not linearizable; it can its own R, bounded <ms>, \
                 session, eventual",
            ),
            (StrategyKind::Leaderless, Consistency::Bounded(_)) if is_sloppy => Some(
                "ERR a leaderless keyspace with SLOPPY yes has no bound: nodes that cannot be reached may hold what was acknowledged; it can its \
                 own R, session, eventual",
            ),
            _ => None,
        }
    }

    /// How old what is known may be for this level, on a clock whose rate may be off by so much in either direction; `None`: it is not about
    /// time.
    pub fn reaches_back(self, clock_drift_ppm: u32) -> Option<Duration> {
        let Consistency::Bounded(bound) = self else { return None };
        let micros = u64::from(bound) * 1000;
        // This clock may be slow, and then more time has passed than it says.
        Some(Duration::from_micros(micros - micros * u64::from(clock_drift_ppm) / 1_000_000))
    }

    /// As a number, for [`Consistency::of_rank`].
    pub(crate) fn rank(self) -> u32 {
        match self {
            Consistency::Strong => u32::MAX,
            Consistency::Session => u32::MAX - 1,
            Consistency::Eventual => u32::MAX - 2,
            Consistency::Bounded(bound) => bound.min(LONGEST_BOUND_MS),
        }
    }

    /// The one of that [rank](Consistency::rank).
    pub(crate) fn of_rank(rank: u32) -> Consistency {
        match u32::MAX - rank {
            0 => Consistency::Strong,
            1 => Consistency::Session,
            2 => Consistency::Eventual,
            _ => Consistency::Bounded(rank),
        }
    }
}

/// What a session has seen of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Of one with a log: up to an entry. Terms come first: who has applied an entry of a later term has all of the earlier ones that there are.
    Log {
        /// The entry's term.
        term: u64,
        /// Its index.
        index: u64,
    },
    /// Of one whose replicas all take writes: these mutations.
    Vector(VersionVector),
}

const LOG: u8 = 0;
const VECTOR: u8 = 1;

impl Seen {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Seen::Log { term, index } => {
                out.put_u8(LOG);
                out.put_u64_le(*term);
                out.put_u64_le(*index);
            }
            Seen::Vector(vector) => {
                out.put_u8(VECTOR);
                vector.encode(&mut out);
            }
        }
        out.freeze()
    }

    /// What the bytes say; `None`: they are something else.
    pub fn decode(bytes: &Bytes) -> Option<Seen> {
        let mut bytes = bytes.clone();
        let seen = match bytes.try_get_u8().ok()? {
            LOG => Seen::Log { term: bytes.try_get_u64_le().ok()?, index: bytes.try_get_u64_le().ok()? },
            VECTOR => Seen::Vector(VersionVector::decode(&mut bytes).ok()?),
            _ => return None,
        };
        bytes.is_empty().then_some(seen)
    }

    /// All that one of the two says. They are of one group, and so of one kind.
    #[must_use]
    pub fn and(self, other: Seen) -> Seen {
        match (self, other) {
            (Seen::Vector(mut one), Seen::Vector(other)) => {
                one.merge(&other);
                Seen::Vector(one)
            }
            (Seen::Log { term, index }, Seen::Log { term: other_term, index: other_index }) => {
                let (term, index) = (term, index).max((other_term, other_index));
                Seen::Log { term, index }
            }
            (_, other) => other,
        }
    }

    /// Has who has applied the entry at `index`, of `term`, all that was seen?
    pub(crate) fn is_covered_by(&self, term: u64, index: u64) -> bool {
        match self {
            Seen::Log { term: seen_term, index: seen_index } => (term, index) >= (*seen_term, *seen_index),
            Seen::Vector(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Bytes> {
        text.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
    }

    #[test]
    fn levels_are_read_as_they_are_spelled() {
        for (text, level) in [
            ("strong", Consistency::Strong),
            ("BOUNDED 100", Consistency::Bounded(100)),
            ("session", Consistency::Session),
            ("Eventual", Consistency::Eventual),
        ] {
            let words = words(text);
            assert_eq!(Consistency::parse(&words), Some((level, words.len())));
            assert_eq!(level.name(), text.to_ascii_lowercase());
            assert_eq!(Consistency::of_rank(level.rank()), level);
        }
        for wrong in ["", "stron", "bounded", "bounded 0", "bounded -1", "bounded x", "bounded 86400001"] {
            assert_eq!(Consistency::parse(&words(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_seen_comes_back_as_it_was() {
        let mut vector = VersionVector::new();
        vector.raise(7, 3);
        vector.raise(9, u64::MAX);
        for seen in [Seen::Log { term: 3, index: u64::MAX }, Seen::Vector(vector)] {
            let bytes = seen.encode();
            assert_eq!(Seen::decode(&bytes), Some(seen));
            for length in 0..bytes.len() {
                assert_eq!(Seen::decode(&bytes.slice(..length)), None, "cut at {length}");
            }
        }
    }

    #[test]
    fn a_later_term_covers_all_of_an_earlier_one() {
        let seen = Seen::Log { term: 2, index: 90 };
        assert!(seen.is_covered_by(3, 5) && seen.is_covered_by(2, 90));
        assert!(!seen.is_covered_by(2, 89) && !seen.is_covered_by(1, 100));
        assert_eq!(seen.clone().and(Seen::Log { term: 3, index: 5 }), Seen::Log { term: 3, index: 5 });
        assert_eq!(seen.clone().and(Seen::Log { term: 1, index: 500 }), seen);
    }
}
