//! The network between the nodes: each directed link loses, delays, duplicates and reorders, and may be cut.
//!
//! A cut or a bad stretch is an [`Effect`] that is added under a number and taken away again, so that several overlap
//! without knowing of each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::TrueTime;
use crate::random::Random;
use crate::scenario::milliseconds;

/// How the links of one simulation behave on a good day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The shortest way.
    #[serde(with = "milliseconds")]
    pub delay_min: TrueTime,
    /// The usual longest way.
    #[serde(with = "milliseconds")]
    pub delay_max: TrueTime,
    /// Messages that take up to twenty times as long, per mille.
    pub late_per_mille: u32,
    /// Messages that are lost, per mille.
    pub loss_per_mille: u32,
    /// Messages that come twice, per mille.
    pub duplicate_per_mille: u32,
    /// Messages of one link keep their order, as over TCP.
    pub ordered: bool,
}

impl Profile {
    /// A network in which nothing goes wrong.
    pub fn quiet() -> Profile {
        Profile {
            delay_min: 50_000,
            delay_max: 300_000,
            late_per_mille: 0,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            ordered: true,
        }
    }

    /// A network as some seed has it: from a fast clean one to a bad one.
    pub fn draw(random: &mut Random) -> Profile {
        let delay_min = random.between(20_000, 400_000);
        Profile {
            delay_min,
            delay_max: delay_min + random.between(20_000, 3_000_000),
            late_per_mille: *random.pick(&[0, 0, 5, 20]),
            loss_per_mille: *random.pick(&[0, 0, 2, 10, 40]),
            duplicate_per_mille: *random.pick(&[0, 0, 2, 20]),
            ordered: random.chance(500),
        }
    }
}

/// A directed link between two nodes by their number in the simulation.
pub type Link = (usize, usize);

/// Something that is wrong with some links.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing passes.
    Cut(Vec<Link>),
    /// Much is lost, delayed or doubled.
    Bad { links: Vec<Link>, loss_per_mille: u32, duplicate_per_mille: u32, extra_delay: TrueTime },
}

/// All links.
#[derive(Debug)]
pub struct Network {
    profile: Profile,
    effects: BTreeMap<u64, Effect>,
    chance: u64,
    links: BTreeMap<Link, OneLink>,
}

#[derive(Debug)]
struct OneLink {
    random: Random,
    last_arrival: TrueTime,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// When it arrives, if it does.
    pub arrival: Option<TrueTime>,
    /// When a second copy arrives.
    pub copy: Option<TrueTime>,
    /// It was lost because the link is cut.
    pub cut: bool,
    /// It arrives before one that was sent earlier.
    pub overtakes: bool,
}

impl Network {
    /// A network on a good day. What happens on its links follows from `chance`.
    pub fn new(profile: Profile, chance: u64) -> Network {
        Network { profile, effects: BTreeMap::new(), chance, links: BTreeMap::new() }
    }

    /// Something goes wrong.
    pub fn add(&mut self, number: u64, effect: Effect) {
        self.effects.insert(number, effect);
    }

    /// It is repaired.
    pub fn remove(&mut self, number: u64) {
        self.effects.remove(&number);
    }

    /// Everything is repaired, and from now on the network is clean (some loss and delay would only slow progress down).
    pub fn heal(&mut self) {
        self.effects.clear();
        self.profile.loss_per_mille = 0;
        self.profile.late_per_mille = 0;
    }

    /// Is this link cut?
    pub fn is_cut(&self, link: Link) -> bool {
        self.effects.values().any(|effect| matches!(effect, Effect::Cut(links) if links.contains(&link)))
    }

    /// Sends a message of `bytes` over `link`.
    pub fn pass(&mut self, link: Link, at: TrueTime, bytes: usize) -> Passage {
        if self.is_cut(link) {
            return Passage { cut: true, ..Passage::default() };
        }
        let mut loss = self.profile.loss_per_mille;
        let mut duplicate = self.profile.duplicate_per_mille;
        let mut extra = 0;
        for effect in self.effects.values() {
            if let Effect::Bad { links, loss_per_mille, duplicate_per_mille, extra_delay } = effect
                && links.contains(&link)
            {
                loss += loss_per_mille;
                duplicate += duplicate_per_mille;
                extra += extra_delay;
            }
        }
        let chance = self.chance;
        let OneLink { random, last_arrival } = self
            .links
            .entry(link)
            .or_insert_with(|| OneLink { random: stream(chance, link), last_arrival: 0 });
        if random.chance(loss) {
            return Passage::default();
        }
        let copy = random.chance(duplicate).then(|| at + self.profile.delay(bytes, extra, random));
        let mut arrival = at + self.profile.delay(bytes, extra, random);
        if self.profile.ordered {
            arrival = arrival.max(*last_arrival + 1);
        }
        let overtakes = arrival < *last_arrival;
        *last_arrival = arrival.max(*last_arrival);
        Passage { arrival: Some(arrival), copy, cut: false, overtakes }
    }
}

/// The numbers of one link.
fn stream(chance: u64, (from, to): Link) -> Random {
    Random::of_part(chance, (from as u64) << 8 | to as u64)
}

impl Profile {
    /// One way's time: about 100 MB/s, and now and then very late.
    fn delay(&self, bytes: usize, extra: TrueTime, random: &mut Random) -> TrueTime {
        let usual = random.between(self.delay_min, self.delay_max);
        let late = if random.chance(self.late_per_mille) { usual * random.between(2, 20) } else { 0 };
        let extra = if extra == 0 { 0 } else { random.below(extra) };
        usual + late + extra + bytes as u64 * 10
    }
}

/// Links between two groups, in both directions.
pub fn links_between(left: &[usize], right: &[usize]) -> Vec<Link> {
    let pairs = left.iter().flat_map(|&l| right.iter().map(move |&r| (l, r)));
    pairs.flat_map(|(l, r)| [(l, r), (r, l)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Profile {
        Profile {
            delay_min: 10,
            delay_max: 1000,
            late_per_mille: 0,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            ordered: true,
        }
    }

    #[test]
    fn an_ordered_link_never_overtakes_and_an_unordered_one_does() {
        for ordered in [true, false] {
            let mut network = Network::new(Profile { ordered, ..clean() }, 3);
            let passages: Vec<Passage> = (0..200).map(|at| network.pass((0, 1), at, 0)).collect();
            assert_eq!(passages.iter().any(|passage| passage.overtakes), !ordered);
            let arrivals: Vec<_> = passages.iter().map(|passage| passage.arrival.unwrap()).collect();
            assert_eq!(arrivals.is_sorted(), ordered);
        }
    }

    #[test]
    fn a_cut_holds_until_it_is_removed_and_in_its_direction_only() {
        let mut network = Network::new(clean(), 3);
        network.add(1, Effect::Cut(vec![(0, 1)]));
        network.add(2, Effect::Cut(vec![(0, 1)]));
        assert!(network.pass((0, 1), 0, 0).cut);
        assert!(network.pass((1, 0), 0, 0).arrival.is_some());
        network.remove(1);
        assert!(network.is_cut((0, 1)));
        network.remove(2);
        assert!(network.pass((0, 1), 0, 0).arrival.is_some());
    }
}
