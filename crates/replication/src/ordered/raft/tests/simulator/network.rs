//! A network that loses, delays, duplicates, reorders and cuts off.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::disk::Snapshot;
use crate::random::Random;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A message of the core, in its bytes.
    Raft(Bytes),
    /// A whole snapshot.
    Snapshot {
        term: u64,
        snapshot: Snapshot,
    },
    SnapshotAck {
        index: u64,
    },
}

/// How bad it is, in parts of a thousand.
#[derive(Debug)]
pub struct Network {
    pub lost: u64,
    pub duplicated: u64,
    pub late: u64,
    pub base_delay_us: u64,
    pub late_delay_us: u64,
    pub cut: BTreeSet<(u64, u64)>,
}

pub enum Fate {
    CutOff,
    Lost,
    Arrives(Vec<u64>),
}

impl Network {
    pub fn new(random: &mut Random) -> Network {
        let pick = |random: &mut Random, from: &[u64]| from[random.below(from.len() as u64) as usize];
        Network {
            lost: pick(random, &[0, 5, 50, 200]),
            duplicated: pick(random, &[0, 5, 100]),
            late: pick(random, &[0, 5, 50]),
            base_delay_us: pick(random, &[200, 2_000, 10_000]),
            late_delay_us: pick(random, &[50_000, 500_000, 3_000_000]),
            cut: BTreeSet::new(),
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.lost = 0;
        self.duplicated = 0;
        self.late = 0;
        self.base_delay_us = 1_000;
    }

    /// The delays in ns after which a packet arrives, once each.
    pub fn fate(&self, from: u64, to: u64, random: &mut Random) -> Fate {
        if self.cut.contains(&(from, to)) {
            return Fate::CutOff;
        }
        if random.below(1000) < self.lost {
            return Fate::Lost;
        }
        let copies = 1 + u64::from(random.below(1000) < self.duplicated);
        let delay = |_| {
            let late = random.below(1000) < self.late;
            let most = if late { self.late_delay_us } else { self.base_delay_us };
            (most / 10 + random.below(most)) * 1000
        };
        Fate::Arrives((0..copies).map(delay).collect())
    }
}
