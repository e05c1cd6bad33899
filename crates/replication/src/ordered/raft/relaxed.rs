//! Relaxed durability: a copy counts as soon as it would survive the death of the process, and is on the disk a moment later.
//!
//! A replica of a keyspace that is `DURABILITY relaxed` says two things of its log: how far it is *held* (written, so that the process
//! may die: [`Message::Held`]) and how far it is durable ([`Message::AppendOk`]). Acknowledgements count what is held. Everything
//! else goes by what is durable, as ever: *stable* is what every member in sync has on its disk, so whatever is applied by others
//! than the primary, trimmed or put into snapshots survives any failover, whichever machines lose power. Entries in between are
//! what a primary knows how to take back ([`super::appointed`]).
//!
//! What a dying machine takes with it is the end of a log that this replica had said to hold. It is *in doubt* then: others may have
//! acknowledged writes because of what it said. In doubt it neither leads on its own word nor vouches for others that do: one who is
//! not in doubt has to agree, or all who could know better ([`Raft::weigh_candidacy`]). The doubt ends when the replica holds everything that the
//! leader of its term had after the replica was back ([`Message::LogEnd`]): whatever it had ever said to hold is among that.
//!
//! Does a replica know that it lost something? The node counts how often it lost what was not on its disk
//! ([`Options::losses`](super::Options::losses)). A replica that takes what is held for enough has written that number before
//! ([`HardState::sound`](super::HardState::sound)); if the node's is another one now, it is in doubt.

use super::{Message, PersistToken, Raft};
use crate::NodeId;
use crate::time::Time;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Relaxed {
    /// [`HardState::sound`](super::HardState::sound) as it was at the start.
    sound_before: Option<u64>,
    in_doubt: bool,
    /// Tells the question of this life and term from earlier ones.
    question: u64,
    /// The answer: in this term, where the leader's log ended.
    covered_by: Option<(u64, u64)>,
    agreed: Option<Agreed>,
}

/// Up to here the log equals that of the leader.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    leader: NodeId,
    term: u64,
    round: u64,
    index: u64,
    /// The leader was told that it is durable up to here.
    told: u64,
}

impl Relaxed {
    pub fn new(sound_before: Option<u64>, losses: u64, question: u64) -> Relaxed {
        let in_doubt = sound_before.is_some_and(|sound| sound != losses);
        Relaxed { sound_before, in_doubt, question, ..Relaxed::default() }
    }
}

impl Raft {
    /// Does the keyspace want it so?
    pub(super) fn wants_relaxed(&self) -> bool {
        self.group().is_some_and(|group| group.policy.relaxed)
    }

    /// May this replica say that it holds what is not on its disk? Not before a restart would know of it.
    pub(super) fn is_relaxed(&self) -> bool {
        self.wants_relaxed() && self.persistence.sound_durable().is_some()
    }

    /// May this replica have lost entries that it had said to hold?
    pub fn is_in_doubt(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::NeverInDoubt) {
            return false;
        }
        self.appointed.as_ref().is_some_and(|appointed| appointed.relaxed.in_doubt)
    }

    /// What the state on disk has to say about that.
    pub(super) fn sound_to_write(&self) -> Option<u64> {
        let appointed = self.appointed.as_ref()?;
        match appointed.relaxed.in_doubt {
            true => appointed.relaxed.sound_before,
            false => self.wants_relaxed().then_some(self.options.losses),
        }
    }

    /// Everything that was handed out up to the one named by `token` is written: it survives the death of the process.
    pub fn written(&mut self, token: PersistToken) {
        if let Some(index) = self.persistence.reached(token) {
            self.log.set_held(index);
            self.end_doubt_if_covered();
        }
    }

    /// The log here equals the leader's up to `index`: says so when that may be counted on.
    pub(super) fn acknowledge_append(&mut self, to: NodeId, round: u64, index: u64) {
        let term = self.term();
        let version = self.version_vouched();
        let durable = Message::AppendOk { term, round, match_index: index, version };
        let relaxed = self.is_relaxed();
        let Some(appointed) = &mut self.appointed else { return self.send_after_persist(to, durable) };
        let former = appointed.relaxed.agreed.filter(|former| former.term == term);
        let (agreed, told) = former.map_or((index, 0), |former| (former.index.max(index), former.told));
        appointed.relaxed.agreed = Some(Agreed { leader: to, term, round, index: agreed, told });
        self.end_doubt_if_covered();
        if !relaxed || self.log.durable() >= index {
            return self.send_after_persist(to, durable);
        }
        // A term that is not on the disk could be forgotten, and with it that nothing of an earlier one is taken any more.
        match self.persistence.durable().term == term {
            true => self.outbox.send_after_write.push((to, Message::Held { term, round, index, version })),
            false => self.send_after_persist(to, durable),
        }
    }

    /// More of the log is on the disk: the leader is told of what it knows to be held already.
    pub(super) fn tell_durable(&mut self) {
        self.end_doubt_if_covered();
        let (term, leader, durable) = (self.term(), self.leader, self.log.durable());
        if !self.is_relaxed() {
            return;
        }
        let Some(agreed) = self.appointed.as_mut().and_then(|appointed| appointed.relaxed.agreed.as_mut())
        else {
            return;
        };
        let match_index = durable.min(agreed.index);
        if agreed.term != term || leader != Some(agreed.leader) || match_index <= agreed.told {
            return;
        }
        agreed.told = match_index;
        let (to, round) = (agreed.leader, agreed.round);
        let version = self.version_vouched();
        self.send(to, Message::AppendOk { term, round, match_index, version });
    }

    /// A member holds everything up to `index`, not durably yet.
    pub(super) fn on_held(&mut self, from: NodeId, index: u64, version: u64) {
        let last = self.log.last_index();
        let Some(leading) = &mut self.leading else { return };
        let Some(progress) = leading.progress.get_mut(&from) else { return };
        progress.hold(index.min(last));
        progress.vouch(version, index);
        progress.replicate();
    }

    /// With a sign of life of the leader: a replica in doubt asks what it lacks.
    pub(super) fn ask_for_log_end(&mut self, leader: NodeId) {
        let term = self.term();
        let Some(appointed) = &mut self.appointed else { return };
        let relaxed = &mut appointed.relaxed;
        if relaxed.in_doubt && relaxed.covered_by.is_none_or(|(of, _)| of != term) {
            let batch = relaxed.question;
            self.send(leader, Message::LogEnd { term, batch });
        }
    }

    /// A member asks where the log ends.
    pub(super) fn on_log_end(&mut self, from: NodeId, term: u64, batch: u64, now: Time) {
        self.catch_up_term(term, now);
        if self.is_leader() && term == self.term() {
            self.send(from, Message::LogEndOk { term, batch, index: self.log.last_index() });
        }
    }

    /// The leader's log ended there, after this replica had asked.
    pub(super) fn on_log_end_ok(&mut self, term: u64, batch: u64, index: u64) {
        let is_of_now = term == self.term();
        let Some(appointed) = &mut self.appointed else { return };
        if is_of_now && batch == appointed.relaxed.question {
            appointed.relaxed.covered_by = Some((term, index));
            self.end_doubt_if_covered();
        }
    }

    fn end_doubt_if_covered(&mut self) {
        let (term, held) = (self.term(), self.log.held());
        let Some(appointed) = &mut self.appointed else { return };
        let relaxed = &mut appointed.relaxed;
        let (Some((of, end)), Some(agreed)) = (relaxed.covered_by, relaxed.agreed) else { return };
        if of == term && agreed.term == term && agreed.index >= end && held >= end {
            self.end_doubt();
        }
    }

    /// This replica holds whatever it ever said to hold.
    pub(super) fn end_doubt(&mut self) {
        if let Some(appointed) = &mut self.appointed {
            appointed.relaxed.in_doubt = false;
        }
    }
}
