//! Plain twins of the checks of causality, sessions and freshness, written from the definitions, agree with them on small
//! random histories. They try every order, or every path, and know nothing of clocks.

use check::causal::{Guarantee, Level, causal, session};
use check::freshness::bounded;
use check::model::{RegisterInput, RegisterOutput};
use check::{Finding, Outcome, Registers};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// An operation that counts.
#[derive(Clone, Debug)]
struct Act {
    process: u64,
    key: String,
    /// The value written, or none for a read.
    writes: Option<String>,
    reads: Option<Option<String>>,
    invoked_at: u64,
    /// `None`: a write of unknown outcome.
    ended_at: Option<u64>,
}

fn acts(history: &Registers) -> Vec<Act> {
    let text = |text: &check::Text| text.as_str().to_owned();
    let all = history.operations().iter().filter_map(|operation| {
        let writes = match &operation.input {
            RegisterInput::Write(value) => value.as_ref().map(text),
            _ => None,
        };
        let (reads, ended_at) = match &operation.outcome {
            Outcome::Refused => return None,
            Outcome::Unknown if writes.is_none() => return None,
            Outcome::Unknown => (None, None),
            Outcome::Done { at, output: RegisterOutput::Value(value) } => {
                (Some(value.as_ref().map(text)), Some(*at))
            }
            Outcome::Done { at, .. } => (None, Some(*at)),
        };
        let (process, key, invoked_at) = (operation.process, operation.key.clone(), operation.invoked_at);
        Some(Act { process, key, writes, reads, invoked_at, ended_at })
    });
    all.collect()
}

/// What each act directly follows: `so` in its session, `wr` what it read.
struct Relations {
    acts: Vec<Act>,
    so: Vec<Vec<bool>>,
    wr: Vec<Vec<bool>>,
    co: Vec<Vec<bool>>,
}

impl Relations {
    fn new(history: &Registers) -> Relations {
        let acts = acts(history);
        let relation = |related: &dyn Fn(&Act, &Act) -> bool| -> Vec<Vec<bool>> {
            acts.iter().map(|a| acts.iter().map(|b| related(a, b)).collect()).collect()
        };
        let so =
            relation(&|a, b| a.process == b.process && a.ended_at.is_some() && a.invoked_at < b.invoked_at);
        let wr =
            relation(&|a, b| a.writes.is_some() && a.key == b.key && b.reads.as_ref() == Some(&a.writes));
        let mut co = relation(&|_, _| false);
        for a in 0..acts.len() {
            for b in 0..acts.len() {
                co[a][b] = so[a][b] || wr[a][b];
            }
        }
        for via in 0..acts.len() {
            for a in 0..acts.len() {
                for b in 0..acts.len() {
                    co[a][b] |= co[a][via] && co[via][b];
                }
            }
        }
        Relations { acts, so, wr, co }
    }

    fn is_thin_air(&self) -> bool {
        let from = |read: usize| (0..self.acts.len()).any(|write| self.wr[write][read]);
        (0..self.acts.len()).any(|read| matches!(self.acts[read].reads, Some(Some(_))) && !from(read))
    }

    fn is_cyclic(&self) -> bool {
        (0..self.acts.len()).any(|act| self.co[act][act])
    }

    /// Can the acts of `past` stand in an order that `before` agrees with, in which each of `judged` reads the last write
    /// on its key (of those that causally precede it)?
    fn ordered(&self, placed: &mut Vec<usize>, past: &[usize], judged: &[usize], whole: bool) -> bool {
        if placed.len() == past.len() {
            return judged.iter().all(|&read| {
                let before = placed.iter().take_while(|&&act| whole || act != read);
                let last = before
                    .filter(|&&act| self.co[act][read] && self.acts[act].key == self.acts[read].key)
                    .filter(|&&act| self.acts[act].writes.is_some())
                    .last();
                let found = last.and_then(|&write| self.acts[write].writes.clone());
                self.acts[read].reads == Some(found)
            });
        }
        past.iter().any(|&next| {
            let ready = !placed.contains(&next)
                && past.iter().all(|&other| !self.co[other][next] || placed.contains(&other));
            if !ready {
                return false;
            }
            placed.push(next);
            let fits = self.ordered(placed, past, judged, whole);
            placed.pop();
            fits
        })
    }

    fn reads(&self) -> Vec<usize> {
        (0..self.acts.len()).filter(|&act| self.acts[act].reads.is_some()).collect()
    }

    fn is_causal(&self) -> bool {
        !self.is_thin_air()
            && !self.is_cyclic()
            && self.reads().into_iter().all(|read| {
                let past: Vec<usize> =
                    (0..self.acts.len()).filter(|&act| act == read || self.co[act][read]).collect();
                self.ordered(&mut Vec::new(), &past, &[read], false)
            })
    }

    /// One order of all writes explains every read.
    fn is_convergent(&self) -> bool {
        let writes: Vec<usize> =
            (0..self.acts.len()).filter(|&act| self.acts[act].writes.is_some()).collect();
        !self.is_thin_air()
            && !self.is_cyclic()
            && self.ordered(&mut Vec::new(), &writes, &self.reads(), true)
    }

    /// Does a read return less than a write that `guarantee` says it follows?
    fn keeps(&self, guarantee: Guarantee) -> bool {
        let all = 0..self.acts.len();
        self.reads().into_iter().all(|read| {
            all.clone().filter(|&newer| self.acts[newer].writes.is_some()).all(|newer| {
                let follows = self.acts[newer].key == self.acts[read].key
                    && match guarantee {
                        Guarantee::ReadYourWrites => self.so[newer][read],
                        Guarantee::MonotonicReads => {
                            all.clone().any(|seen| self.wr[newer][seen] && self.so[seen][read])
                        }
                        Guarantee::MonotonicWrites => self.seen_before(read, |write| self.so[newer][write]),
                        Guarantee::WritesFollowReads => self.seen_before(read, |write| {
                            all.clone().any(|seen| self.wr[newer][seen] && self.so[seen][write])
                        }),
                    };
                let older = match &self.acts[read].reads {
                    Some(None) => true,
                    _ => all.clone().any(|write| self.wr[write][read] && self.co[write][newer]),
                };
                !(follows && older)
            })
        })
    }

    /// Did the session of `read` see, before it, a write of another session that `wanted` holds of?
    fn seen_before(&self, read: usize, wanted: impl Fn(usize) -> bool) -> bool {
        (0..self.acts.len()).any(|write| {
            self.acts[write].process != self.acts[read].process
                && self.acts[write].writes.is_some()
                && wanted(write)
                && (0..self.acts.len()).any(|seen| self.wr[write][seen] && self.so[seen][read])
        })
    }
}

/// Less than `most` operations in up to three sessions on two keys. Values are unique; reads return any of them, or nothing.
fn registers(most: usize) -> impl Strategy<Value = Registers> {
    let line = (0..3_u64, prop::sample::select(vec!["x", "x", "y"]), 0..10_u8, any::<prop::sample::Index>());
    prop::collection::vec(line, 2..most).prop_map(|lines| {
        let mut history = Registers::new();
        let values_of = |key: &str| -> Vec<String> {
            let writes = lines.iter().enumerate().filter(|(_, line)| line.1 == key && line.2 >= 5);
            writes.map(|(number, _)| number.to_string()).collect()
        };
        for (number, (process, key, kind, pick)) in lines.iter().enumerate() {
            let at = number as u64 * 10;
            let values = values_of(key);
            if *kind >= 5 {
                let input = RegisterInput::Write(Some(number.to_string().as_str().into()));
                let id = history.invoke(*process, *key, input, at);
                match kind {
                    5 => {}
                    6 => history.refused(id),
                    _ => history.done(id, at + 5, RegisterOutput::Written),
                }
            } else {
                let chosen = pick.index(values.len() + 1);
                let value = values.get(chosen).map(|value| value.as_str().into());
                let id = history.invoke(*process, *key, RegisterInput::Read, at);
                history.done(id, at + 5, RegisterOutput::Value(value));
            }
        }
        history
    })
}

fn agree(
    cases: usize,
    most: usize,
    checked: impl Fn(&Registers) -> Finding,
    plain: impl Fn(&Relations) -> Option<bool>,
) {
    let strategy = registers(most);
    let mut runner = TestRunner::deterministic();
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..cases {
        let history = strategy.new_tree(&mut runner).expect("a history").current();
        let relations = Relations::new(&history);
        let finding = checked(&history);
        match plain(&relations) {
            None => assert!(!finding.is_valid(), "{history:#?}"),
            Some(true) => {
                valid += 1;
                assert!(finding.is_valid(), "{finding}\n{history:#?}");
            }
            Some(false) => {
                invalid += 1;
                assert!(finding.is_invalid(), "{finding}\n{history:#?}");
            }
        }
    }
    assert!(valid > cases / 50 && invalid > cases / 500, "{valid} valid, {invalid} invalid");
}

#[test]
fn causality() {
    agree(8000, 8, |history| causal(history, Level::Causal), |plain| Some(plain.is_causal()));
}

#[test]
fn convergence() {
    agree(8000, 8, |history| causal(history, Level::Convergent), |plain| Some(plain.is_convergent()));
}

#[test]
fn guarantees() {
    for guarantee in Guarantee::ALL {
        // With causality in a circle there is no telling what is older.
        let plain =
            |plain: &Relations| (!plain.is_thin_air() && !plain.is_cyclic()).then(|| plain.keeps(guarantee));
        agree(20000, 12, |history| session(history, guarantee), plain);
    }
}

/// Staleness by looking at every pair of writes.
#[test]
fn freshness() {
    let line = (0..3_u64, 0..8_u8, 0..60_u64, 0..20_u64, any::<prop::sample::Index>());
    let strategy = prop::collection::vec(line, 2..9);
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 2];
    for _ in 0..20_000 {
        let lines = strategy.new_tree(&mut runner).expect("a history").current();
        let writes: Vec<usize> = (0..lines.len()).filter(|&line| lines[line].1 >= 4).collect();
        let mut history = Registers::new();
        for (number, (process, kind, at, takes, pick)) in lines.iter().enumerate() {
            if *kind >= 4 {
                let input = RegisterInput::Write(Some(number.to_string().as_str().into()));
                let id = history.invoke(*process, "x", input, *at);
                if *kind > 4 {
                    history.done(id, at + takes, RegisterOutput::Written);
                }
            } else {
                let chosen = writes.get(pick.index(writes.len() + 1));
                let value = chosen.map(|number| number.to_string().as_str().into());
                let id = history.invoke(*process, "x", RegisterInput::Read, *at);
                history.done(id, at + takes, RegisterOutput::Value(value));
            }
        }
        let all = acts(&history);
        let stale_by = |read: &Act, bound: u64| {
            let found = read.reads.clone().flatten();
            let source = all.iter().find(|act| found.is_some() && act.writes == found);
            if source.is_some_and(|write| Some(write.invoked_at) > read.ended_at) {
                return true;
            }
            all.iter().filter(|act| act.writes.is_some()).any(|newer| {
                let acknowledged = newer.ended_at.is_some_and(|end| end + bound < read.invoked_at);
                let after =
                    source.is_none_or(|write| write.ended_at.is_some_and(|end| end < newer.invoked_at));
                acknowledged && after
            })
        };
        for bound in [0, 10] {
            let expected = !all.iter().filter(|act| act.reads.is_some()).any(|read| stale_by(read, bound));
            let (finding, _) = bounded(&history, bound);
            assert_eq!(finding.is_valid(), expected, "{bound}: {finding}\n{history:#?}");
            seen[usize::from(expected)] += 1;
        }
    }
    assert!(seen[0] > 1000 && seen[1] > 1000, "{seen:?}");
}
