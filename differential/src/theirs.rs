//! The core of TiKV: the crate `raft` 0.7.0, with leases and quorum checks off.

use bytes::Bytes;
use raft::eraftpb::{
    ConfState, Entry as RaftEntry, HardState, Message, MessageType, Snapshot as RaftSnapshot,
    SnapshotMetadata,
};
use raft::storage::MemStorage;
use raft::{Config, Raft, StateRole};

use crate::core::{Answer, Append, Core, Entry, Id, Members, Seen, Snapshot, Start, Vote};

pub struct Theirs {
    config: Config,
    raft: Raft<MemStorage>,
    held: bool,
    out: Vec<(Id, Message)>,
}

fn conf_state(members: &Members) -> ConfState {
    let mut state = ConfState::default();
    state.set_voters(members.voters.clone());
    state.set_voters_outgoing(members.outgoing.clone());
    state.set_learners(members.learners.clone());
    state
}

fn entry(index: u64, entry: &Entry) -> RaftEntry {
    let data = Bytes::copy_from_slice(&entry.content);
    RaftEntry { index, term: entry.term, data, ..RaftEntry::default() }
}

fn id_of(vote: u64) -> Option<Id> {
    (vote != 0).then_some(vote)
}

impl Theirs {
    fn make(config: &Config, storage: MemStorage) -> Raft<MemStorage> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        Raft::new(config, storage, &logger).expect("the state is sound")
    }

    fn message(&self, kind: MessageType, from: Id, term: u64) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.from = from;
        message.to = self.config.id;
        message.term = term;
        message
    }

    fn step(&mut self, message: Message) {
        // What it does not want to hear is no fault of either side.
        let _ = self.raft.step(message);
        self.finish();
    }

    /// What `RawNode` does with what is ready: first the disk, then the messages.
    fn finish(&mut self) {
        if !self.held {
            self.write_all();
        }
        let messages = std::mem::take(&mut self.raft.msgs);
        self.out.extend(messages.into_iter().map(|message| (message.to, message)));
        let committed = self.raft.raft_log.committed;
        let persisted = self.raft.raft_log.persisted;
        if self.raft.raft_log.applied() < committed.min(persisted) {
            self.raft.commit_apply(committed.min(persisted));
        }
    }

    fn write_all(&mut self) {
        let snapshot = self.raft.raft_log.unstable_snapshot().clone();
        if let Some(snapshot) = snapshot {
            let index = snapshot.get_metadata().index;
            self.raft.mut_store().wl().apply_snapshot(snapshot).expect("it is newer");
            self.raft.raft_log.stable_snap(index);
            self.raft.on_persist_snap(index);
        }
        let entries = self.raft.raft_log.unstable_entries().to_vec();
        let state = self.raft.hard_state();
        self.raft.mut_store().wl().set_hardstate(state);
        if let Some(last) = entries.last() {
            let (index, term) = (last.index, last.term);
            self.raft.mut_store().wl().append(&entries).expect("there is no gap");
            self.raft.raft_log.stable_entries(index, term);
            self.raft.on_persist_entries(index, term);
        }
    }

    /// What it said to a message of `term`. To one whose term is over it says something that only carries the new term.
    fn answer(&mut self, to: Id, term: u64) -> Answer {
        let answers = self.out.drain(..).filter(|(node, message)| *node == to && message.term == term);
        answers.fold(Answer::Nothing, |known, (_, message)| match message.get_msg_type() {
            MessageType::MsgAppendResponse if message.reject => Answer::Rejected,
            MessageType::MsgAppendResponse => Answer::Accepted(message.index),
            MessageType::MsgRequestVoteResponse if !message.reject => Answer::Granted,
            _ => known,
        })
    }
}

impl Core for Theirs {
    type Message = Message;

    fn start(start: &Start) -> Self {
        let config = Config {
            id: start.id,
            election_tick: 1_000_000,
            heartbeat_tick: 1,
            max_size_per_msg: u64::MAX,
            max_inflight_msgs: 1_000,
            check_quorum: false,
            pre_vote: true,
            ..Config::default()
        };
        let storage = MemStorage::new();
        {
            let mut disk = storage.wl();
            disk.set_conf_state(conf_state(&start.members));
            let entries: Vec<RaftEntry> =
                start.log.iter().zip(1..).map(|(one, index)| entry(index, one)).collect();
            disk.append(&entries).expect("there is no gap");
            let mut state = HardState::default();
            (state.term, state.vote, state.commit) = (start.term, start.vote.unwrap_or(0), start.commit);
            disk.set_hardstate(state);
        }
        let raft = Theirs::make(&config, storage);
        Theirs { config, raft, held: false, out: Vec::new() }
    }

    fn restart(&mut self) {
        let storage = self.raft.store().clone();
        self.raft = Theirs::make(&self.config, storage);
        self.out.clear();
    }

    fn append(&mut self, append: &Append) -> Answer {
        let mut message = self.message(MessageType::MsgAppend, append.from, append.term);
        message.index = append.prev_index;
        message.log_term = append.prev_term;
        message.commit = append.commit;
        let entries = append.entries.iter().zip(append.prev_index + 1..);
        message.set_entries(entries.map(|(one, index)| entry(index, one)).collect());
        self.step(message);
        self.answer(append.from, append.term)
    }

    fn vote(&mut self, vote: &Vote) -> Answer {
        let mut message = self.message(MessageType::MsgRequestVote, vote.from, vote.term);
        message.index = vote.last_index;
        message.log_term = vote.last_term;
        self.step(message);
        self.answer(vote.from, vote.term)
    }

    fn snapshot(&mut self, snapshot: &Snapshot, members: &Members) {
        let mut message = self.message(MessageType::MsgSnapshot, snapshot.from, snapshot.term);
        let (index, term) = (snapshot.index, snapshot.index_term);
        let mut meta = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
        meta.set_conf_state(conf_state(members));
        let mut content = RaftSnapshot::default();
        content.set_metadata(meta);
        message.set_snapshot(content);
        self.step(message);
    }

    fn wait(&mut self) {}

    fn campaign(&mut self) {
        let message = self.message(MessageType::MsgHup, 0, 0);
        self.step(message);
    }

    fn lead_with(&mut self, granting: &[Id]) {
        self.campaign();
        for _ in 0..2 {
            for (to, asked) in std::mem::take(&mut self.out) {
                let kind = match asked.get_msg_type() {
                    MessageType::MsgRequestPreVote => MessageType::MsgRequestPreVoteResponse,
                    MessageType::MsgRequestVote => MessageType::MsgRequestVoteResponse,
                    _ => continue,
                };
                if !granting.contains(&to) {
                    continue;
                }
                let granted = self.message(kind, to, asked.term);
                // What it writes as a leader is held back.
                self.held = true;
                self.step(granted);
                self.held = self.raft.state == StateRole::Leader;
                self.finish();
            }
        }
        self.out.clear();
    }

    fn propose(&mut self, content: &[u8]) -> bool {
        let mut message = self.message(MessageType::MsgPropose, self.config.id, 0);
        let proposed = RaftEntry { data: Bytes::copy_from_slice(content), ..RaftEntry::default() };
        message.set_entries(vec![proposed].into());
        let accepted = self.raft.state == StateRole::Leader && self.raft.step(message).is_ok();
        self.finish();
        accepted
    }

    fn acknowledge(&mut self, from: Id, index: u64) {
        let mut message = self.message(MessageType::MsgAppendResponse, from, self.raft.term);
        message.index = index;
        self.step(message);
    }

    fn hold(&mut self) {
        self.held = true;
    }

    fn release(&mut self) {
        self.held = false;
        self.finish();
    }

    fn beat(&mut self) {
        if self.raft.state == StateRole::Leader {
            self.raft.tick();
            self.finish();
        }
    }

    fn deliver(&mut self, _from: Id, message: Message) {
        self.step(message);
    }

    fn outbox(&mut self) -> Vec<(Id, Message)> {
        std::mem::take(&mut self.out)
    }

    fn seen(&self) -> Seen {
        let log = &self.raft.raft_log;
        let start = log.first_index() - 1;
        let terms = (start + 1..=log.last_index()).map(|index| log.term(index).unwrap_or(0));
        let durable = self.raft.store().rl().hard_state().clone();
        Seen {
            start,
            terms: terms.collect(),
            commit: log.committed,
            term: self.raft.term,
            vote: id_of(self.raft.vote),
            leads: self.raft.state == StateRole::Leader,
            durable: (durable.term, id_of(durable.vote)),
        }
    }

    fn log(&self) -> Vec<Entry> {
        let entries = self.raft.raft_log.all_entries();
        entries.into_iter().map(|one| Entry { term: one.term, content: one.data.to_vec() }).collect()
    }
}
