//! What the clients of one simulation want, drawn at random: few keys at a time, so that clients collide, and new keys
//! every few seconds, so that histories stay short and old keys have to survive what comes after.

use replication::consistency::Consistency;
use serde::{Deserialize, Serialize};

use super::intent::{Intent, Step};
use crate::clock::{SECOND, TrueTime};
use crate::random::Random;
use crate::scenario::milliseconds;

/// How the clients of one simulation behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Keys of each kind at a time.
    pub keys: u64,
    /// How long a set of keys is used.
    #[serde(with = "milliseconds")]
    pub epoch: TrueTime,
    /// The longest pause between two operations of a client.
    #[serde(with = "milliseconds")]
    pub think: TrueTime,
    /// How often each kind of operation is drawn: registers, expiring registers, counters, lists, pairs, several keys,
    /// compare-and-set, pipelines.
    pub weights: [u32; 8],
    /// Writes that carry a token, per mille.
    pub token_per_mille: u32,
    /// Nothing but counters that must not fall below zero.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounded: bool,
    /// Nothing but counters, read at these levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Consistency>,
}

impl Workload {
    /// A workload as some seed has it.
    pub fn draw(random: &mut Random) -> Workload {
        let mut weights = [20, 14, 14, 14, 10, 10, 8, 6];
        for weight in &mut weights {
            *weight = *weight * random.between(1, 8) as u32 / 4 + 1;
        }
        Workload {
            keys: random.between(2, 6),
            epoch: random.between(3, 12) * SECOND,
            think: *random.pick(&[5_000_000, 20_000_000, 60_000_000]),
            weights,
            token_per_mille: *random.pick(&[200, 500, 900]),
            bounded: false,
            levels: Vec::new(),
        }
    }

    /// The next thing that `client` wants. `unique` is a number that is given once.
    pub fn next(&self, client: usize, at: TrueTime, unique: u64, random: &mut Random) -> Intent {
        if self.bounded {
            return self.bounded(random);
        }
        if !self.levels.is_empty() {
            let token = random.chance(self.token_per_mille).then(|| format!("t{client}.{unique}"));
            return self.at_all_levels(at, token, random);
        }
        let epoch = at / self.epoch;
        let name = |kind: &str, random: &mut Random| format!("{kind}{}.{epoch}", random.below(self.keys));
        let token = random.chance(self.token_per_mille).then(|| format!("t{client}.{unique}"));
        match random.weighted(&self.weights) {
            0 => Self::register(name("r", random), unique, random),
            1 => Self::expiring(name("x", random), unique, random),
            2 => {
                let key = name("c", random);
                if random.chance(700) {
                    Intent::Increment { key, token }
                } else {
                    Intent::ReadCounter { key }
                }
            }
            3 => {
                let key = name("l", random);
                let element = format!("{unique}{}", crate::history::list::SEPARATOR);
                if random.chance(700) {
                    Intent::Append { key, element, token }
                } else {
                    Intent::ReadList { key }
                }
            }
            4 => {
                let (tag, transaction) = (name("p", random), random.chance(500));
                match random.chance(500) {
                    true => Intent::PairWrite { tag, value: unique, transaction },
                    false => Intent::PairRead { tag, transaction },
                }
            }
            5 => {
                let mut keys: Vec<String> = (0..self.keys).map(|key| format!("r{key}.{epoch}")).collect();
                random.shuffle(&mut keys);
                keys.truncate(random.between(2, 4) as usize);
                match random.chance(500) {
                    true => Intent::MSet { pairs: keys.into_iter().map(|key| (key, unique)).collect() },
                    false => Intent::MGet { keys },
                }
            }
            6 => Intent::CompareAndSet { key: name("w", random), value: unique, step: Step::Watch },
            _ => Intent::Pipeline { key: format!("v{client}.{unique}"), value: unique },
        }
    }

    fn at_all_levels(&self, at: TrueTime, token: Option<String>, random: &mut Random) -> Intent {
        let key = format!("s{}.{}", random.below(self.keys), at / self.epoch);
        match random.chance(350) {
            true => Intent::Increment { key, token },
            false => {
                let level = *random.pick(&self.levels);
                Intent::ReadAt { key, level, times: random.between(1, 3) as usize }
            }
        }
    }

    fn bounded(&self, random: &mut Random) -> Intent {
        let key = format!("b0{}", random.below(self.keys));
        match random.weighted(&[30, 50, 4, 16]) {
            0 => Intent::Change { key, amount: random.between(1, 20) as i64 },
            1 => Intent::Change { key, amount: -(random.between(1, 14) as i64) },
            2 => Intent::Delete { key },
            _ => Intent::ReadCounter { key },
        }
    }

    fn register(key: String, value: u64, random: &mut Random) -> Intent {
        match random.weighted(&[30, 40, 10, 10, 10]) {
            0 => Intent::Set { key, value, ttl_ms: None },
            1 => Intent::Get { key },
            2 => Intent::GetSet { key, value },
            3 => Intent::Delete { key },
            _ => Intent::SetIfAbsent { key, value, ttl_ms: None },
        }
    }

    fn expiring(key: String, value: u64, random: &mut Random) -> Intent {
        let ttl_ms = *random.pick(&[20, 100, 400, 1500]);
        match random.weighted(&[20, 45, 10, 15, 5, 5]) {
            0 => Intent::Set { key, value, ttl_ms: Some(ttl_ms) },
            1 => Intent::Get { key },
            2 => Intent::SetIfAbsent { key, value, ttl_ms: random.chance(500).then_some(ttl_ms) },
            3 => Intent::Expire { key, ttl_ms },
            4 => Intent::Persist { key },
            _ => Intent::Delete { key },
        }
    }
}
