//! Our core.

use std::time::Duration;

use bytes::Bytes;
use replication::contract::Write;
use replication::ordered::raft::{
    Bug, Effects, Entry as RaftEntry, EntryKind, HardState, Initial, Membership, Message, Options,
    PersistToken, Raft, SnapshotMeta,
};
use replication::{NodeId, PartitionId, Time};

use crate::core::{Answer, Append, Core, Entry, Id, Members, Seen, Snapshot, Start, Vote};

thread_local! {
    /// What is planted in cores that start on this thread.
    pub static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

pub struct Ours {
    id: Id,
    members: Members,
    raft: Raft,
    now: Time,
    starts: u64,
    held: bool,
    waiting: Vec<Waiting>,
    out: Vec<(Id, Message)>,
    /// The disk.
    state: HardState,
    log: Vec<RaftEntry>,
}

/// What waits for the disk.
struct Waiting {
    token: Option<PersistToken>,
    writes: Vec<Write>,
    then_send: Vec<(NodeId, Message)>,
}

fn membership(members: &Members) -> Membership {
    let ids = |ids: &[Id]| ids.iter().copied().map(NodeId).collect();
    Membership {
        voters: ids(&members.voters),
        outgoing: ids(&members.outgoing),
        learners: ids(&members.learners),
    }
}

fn entry(index: u64, entry: &Entry) -> RaftEntry {
    let kind = if entry.content.is_empty() { EntryKind::Noop } else { EntryKind::Normal };
    RaftEntry { index, term: entry.term, kind, payload: Bytes::copy_from_slice(&entry.content) }
}

/// Longer than any promise to a leader holds.
const PATIENCE: Duration = Duration::from_secs(2);

impl Ours {
    fn make(
        id: Id,
        members: &Members,
        state: HardState,
        log: Vec<RaftEntry>,
        now: Time,
        starts: u64,
    ) -> Raft {
        let snapshot = SnapshotMeta { membership: membership(members), ..SnapshotMeta::default() };
        let options =
            Options { planted: PLANTED.get(), max_apply_entries: u64::MAX / 2, ..Options::default() };
        let initial = Initial { hard_state: state, snapshot, entries: log };
        Raft::new(NodeId(id), PartitionId(0), options, initial, id << 32 | starts, now)
    }

    fn finish(&mut self) {
        loop {
            let mut effects = Effects::default();
            self.raft.finish(self.now, &mut effects);
            self.out.extend(effects.send.into_iter().map(|(to, message)| (to.0, message)));
            let writes = effects.persist;
            let nothing = writes.is_empty() && effects.send_after_persist.is_empty();
            if !nothing {
                let (token, then_send) = (effects.persist_token, effects.send_after_persist);
                self.waiting.push(Waiting { token, writes, then_send });
            }
            if let Some(last) = effects.committed.last() {
                self.raft.applied(last.index);
            }
            if self.held || self.waiting.is_empty() {
                return;
            }
            self.write_all();
        }
    }

    fn write_all(&mut self) {
        for Waiting { token, writes, then_send } in std::mem::take(&mut self.waiting) {
            for write in writes {
                self.write(write);
            }
            if let Some(token) = token {
                self.raft.persisted(token, self.now);
            }
            self.out.extend(then_send.into_iter().map(|(to, message)| (to.0, message)));
        }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Append { entry, .. } => {
                self.log.retain(|old| old.index < entry.index);
                self.log.push(entry);
            }
            Write::State { state, .. } => {
                self.state = HardState::decode(&state).expect("it was just encoded");
            }
            Write::Reset { .. } => self.log.clear(),
            Write::Trim { .. } | Write::Forget { .. } | Write::Lost { .. } => {}
        }
    }

    fn answer(&mut self, to: Id) -> Answer {
        self.finish();
        let answers = self.out.drain(..).filter(|(node, _)| *node == to);
        answers.fold(Answer::Nothing, |known, (_, message)| match message {
            Message::AppendOk { match_index, .. } => Answer::Accepted(match_index),
            Message::AppendReject { .. } => Answer::Rejected,
            Message::VoteGranted { .. } => Answer::Granted,
            _ => known,
        })
    }
}

impl Core for Ours {
    type Message = Message;

    fn start(start: &Start) -> Self {
        let state = HardState {
            term: start.term,
            vote: start.vote.map(NodeId),
            commit: start.commit,
            newcomer: false,
            version: 0,
            sound: None,
        };
        let log: Vec<RaftEntry> = start.log.iter().zip(1..).map(|(one, index)| entry(index, one)).collect();
        let now = Time(1_000_000_000);
        let raft = Ours::make(start.id, &start.members, state, log.clone(), now, 0);
        let mut ours = Ours {
            id: start.id,
            members: start.members.clone(),
            raft,
            now,
            starts: 0,
            held: false,
            waiting: Vec::new(),
            out: Vec::new(),
            state,
            log,
        };
        ours.finish();
        ours.wait();
        ours
    }

    fn restart(&mut self) {
        self.starts += 1;
        self.waiting.clear();
        self.out.clear();
        self.raft = Ours::make(self.id, &self.members, self.state, self.log.clone(), self.now, self.starts);
        self.finish();
        self.wait();
    }

    fn append(&mut self, append: &Append) -> Answer {
        let entries = append.entries.iter().zip(append.prev_index + 1..);
        let message = Message::Append {
            term: append.term,
            round: 1,
            prev_index: append.prev_index,
            prev_term: append.prev_term,
            commit: append.commit,
            admitted: 0,
            entries: entries.map(|(one, index)| entry(index, one)).collect(),
        };
        self.raft.step(NodeId(append.from), message, self.now);
        self.answer(append.from)
    }

    fn vote(&mut self, vote: &Vote) -> Answer {
        let Vote { from, term, last_index, last_term } = *vote;
        let message = Message::Vote { term, last_index, last_term, transfer: false };
        self.raft.step(NodeId(from), message, self.now);
        self.answer(from)
    }

    fn snapshot(&mut self, snapshot: &Snapshot, members: &Members) {
        if self.raft.hear_leader(NodeId(snapshot.from), snapshot.term, self.now) {
            let meta = SnapshotMeta {
                index: snapshot.index,
                term: snapshot.index_term,
                membership: membership(members),
                exact_at: snapshot.index,
                terms: Vec::new(),
            };
            self.raft.restore(&meta, self.now);
        }
        self.finish();
    }

    fn wait(&mut self) {
        self.now = self.now + PATIENCE;
    }

    fn campaign(&mut self) {
        self.raft.campaign(self.now);
        self.finish();
    }

    fn lead_with(&mut self, granting: &[Id]) {
        self.campaign();
        for _ in 0..2 {
            for (to, message) in std::mem::take(&mut self.out) {
                if !granting.contains(&to) {
                    continue;
                }
                let granted = match message {
                    Message::PreVote { term, .. } => Message::PreVoteGranted { term },
                    Message::Vote { term, .. } => Message::VoteGranted { term },
                    _ => continue,
                };
                self.raft.step(NodeId(to), granted, self.now);
            }
            if self.raft.is_leader() {
                self.held = true;
            }
            self.finish();
        }
        self.out.clear();
    }

    fn propose(&mut self, content: &[u8]) -> bool {
        let accepted = self.raft.propose(Bytes::copy_from_slice(content), self.now).is_ok();
        self.finish();
        accepted
    }

    fn acknowledge(&mut self, from: Id, index: u64) {
        let message = Message::AppendOk { term: self.raft.term(), round: 1, match_index: index, version: 0 };
        self.raft.step(NodeId(from), message, self.now);
        self.finish();
    }

    fn hold(&mut self) {
        self.held = true;
    }

    fn release(&mut self) {
        self.held = false;
        self.write_all();
        self.finish();
    }

    fn beat(&mut self) {
        if self.raft.is_leader() {
            self.now = self.now + Duration::from_millis(60);
            self.raft.tick(self.now);
            self.finish();
        }
    }

    fn deliver(&mut self, from: Id, message: Message) {
        self.raft.step(NodeId(from), message, self.now);
        self.finish();
    }

    fn outbox(&mut self) -> Vec<(Id, Message)> {
        std::mem::take(&mut self.out)
    }

    fn seen(&self) -> Seen {
        let raft = &self.raft;
        let terms = (raft.log_start() + 1..=raft.last_index())
            .map(|index| raft.meta_at(index).map_or(0, |meta| meta.term));
        Seen {
            start: raft.log_start(),
            terms: terms.collect(),
            commit: raft.commit(),
            term: raft.term(),
            vote: self.state.vote.filter(|_| self.state.term == raft.term()).map(|node| node.0),
            leads: raft.is_leader(),
            durable: (self.state.term, self.state.vote.map(|node| node.0)),
        }
    }

    fn log(&self) -> Vec<Entry> {
        self.log.iter().map(|one| Entry { term: one.term, content: one.payload.to_vec() }).collect()
    }
}
