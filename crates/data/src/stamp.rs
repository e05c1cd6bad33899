//! The stamp of a mutation: chosen once, where the command is prepared, and carried with it.

/// When, where and with what luck a mutation was made. Everything in a command that would differ between replicas is
/// taken from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Hybrid time, physical part: milliseconds of wall clock, never less than that of an earlier stamp that the origin has seen.
    pub time_ms: u64,
    /// Hybrid time, logical part: orders stamps of one millisecond.
    pub logical: u16,
    /// The node that prepared the command.
    pub origin: u64,
    /// The origin's sequence number.
    pub sequence: u64,
    /// Seed for commands that ask for chance (`RANDOMKEY`, later `SPOP`).
    pub seed: u64,
}
