//! Whole clusters of either core through one schedule: partitions, crashes, elections, proposals. The schedule leaves nothing to
//! chance or time - messages pass at once unless their link is cut, and who campaigns when is said - so everything that Raft
//! decides is determined: who wins, which entries stand in which log, what is committed.
//!
//! Allowed difference: a live leader of ours is not deposed by another's campaign, and resigns without a majority. So a schedule
//! stops every leader before another node campaigns.

use std::collections::VecDeque;

use crate::core::{Core, Entry, Id, Members, Start};
use crate::ours::Ours;
use crate::random::Random;
use crate::report::Tally;
use crate::theirs::Theirs;

struct Cluster<C: Core> {
    nodes: Vec<C>,
    /// By node: its side of the present cut.
    side: Vec<u64>,
}

impl<C: Core> Cluster<C> {
    fn new(count: u64) -> Self {
        let members = Members { voters: (1..=count).collect(), ..Members::default() };
        let start =
            |id| Start { id, members: members.clone(), log: Vec::new(), term: 0, vote: None, commit: 0 };
        Cluster { nodes: (1..=count).map(|id| C::start(&start(id))).collect(), side: vec![0; count as usize] }
    }

    fn node(&mut self, id: Id) -> &mut C {
        &mut self.nodes[id as usize - 1]
    }

    /// Passes messages until there are none.
    fn settle(&mut self) {
        let mut queue = VecDeque::new();
        loop {
            for index in 0..self.nodes.len() {
                let from = index as Id + 1;
                queue.extend(self.nodes[index].outbox().into_iter().map(|(to, message)| (from, to, message)));
            }
            let Some((from, to, message)) = queue.pop_front() else { return };
            let whole = self.side[from as usize - 1] == self.side[to as usize - 1];
            if whole && to as usize <= self.nodes.len() {
                self.node(to).deliver(from, message);
            }
        }
    }

    /// Leaders speak to those that they can reach.
    fn beat(&mut self) {
        for _ in 0..6 {
            self.nodes.iter_mut().for_each(Core::beat);
            self.settle();
        }
    }

    fn campaign(&mut self, id: Id) -> bool {
        self.nodes.iter_mut().for_each(Core::wait);
        self.node(id).campaign();
        self.settle();
        self.node(id).seen().leads
    }

    fn propose(&mut self, id: Id, content: &str) -> bool {
        let accepted = self.node(id).propose(content.as_bytes());
        self.settle();
        accepted
    }

    fn stop_leaders(&mut self) {
        self.nodes.iter_mut().filter(|node| node.seen().leads).for_each(Core::restart);
    }

    fn restart(&mut self, id: Id) {
        self.node(id).restart();
    }

    /// What is compared: each node's log, its commit index, whether it leads.
    fn seen(&self) -> Vec<(Vec<Entry>, u64, bool)> {
        self.nodes.iter().map(|node| (node.log(), node.seen().commit, node.seen().leads)).collect()
    }
}

pub fn run(random: &mut Random, tally: &mut Tally) -> Result<(), String> {
    let count = *random.pick(&[3, 5]);
    let (mut ours, mut theirs) = (Cluster::<Ours>::new(count), Cluster::<Theirs>::new(count));
    let mut story = format!("{count} nodes");
    for step in 0..random.between(4, 12) {
        let side: Vec<u64> = (0..count).map(|_| u64::from(random.chance(35))).collect();
        story.push_str(&format!("\n  sides {side:?}"));
        (ours.side, theirs.side) = (side.clone(), side);
        for id in 1..=count {
            if random.chance(20) {
                story.push_str(&format!(", {id} restarts"));
                ours.restart(id);
                theirs.restart(id);
            }
        }
        if random.chance(70) {
            ours.stop_leaders();
            theirs.stop_leaders();
            let id = random.between(1, count);
            story.push_str(&format!(", {id} campaigns"));
            let won = (ours.campaign(id), theirs.campaign(id));
            tally.count("campaign", won.0);
            if won.0 != won.1 {
                return Err(format!("another outcome of an election: {won:?}\n  {story}"));
            }
        }
        for number in 0..random.below(4) {
            let id = random.between(1, count);
            let content = format!("{step}.{number}");
            let accepted = (ours.propose(id, &content), theirs.propose(id, &content));
            story.push_str(&format!(", {id} is asked to write {content}"));
            tally.count("proposal", accepted.0);
            if accepted.0 != accepted.1 {
                return Err(format!("a proposal: {accepted:?}\n  {story}"));
            }
        }
        // Heartbeats; not where a leader of ours would notice that it has no majority.
        if whole(&ours.side) {
            ours.beat();
            theirs.beat();
        }
        compare(&ours, &theirs, &story, false)?;
    }
    heal(&mut ours, &mut theirs, &mut story, random, tally)
}

fn whole(side: &[u64]) -> bool {
    side.iter().all(|&one| one == side[0])
}

/// All links work; somebody must come to lead, and all must come to hold the same.
fn heal(
    ours: &mut Cluster<Ours>,
    theirs: &mut Cluster<Theirs>,
    story: &mut String,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let count = ours.nodes.len() as u64;
    (ours.side, theirs.side) = (vec![0; count as usize], vec![0; count as usize]);
    ours.stop_leaders();
    theirs.stop_leaders();
    story.push_str("\n  healed");
    let first = random.below(count);
    for id in (0..count).map(|more| (first + more) % count + 1) {
        let won = (ours.campaign(id), theirs.campaign(id));
        story.push_str(&format!(", {id} campaigns"));
        if won.0 != won.1 {
            return Err(format!("another outcome of an election: {won:?}\n  {story}"));
        }
        if won.0 {
            ours.propose(id, "last");
            theirs.propose(id, "last");
            ours.beat();
            theirs.beat();
            tally.count("healed", true);
            return compare(ours, theirs, story, true);
        }
    }
    Err(format!("nobody can be elected\n  {story}"))
}

fn compare(
    ours: &Cluster<Ours>,
    theirs: &Cluster<Theirs>,
    story: &str,
    converged: bool,
) -> Result<(), String> {
    let (ours, theirs) = (ours.seen(), theirs.seen());
    for (id, (one, other)) in ours.iter().zip(&theirs).enumerate() {
        // A follower learns what is committed with the next heartbeat, sooner or later: it counts at the end.
        let same = one.0 == other.0 && one.2 == other.2 && (one.1 == other.1 || !(converged || one.2));
        if !same {
            return Err(format!("node {}\n  ours   {one:?}\n  theirs {other:?}\n  {story}", id + 1));
        }
    }
    if converged && ours.iter().any(|one| one.0 != ours[0].0 || one.1 != ours[0].0.len() as u64) {
        return Err(format!("not all hold the same, committed: {ours:?}\n  {story}"));
    }
    Ok(())
}
