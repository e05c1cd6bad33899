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
    for seed in seeds(0..260) {
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
    finds_lists_mixed: ListsMixed,
}

/// Two replicas that hear each other at once; whatever is logged is durable at once.
struct Two {
    replicas: [super::Causal; 2],
    file: Option<super::StateFile>,
    at: u64,
}

/// A client's write.
fn write(replica: &mut super::Causal, text: &str, now: crate::Now) {
    let arguments: Vec<bytes::Bytes> =
        text.split(' ').map(|word| bytes::Bytes::copy_from_slice(word.as_bytes())).collect();
    let command = data::Command::lookup(&arguments[0]).expect("a command");
    let stamp = data::Stamp { time_ms: now.wall_ms, ..data::Stamp::default() };
    let prepared = data::prepare_merged(command, &arguments, replica.table(), replica.next_dot(), &stamp);
    replica.write(prepared.changes, usize::MAX, now).expect("it may be as long as it is");
}

impl Two {
    fn now(&self) -> crate::Now {
        crate::Now { time: crate::Time(self.at * 1_000_000), wall_ms: 1_000_000 + self.at }
    }

    fn write(&mut self, at: usize, text: &str) {
        let now = self.now();
        write(&mut self.replicas[at], text, now);
    }

    fn settle(&mut self) {
        for _ in 0..60 {
            self.at += 50;
            let now = self.now();
            let files = exchange(&mut self.replicas, now, |_, _, _| true);
            self.file = files.into_iter().next().or(self.file.take());
        }
    }
}

/// A write that a new replica makes while the state of another one is on its way to its disk, and that the other one has by then:
/// found in whole clusters of the simulator.
fn holds_what_it_made_meanwhile(bug: Option<Bug>) -> bool {
    let replica = |origin: u64, members: &[(crate::NodeId, u64)]| {
        let options = super::Options { planted: bug, ..super::Options::new(origin) };
        super::Causal::new(options, members, super::Recovered::default(), crate::Now::default())
            .expect("nothing is wrong")
    };
    let (one, other) = ((crate::NodeId(1), 1), (crate::NodeId(2), 2));
    let mut two = Two { replicas: [replica(1, &[one]), replica(2, &[one, other])], file: None, at: 0 };
    two.write(0, "SET old 1");
    // Alone it keeps nothing for others.
    two.settle();
    two.replicas[0].set_members(&[one, other]);
    two.settle();
    assert!(two.file.is_some(), "the state has come");
    two.write(1, "SET new 1");
    two.settle();
    assert!(two.replicas[0].vector().get(2) == 1, "the other one has it");
    two.replicas[1].state_is_durable();
    two.settle();
    let digests = two.replicas.each_ref().map(|replica| replica.table().digest());
    digests[0] == digests[1] && two.replicas[1].vector() == two.replicas[0].vector()
}

/// A batch of each replica; what it says comes to those at once that hear it. Whatever is logged is durable at once, and states are given out.
fn exchange(
    replicas: &mut [super::Causal],
    now: crate::Now,
    is_heard: impl Fn(usize, usize, &super::Message) -> bool,
) -> Vec<super::StateFile> {
    let mut files = Vec::new();
    for from in 0..replicas.len() {
        let effects = replicas[from].finish(now);
        files.extend(effects.state);
        let last = replicas[from].last_index();
        replicas[from].persisted(last);
        for (to, message) in effects.send {
            let to = to.0 as usize - 1;
            if is_heard(from, to, &message) {
                replicas[to].receive(crate::NodeId(from as u64 + 1), message, now);
            }
        }
    }
    files
}

/// Replicas of these origins, each at the node of that number.
fn group<const COUNT: usize>(origins: [u64; COUNT]) -> [super::Causal; COUNT] {
    let members = origins.map(|number| (crate::NodeId(number), number));
    origins.map(|origin| {
        let options = super::Options::new(origin);
        super::Causal::new(options, &members, super::Recovered::default(), crate::Now::default())
            .expect("nothing is wrong")
    })
}

/// Moments, each a little later than the one before.
fn clock() -> impl FnMut() -> crate::Now {
    let mut at = 0;
    move || {
        at += 50;
        crate::Now { time: crate::Time(at * 1_000_000), wall_ms: 1_000_000 + at }
    }
}

/// One that was away adds to a counter of which the others know the first additions, and which they have taken away since.
fn counts_what_was_added_while_away(bug: Option<Bug>) -> bool {
    let members = [1, 2, 3].map(|number| (crate::NodeId(number), number));
    let mut replicas = [1, 2, 3].map(|origin| {
        // All is folded.
        let options = super::Options { planted: bug, recent_bytes: 0, ..super::Options::new(origin) };
        super::Causal::new(options, &members, super::Recovered::default(), crate::Now::default())
            .expect("nothing is wrong")
    });
    let mut now = clock();
    const AWAY: usize = 2;
    // The others have it, and it does not hear so.
    write(&mut replicas[AWAY], "INCR c", now());
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), |_, to, _| to != AWAY)));
    let alone = |from: usize, to: usize, _: &super::Message| from != AWAY && to != AWAY;
    replicas[..AWAY].iter_mut().for_each(|replica| replica.set_away(|node| node.0 == AWAY as u64 + 1));
    write(&mut replicas[0], "DEL c", now());
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), alone)));
    write(&mut replicas[AWAY], "INCR c", now());
    (0..200).for_each(|_| drop(exchange(&mut replicas, now(), alone)));
    for _ in 0..200 {
        for file in exchange(&mut replicas, now(), |_, _, _| true) {
            drop(file);
            replicas[AWAY].state_is_durable();
        }
    }
    let sum = |replica: &super::Causal| replica.table().element(b"c", data::merged::Facet::String, b"").sum();
    let one = data::merged::bounded::print(sum(&replicas[0])) == "1";
    one && replicas.iter().all(|replica| sum(replica) == sum(&replicas[0]))
}

#[test]
fn what_was_added_while_away_counts_and_nothing_before_it() {
    assert!(counts_what_was_added_while_away(None));
    assert!(!counts_what_was_added_while_away(Some(Bug::SeenForgotten)), "the planted fault is seen");
}

/// A state that came from elsewhere, with what was made here on top, and a start from it: found in whole clusters of the simulator
/// (`--focus merged --first-seed 391`).
#[test]
fn what_was_made_here_is_kept_for_others_after_a_start_from_a_state() {
    let replica = |origin: u64, members: &[(crate::NodeId, u64)], recovered| {
        super::Causal::new(super::Options::new(origin), members, recovered, crate::Now::default())
            .expect("nothing is wrong")
    };
    let nothing = super::Recovered::default;
    let (one, other) = ((crate::NodeId(1), 1), (crate::NodeId(2), 2));
    let mut two =
        Two { replicas: [replica(1, &[one], nothing()), replica(2, &[other], nothing())], file: None, at: 0 };
    two.write(0, "SET old 1");
    two.settle();
    two.replicas.iter_mut().for_each(|replica| replica.set_members(&[one, other]));
    two.write(1, "SET mine 1");
    // No mutations get through.
    for _ in 0..60 {
        two.at += 50;
        let now = two.now();
        let is_heard = |_, _, message: &super::Message| !matches!(message, super::Message::Mutations(_));
        let files = exchange(&mut two.replicas, now, is_heard);
        two.file = files.into_iter().next().or(two.file.take());
    }
    let super::StateFile { chunks, meta, .. } = two.file.take().expect("a state has come");
    let mut state = super::state::State::default();
    chunks.iter().for_each(|chunk| state.load(chunk).expect("it is one"));
    let again = super::Recovered { state: Some((state, meta)), log: Vec::new() };
    two.replicas[1] = replica(2, &[one, other], again);
    assert!(two.replicas[1].kept() > 0, "what the other one has not is kept");
    two.settle();
    assert_eq!(two.replicas[0].vector().get(2), 1, "and comes to it");
    assert_eq!(two.replicas[0].table().digest(), two.replicas[1].table().digest());
}

#[test]
fn what_is_made_while_a_state_is_on_its_way_is_added_to_it() {
    assert!(holds_what_it_made_meanwhile(None));
    assert!(!holds_what_it_made_meanwhile(Some(Bug::ForgottenMeanwhile)), "the planted fault is seen");
}

/// Three replicas that take writes all the time, while the memory of one of them goes bad.
#[test]
fn a_replica_that_holds_something_else_is_found_and_heals_while_all_take_writes() {
    let members = [1, 2, 3].map(|number| (crate::NodeId(number), number));
    let mut replicas = [1, 2, 3].map(|origin| {
        super::Causal::new(
            super::Options::new(origin),
            &members,
            super::Recovered::default(),
            crate::Now::default(),
        )
        .expect("nothing is wrong")
    });
    let mut random = crate::random::Random::new(5);
    let mut events = Vec::new();
    for turn in 0..800u64 {
        let at = turn * 50;
        let now = crate::Now { time: crate::Time(at * 1_000_000), wall_ms: 1_000_000 + at };
        for here in 0..3 {
            let replica = &mut replicas[here];
            if turn < 700 {
                write(replica, &format!("INCR k{}", random.below(3000)), now);
            }
            if turn == 300 && here == 1 {
                let wrong = data::merged::Merge {
                    dot: data::merged::Dot { origin: 3, counter: 1 },
                    time: data::merged::HybridTime::default(),
                    vector: data::merged::VersionVector::new(),
                    changes: data::prepare_merged(
                        data::Command::lookup(b"SET").expect("a command"),
                        &["SET", "k77", "bad"].map(bytes::Bytes::from),
                        &data::merged::MergedTable::new(),
                        data::merged::Dot { origin: 3, counter: 1 },
                        &data::Stamp::default(),
                    )
                    .changes,
                };
                replica.table.apply(&wrong);
            }
            let effects = replica.finish(now);
            let last = replica.last_index();
            replica.persisted(last);
            if effects.state.is_some() {
                replica.state_is_durable();
            }
            if turn < 300 {
                assert_eq!(effects.events, [], "nothing is wrong yet");
            }
            events.extend(effects.events.into_iter().map(|event| (here, event)));
            for (to, message) in effects.send {
                replicas[to.0 as usize - 1].receive(crate::NodeId(here as u64 + 1), message, now);
            }
        }
    }
    let differs = |of: usize| {
        events
            .iter()
            .filter(|(here, event)| *here == of && matches!(event, super::Event::Differs { .. }))
            .count()
    };
    // It may be mended before the second of them has gone over the same keys.
    assert!(differs(0) + differs(2) > 0, "another one has seen it: {events:?}");
    let rebuilt: Vec<usize> = events
        .iter()
        .filter(|(_, event)| matches!(event, super::Event::Repaired { with_state: true, .. }))
        .map(|(here, _)| *here)
        .collect();
    assert!(rebuilt.contains(&1) && !rebuilt.contains(&0) && !rebuilt.contains(&2), "{rebuilt:?}");
    let digests = replicas.each_ref().map(|replica| replica.table().digest());
    assert!(digests[0] == digests[1] && digests[1] == digests[2], "all are the same again");
    assert_eq!(replicas[1].table().element(b"k77", data::merged::Facet::String, b"").winner(), None);
}

/// What comes to a replica that is as good as gone goes with it: nobody may count on that copy. (Found by the simulator: a client that
/// asked for one copy more was answered because of a copy that was dropped at the next moment.)
#[test]
fn who_goes_says_no_more_that_it_holds_something() {
    let mut replicas = group([1, 2]);
    let mut now = clock();
    let mut copies_of_a_write = |replicas: &mut [super::Causal; 2], text: &str| {
        let dot = replicas[0].next_dot();
        write(&mut replicas[0], text, now());
        (0..20).for_each(|_| drop(exchange(replicas, now(), |_, _, _| true)));
        assert!(replicas[1].durable().covers(dot), "it has come");
        replicas[0].copies_of(dot)
    };
    assert_eq!(copies_of_a_write(&mut replicas, "SET before 1"), 2);
    replicas[1].set_going(true);
    assert_eq!(copies_of_a_write(&mut replicas, "SET meanwhile 1"), 1);
    replicas[1].set_going(false);
    assert_eq!(copies_of_a_write(&mut replicas, "SET after 1"), 2, "it is wanted again");
}

/// A replica gets another origin when its seat was taken away and given again at once: what it writes then comes to others as ever. (Found by the
/// simulator: it was taken for sent, since that many mutations of the former origin had been.)
#[test]
fn what_is_written_under_another_origin_is_sent() {
    let mut replicas = group([1, 2]);
    let mut now = clock();
    for number in 0..5 {
        write(&mut replicas[0], &format!("SET old{number} 1"), now());
    }
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), |_, _, _| true)));
    replicas[0].set_origin(3);
    replicas[1].set_members(&[(crate::NodeId(1), 3), (crate::NodeId(2), 2)]);
    let dot = replicas[0].next_dot();
    assert_eq!((dot.origin, dot.counter), (3, 1));
    write(&mut replicas[0], "SET new 1", now());
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), |_, _, _| true)));
    assert!(replicas[1].durable().covers(dot));
}

/// All have to say that they go by a version, and then to have what any of them had by that moment.
#[test]
fn a_version_is_known_when_all_say_so_and_hold_what_any_held() {
    let mut replicas = group([1, 2, 3]);
    let others = [crate::NodeId(2), crate::NodeId(3)];
    let mut now = clock();
    replicas[0].set_knows(7);
    replicas[1].set_knows(7);
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), |_, _, _| true)));
    assert!(!replicas[0].is_known_to(&others, 7), "the third does not");
    // It acknowledges something to a client, and says then that it does.
    write(&mut replicas[2], "SET late 1", now());
    replicas[2].set_knows(7);
    let is_told = |from: usize, to: usize, message: &super::Message| {
        (from, to) == (2, 0) && matches!(message, super::Message::Holds(_)) || from == 0
    };
    (0..20).for_each(|_| drop(exchange(&mut replicas, now(), is_told)));
    assert!(!replicas[0].is_known_to(&others, 7), "what it holds is nowhere else");
    (0..40).for_each(|_| drop(exchange(&mut replicas, now(), |_, _, _| true)));
    assert!(replicas[0].is_known_to(&others, 7));
    assert!(!replicas[0].is_known_to(&others, 8));
    assert!(!replicas[0].is_known_to(&[crate::NodeId(2), crate::NodeId(4)], 7), "of one that never spoke");
}
