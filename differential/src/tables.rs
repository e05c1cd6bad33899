//! One replica in a state drawn at random, and one message or a few acknowledgements: both cores must decide alike.
//!
//! States and messages are such that a cluster can come to them: two logs share what is committed and then go on in terms
//! of their own, so that entries of one index and term are always the same entry.

use crate::core::{Answer, Append, Core, Entry, Id, Members, Seen, Snapshot, Start, Vote};
use crate::ours::Ours;
use crate::random::Random;
use crate::report::Tally;
use crate::theirs::Theirs;

/// The replica that is looked at.
const SELF: Id = 1;
/// The one that leads or wants to.
const OTHER: Id = 2;

fn entry(term: u64, index: u64) -> Entry {
    Entry { term, content: format!("{index}/{term}").into_bytes() }
}

/// Goes on with a log: `count` entries in terms that rise in twos from above the last one, even or odd.
fn extend(log: &mut Vec<Entry>, count: u64, odd: u64, random: &mut Random) {
    let mut term = log.last().map_or(0, |last| last.term) / 2 + 1;
    for _ in 0..count {
        term += random.below(2);
        log.push(entry(2 * term + odd, log.len() as u64 + 1));
    }
}

/// The replica, and the log of another that holds all that is committed here.
fn draw(random: &mut Random) -> (Start, Vec<Entry>) {
    let mut shared = Vec::new();
    extend(&mut shared, random.below(5), 0, random);
    let commit = random.below(shared.len() as u64 + 1);
    let (mut own, mut other) = (shared.clone(), shared);
    extend(&mut own, random.below(4), 1, random);
    extend(&mut other, random.below(5), 0, random);
    let last = own.last().map_or(0, |last| last.term);
    let term = (last + random.below(4)).max(1);
    let vote = *random.pick(&[None, None, Some(SELF), Some(OTHER), Some(3)]);
    let members = Members { voters: vec![1, 2, 3], ..Members::default() };
    (Start { id: SELF, members, log: own, term, vote, commit }, other)
}

fn term_at(log: &[Entry], index: u64) -> u64 {
    index.checked_sub(1).map_or(0, |before| log[before as usize].term)
}

/// A term in which the holder of `log` may lead, and in which this replica has no entries of another leader.
fn leading_term(start: &Start, log: &[Entry], random: &mut Random) -> Option<u64> {
    let least = term_at(log, log.len() as u64).max(1);
    let term =
        *random.pick(&[least, start.term.saturating_sub(1), start.term, start.term + 1, start.term + 3]);
    let others = start.log.iter().zip(1..).any(|(own, index)| {
        own.term == term && log.get(index as usize - 1).is_none_or(|entry| entry.term != term)
    });
    (term >= least && !others).then_some(term)
}

fn differ(
    what: &str,
    ours: &impl std::fmt::Debug,
    theirs: &impl std::fmt::Debug,
    case: String,
) -> Result<(), String> {
    Err(format!("{what}\n  ours   {ours:?}\n  theirs {theirs:?}\n  {case}"))
}

fn compare(ours: &Ours, theirs: &Theirs, case: impl Fn() -> String) -> Result<(), String> {
    let (ours, theirs) = (ours.seen(), theirs.seen());
    if ours == theirs { Ok(()) } else { differ("another state", &ours, &theirs, case()) }
}

/// A leader's entries.
pub fn append(random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let (start, leader) = draw(random);
    let Some(term) = leading_term(&start, &leader, random) else { return Ok(()) };
    let prev_index = random.below(leader.len() as u64 + 1);
    let count = random.below(leader.len() as u64 - prev_index + 1);
    let commit = random.below(leader.len() as u64 + 1);
    let entries = leader[prev_index as usize..(prev_index + count) as usize].to_vec();
    let message =
        Append { from: OTHER, term, prev_index, prev_term: term_at(&leader, prev_index), commit, entries };
    let (mut ours, mut theirs) = (Ours::start(&start), Theirs::start(&start));
    let case = || format!("{start:?}\n  {message:?}");
    let answer = ours.append(&message);
    let their_answer = theirs.append(&after_commit(&message, &start, tally));
    tally.count("append", matches!(answer, Answer::Accepted(_)));
    if answer != their_answer {
        return differ("another answer to an append", &answer, &their_answer, case());
    }
    compare(&ours, &theirs, case)
}

/// Allowed difference: a message that begins before the commit index is ignored by TiKV's core, but for the answer that all up
/// to there is known. Ours takes what comes after it. So theirs is given that part.
fn after_commit(message: &Append, start: &Start, tally: &mut Tally) -> Append {
    let known = start.commit.saturating_sub(message.prev_index) as usize;
    if known == 0 || message.term < start.term {
        return message.clone();
    }
    tally.allow("an append that begins before the commit index");
    let entries = message.entries.get(known..).unwrap_or_default().to_vec();
    let prev_term = term_at(&start.log, start.commit);
    Append { prev_index: start.commit, prev_term, entries, ..message.clone() }
}

/// A candidate.
pub fn vote(random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let (start, candidate) = draw(random);
    let term = (start.term + random.below(4)).saturating_sub(1).max(1);
    let (last_index, last_term) = match random.chance(70) {
        true => (candidate.len() as u64, term_at(&candidate, candidate.len() as u64)),
        false => (random.below(9), random.below(12)),
    };
    let message = Vote { from: OTHER, term, last_index, last_term };
    let (mut ours, mut theirs) = (Ours::start(&start), Theirs::start(&start));
    let case = || format!("{start:?}\n  {message:?}");
    let (answer, their_answer) = (ours.vote(&message), theirs.vote(&message));
    tally.count("vote", answer == Answer::Granted);
    if answer != their_answer {
        return differ("another answer to a candidate", &answer, &their_answer, case());
    }
    compare(&ours, &theirs, case)?;
    // Nor may a restart change whom it voted for.
    ours.restart();
    theirs.restart();
    let again = Vote { from: 3, last_index: 99, last_term: term, ..message };
    let (answer, their_answer) = (ours.vote(&again), theirs.vote(&again));
    tally.count("vote after a restart", answer == Answer::Granted);
    if answer != their_answer {
        return differ(
            "another answer after a restart",
            &answer,
            &their_answer,
            format!("{start:?}\n  {again:?}"),
        );
    }
    Ok(())
}

/// A leader's snapshot.
pub fn snapshot(random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let (start, leader) = draw(random);
    let Some(term) = leading_term(&start, &leader, random) else { return Ok(()) };
    if leader.is_empty() || term < start.term {
        return Ok(());
    }
    let index = random.between(1, leader.len() as u64);
    let message = Snapshot { from: OTHER, term, index, index_term: term_at(&leader, index) };
    let (mut ours, mut theirs) = (Ours::start(&start), Theirs::start(&start));
    ours.snapshot(&message, &start.members);
    theirs.snapshot(&message, &start.members);
    tally.count("snapshot", ours.seen().start > 0);
    // What is on the disk of a replica that took a snapshot is its driver's doing.
    let state = |seen: Seen| Seen { durable: (0, None), ..seen };
    let (ours, theirs) = (state(ours.seen()), state(theirs.seen()));
    match ours == theirs {
        true => Ok(()),
        false => {
            differ("another state after a snapshot", &ours, &theirs, format!("{start:?}\n  {message:?}"))
        }
    }
}

const SETS: [(&[Id], &[Id]); 5] = [
    (&[1, 2, 3], &[]),
    (&[1, 2, 3, 4, 5], &[]),
    (&[1, 2, 3], &[1, 4, 5]),
    (&[1, 2, 3, 4], &[3, 4, 5]),
    (&[2, 3, 4], &[1, 2, 5]),
];

/// Who is elected by which votes, and what a leader commits by which acknowledgements.
pub fn lead(random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let (mut start, _) = draw(random);
    let (voters, outgoing) = *random.pick(&SETS);
    start.members = Members { voters: voters.to_vec(), outgoing: outgoing.to_vec(), learners: vec![6] };
    let everyone = start.members.everyone();
    let others: Vec<Id> = everyone.iter().copied().filter(|&id| id != SELF).collect();
    let granting: Vec<Id> = others.iter().copied().filter(|_| random.chance(65)).collect();
    let (mut ours, mut theirs) = (Ours::start(&start), Theirs::start(&start));
    ours.lead_with(&granting);
    theirs.lead_with(&granting);
    let mut story = format!("{start:?}\n  votes of {granting:?}");
    let leads = (ours.seen().leads, theirs.seen().leads);
    tally.count("election", leads.0);
    if leads.0 != leads.1 {
        return differ("another outcome of an election", &leads.0, &leads.1, story);
    }
    if !leads.0 {
        return Ok(());
    }
    let joint = start.members.outgoing.len() > 1;
    for _ in 0..12 {
        match random.below(5) {
            0 => {
                story.push_str(", proposal");
                let accepted = (ours.propose(b"new"), theirs.propose(b"new"));
                if accepted.0 != accepted.1 {
                    return differ("a proposal", &accepted.0, &accepted.1, story);
                }
            }
            1 => {
                story.push_str(", its own disk");
                ours.release();
                theirs.release();
                ours.hold();
                theirs.hold();
            }
            _ => {
                let from = *random.pick(&[&others[..], &[6]].concat());
                let index = random.below(ours.seen().terms.len() as u64 + 1);
                story.push_str(&format!(", {from} holds {index}"));
                ours.acknowledge(from, index);
                theirs.acknowledge(from, index);
            }
        }
        let (seen, theirs) = (ours.seen(), theirs.seen());
        // Allowed difference: ours leaves a joint membership by an entry of its own as soon as it may, and goes on under the new
        // one; theirs waits to be told. So the first commit is what is compared.
        if joint && theirs.commit > start.commit && seen.commit >= theirs.commit {
            tally.count("joint commit", true);
            return Ok(());
        }
        tally.count("commit", seen.commit > start.commit);
        let pair = ((seen.commit, &seen.terms, seen.leads), (theirs.commit, &theirs.terms, theirs.leads));
        if pair.0 != pair.1 {
            return differ("another commit or log of a leader", &pair.0, &pair.1, story);
        }
    }
    Ok(())
}
