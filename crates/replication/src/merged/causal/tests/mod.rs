//! Replicas in a world that loses, doubles, delays and reorders messages, cuts links (one way, too), kills replicas with what was not
//! durable, and sets clocks wrong; then heals. Everything follows from a seed.
//!
//! What must hold at every moment: no two mutations have one name; what a replica has applied is closed under causes; its state is
//! what the mutations that it has applied come to in the order of their times, which is another order than that in which they came (so a
//! cause must have an earlier time than its effects). And after healing: every replica has everything that was acknowledged, and all are
//! the same, byte for byte.

mod world;

use super::Bug;
use world::{Counters, World};

fn run(seed: u64, bug: Option<Bug>) -> Counters {
    let mut world = World::new(seed, bug);
    world.break_things();
    world.heal_and_require_progress();
    world.counters
}

/// `CAUSAL_SEEDS=from..to` runs others than the usual.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("CAUSAL_SEEDS") else { return usual };
    let (from, to) = wanted.split_once("..").expect("CAUSAL_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn replicas_are_causal_and_become_the_same() {
    let mut sum = Counters::default();
    for seed in seeds(0..200) {
        match std::panic::catch_unwind(|| run(seed, None)) {
            Ok(counters) => sum.add(&counters),
            Err(_) => panic!("seed {seed} failed; see above"),
        }
    }
    println!("{sum:#?}");
    sum.require_not_idle();
}

fn finds(bug: Bug) -> Option<u64> {
    (0..500).find(|&seed| std::panic::catch_unwind(|| run(seed, Some(bug))).is_err())
}

macro_rules! planted {
    ($($name:ident: $bug:ident,)*) => {$(
        #[test]
        fn $name() {
            let found = finds(Bug::$bug);
            println!("{:?} found by seed {found:?}", Bug::$bug);
            assert!(found.is_some(), "{:?} was not found", Bug::$bug);
        }
    )*};
}

planted! {
    finds_dependencies_ignored: DependenciesIgnored,
    finds_told_before_durable: ToldBeforeDurable,
    finds_clock_taken_raw: ClockTakenRaw,
    finds_applied_twice: AppliedTwice,
    finds_holds_before_durable: HoldsBeforeDurable,
    finds_gaps_ignored: GapsIgnored,
    finds_nothing_relayed: NothingRelayed,
    finds_skew_ignored: SkewIgnored,
    finds_forgotten_early: ForgottenEarly,
    finds_state_without_own: StateWithoutOwn,
    finds_forgotten_meanwhile: ForgottenMeanwhile,
    finds_lists_mixed: ListsMixed,
}
