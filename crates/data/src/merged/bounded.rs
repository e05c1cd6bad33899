//! Counters that never fall below zero, whoever takes from them (escrow: O'Neil 1986; the bounded counter of Balegas et al., SRDS 2015).
//!
//! What is added belongs to the replica that has added it: so much it has the *right* to take off again, without asking anybody. Rights are
//! handed to another replica by the one that has them ([`grant`]). They are elements of the key beside the counter ([`Facet::Rights`]), named by who
//! gets them and added to by who gives them, so they merge, travel and are removed as everything else is. The rights of an origin are
//! what it has added, less what it has taken off, and what it was given, less what it has given away. Each changes only its own part, and only as
//! far as it has rights, so in every state that is closed under causes no rights are below zero; and their sum is the counter.
//!
//! For that a counter must not be changed in any other way ([`check`]). A value that is put would be the rights of two if two put one at the same
//! time. Who deletes a counter takes all of it off, and so needs all rights. One that ends at a time would end at another with every clock.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::number::Decimal;

#[cfg(test)]
use super::element::{Fault, fault};
use super::{Change, Dot, Facet, MergedTable};

/// Why a mutation must not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbounded {
    /// It can never be.
    Never(&'static str),
    /// The origin needs so many more rights to this counter.
    Short {
        /// The counter.
        key: Bytes,
        /// How many more; [`ALL`]: those of all others.
        missing: i128,
    },
}

/// All that there are.
pub const ALL: i128 = i128::MAX;

/// An amount as it is written in commands.
pub fn print(amount: i128) -> String {
    Decimal::of_units(amount).print()
}

/// The name of the element with what an origin was given.
fn name_of(origin: u64) -> Bytes {
    Bytes::copy_from_slice(&origin.to_le_bytes())
}

/// The origin with that name.
fn origin_of(name: &[u8]) -> Option<u64> {
    name.try_into().ok().map(u64::from_le_bytes)
}

/// Who has how many rights to a counter, in the order of the origins; none who has none.
pub fn rights(key: &[u8], table: &MergedTable) -> Vec<(u64, i128)> {
    let mut all: BTreeMap<u64, i128> = BTreeMap::new();
    let mut count = |origin: u64, amount: i128| {
        let rights = all.entry(origin).or_default();
        *rights = rights.saturating_add(amount);
    };
    for (origin, amount) in table.element(key, Facet::String, b"").parts() {
        count(origin, amount);
    }
    for (name, given) in table.elements_of(key, Facet::Rights) {
        let Some(to) = origin_of(&name) else { continue };
        for (from, amount) in given.parts() {
            count(to, amount);
            #[cfg(test)]
            if fault::is(Fault::GivenAndKept) {
                continue;
            }
            count(from, amount.saturating_neg());
        }
    }
    all.into_iter().filter(|(_, rights)| *rights != 0).collect()
}

/// What is wrong with these changes as a mutation of that origin; nothing is, if they take off no more than it may.
///
/// # Errors
/// See [`Unbounded`].
pub fn check(changes: &[Change], table: &MergedTable, origin: u64) -> Result<(), Unbounded> {
    let is_put = |change: &&Change| matches!(change, Change::Put { facet: Facet::String, .. });
    if changes.iter().any(|change| is_put(&change)) {
        return Err(Unbounded::Never(
            "ERR a string of a keyspace with COUNTERS bounded is changed by INCR, INCRBY, DECR and DECRBY alone: what is put at two \
             replicas at the same time could be taken off twice. Use INCRBY to begin with",
        ));
    }
    if changes.iter().any(|change| matches!(change, Change::Put { facet: Facet::Expiry, .. })) {
        return Err(Unbounded::Never(
            "ERR a key of a keyspace with COUNTERS bounded does not expire: clocks differ, and one replica could still take off what is gone \
             at another",
        ));
    }
    let mut own: BTreeMap<&Bytes, i128> = BTreeMap::new();
    let before = |key: &Bytes| {
        rights(key, table).into_iter().find(|(of, _)| *of == origin).map_or(0, |(_, rights)| rights)
    };
    for change in changes {
        match change {
            Change::Add { key, facet: Facet::String, addition, .. } => {
                let rights = own.entry(key).or_insert_with(|| before(key));
                *rights = rights.saturating_add(addition.amount);
            }
            Change::Clear { key, .. } | Change::Remove { key, facet: Facet::String, .. } => {
                if rights(key, table).iter().any(|(of, rights)| *of != origin && *rights > 0) {
                    return Err(Unbounded::Short { key: key.clone(), missing: ALL });
                }
                own.insert(key, 0);
            }
            _ => {}
        }
    }
    match own.into_iter().find(|(_, rights)| *rights < 0) {
        None => Ok(()),
        Some((key, rights)) => Err(Unbounded::Short { key: key.clone(), missing: rights.saturating_neg() }),
    }
}

/// The change by which the origin of `dot` hands rights to another one: as many as are asked for, or half of what it has if that is more, so that
/// the next request need not ask. `None`: it has none.
pub fn grant(key: &Bytes, to: u64, asked: i128, table: &MergedTable, dot: Dot) -> Option<Change> {
    let rights = rights(key, table);
    let (_, own) = rights.into_iter().find(|(of, rights)| *of == dot.origin && *rights > 0)?;
    let amount = asked.max(own / 2).min(own);
    if amount <= 0 || to == dot.origin {
        return None;
    }
    let name = name_of(to);
    let element = table.element(key, Facet::Rights, &name);
    let addition = element.addition(dot.origin, dot.counter, amount);
    Some(Change::Add { key: key.clone(), facet: Facet::Rights, name, addition })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::super::{HybridTime, Merge, VersionVector, clearing};
    use super::*;

    const REPLICAS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        /// So much is added, or taken off.
        Change(usize, i64),
        /// It is deleted.
        Delete(usize),
        /// Rights are handed to another replica.
        Grant(usize, usize, i64),
        /// What one has made next comes to the other, if that has what it depends on.
        Deliver(usize, usize),
    }

    #[derive(Debug, Default)]
    struct Replica {
        table: MergedTable,
        vector: VersionVector,
        made: Vec<Merge>,
    }

    fn key() -> Bytes {
        Bytes::from_static(b"k")
    }

    impl Replica {
        fn write(&mut self, at: usize, changes: Vec<Change>) {
            let dot = self.next(at);
            let merge = Merge { dot, time: HybridTime::default(), vector: self.vector.clone(), changes };
            self.take(&merge);
            self.made.push(merge);
        }

        fn next(&self, at: usize) -> Dot {
            let origin = at as u64 + 1;
            Dot { origin, counter: self.vector.get(origin) + 1 }
        }

        fn take(&mut self, merge: &Merge) {
            self.table.apply(merge);
            self.vector.raise(merge.dot.origin, merge.dot.counter);
        }

        /// What an act of this replica changes; nothing, if it has no rights to that.
        fn prepare(&self, at: usize, act: Act) -> Option<Vec<Change>> {
            let dot = self.next(at);
            let changes = match act {
                Act::Change(_, amount) => {
                    let element = self.table.element(&key(), Facet::String, b"");
                    let addition = element.addition(dot.origin, dot.counter, i128::from(amount));
                    vec![Change::Add { key: key(), facet: Facet::String, name: Bytes::new(), addition }]
                }
                Act::Delete(_) => clearing(&[key()], &self.table, dot),
                Act::Grant(_, to, asked) => {
                    return grant(&key(), to as u64 + 1, i128::from(asked), &self.table, dot)
                        .map(|change| vec![change]);
                }
                Act::Deliver(..) => return None,
            };
            check(&changes, &self.table, dot.origin).ok().map(|()| changes)
        }

        /// The counter, if nobody has less than no rights to it.
        fn is_within_bounds(&self) -> bool {
            let rights = rights(b"k", &self.table);
            let sum: i128 = rights.iter().map(|(_, rights)| rights).sum();
            let value = self.table.element(b"k", Facet::String, b"").sum();
            value >= 0 && sum == value && rights.iter().all(|(_, rights)| *rights > 0)
        }
    }

    /// Does what can be done of these, as long as all replicas are as they ought to be.
    fn run(acts: &[Act], is_right: impl Fn(&Replica) -> bool) -> [Replica; REPLICAS] {
        let mut replicas: [Replica; REPLICAS] = Default::default();
        for &act in acts {
            match act {
                Act::Deliver(from, to) => {
                    let known = replicas[to].vector.get(from as u64 + 1) as usize;
                    let next = replicas[from].made.get(known).cloned();
                    if let Some(next) = next.filter(|next| replicas[to].vector.includes(&next.vector)) {
                        replicas[to].take(&next);
                    }
                }
                Act::Change(at, _) | Act::Delete(at) | Act::Grant(at, ..) => {
                    if let Some(changes) = replicas[at].prepare(at, act) {
                        replicas[at].write(at, changes);
                    }
                }
            }
            if !replicas.iter().all(&is_right) {
                break;
            }
        }
        replicas
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => (0..REPLICAS, 1..20i64).prop_map(|(at, amount)| Act::Change(at, amount)),
            4 => (0..REPLICAS, 1..20i64).prop_map(|(at, amount)| Act::Change(at, -amount)),
            1 => (0..REPLICAS).prop_map(Act::Delete),
            3 => (0..REPLICAS, 0..REPLICAS, 0..30i64).prop_map(|(at, to, asked)| Act::Grant(at, to, asked)),
            8 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Act::Deliver(from, to)),
        ];
        proptest::collection::vec(act, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn no_replica_ever_shows_less_than_nothing(acts in acts()) {
            let replicas = run(&acts, Replica::is_within_bounds);
            prop_assert!(replicas.iter().all(Replica::is_within_bounds), "{:?}", rights(b"k", &replicas[0].table));
        }
    }

    #[test]
    fn rights_that_are_kept_when_they_are_given_away_are_found() {
        fault::plant(Some(Fault::GivenAndKept));
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let shows_less = |acts: &[Act]| {
            let replicas = run(acts, |_| true);
            replicas.iter().any(|replica| replica.table.element(b"k", Facet::String, b"").sum() < 0)
        };
        let found = (0..3000).any(|_| shows_less(&acts().new_tree(&mut runner).expect("acts").current()));
        fault::plant(None);
        assert!(found);
    }

    #[test]
    fn what_cannot_be_bounded_is_refused() {
        let table = MergedTable::new();
        let element = |facet| Change::Put {
            key: key(),
            facet,
            name: Bytes::new(),
            value: Bytes::from_static(b"00000000"),
            seen: Vec::new(),
        };
        assert!(matches!(check(&[element(Facet::String)], &table, 1), Err(Unbounded::Never(_))));
        assert!(matches!(check(&[element(Facet::Expiry)], &table, 1), Err(Unbounded::Never(_))));
        let add = |amount| {
            let addition = super::super::Element::default().addition(1, 1, amount);
            Change::Add { key: key(), facet: Facet::String, name: Bytes::new(), addition }
        };
        assert_eq!(check(&[add(-5)], &table, 1), Err(Unbounded::Short { key: key(), missing: 5 }));
        // What a transaction adds it may take off again.
        assert_eq!(check(&[add(5), add(-5)], &table, 1), Ok(()));
        // Elements of other types are as ever.
        assert_eq!(check(&[element(Facet::Set)], &table, 1), Ok(()));
    }
}
