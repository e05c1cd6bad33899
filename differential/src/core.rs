//! What both cores are asked to do, and what of them is compared.

/// A node, from 1.
pub type Id = u64;

/// Who votes. While `outgoing` is not empty both majorities are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: Vec<Id>,
    pub outgoing: Vec<Id>,
    pub learners: Vec<Id>,
}

impl Members {
    /// All voters, each once.
    pub fn everyone(&self) -> Vec<Id> {
        let mut all: Vec<Id> = self.voters.iter().chain(&self.outgoing).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// An entry. Two of one index and term have the same content, as Raft has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub content: Vec<u8>,
}

/// What a replica has on its disk when it starts. The log begins at index 1.
#[derive(Clone, Debug)]
pub struct Start {
    pub id: Id,
    pub members: Members,
    pub log: Vec<Entry>,
    pub term: u64,
    pub vote: Option<Id>,
    pub commit: u64,
}

/// Entries of a leader, which follow the one at `prev_index`.
#[derive(Clone, Debug)]
pub struct Append {
    pub from: Id,
    pub term: u64,
    pub prev_index: u64,
    pub prev_term: u64,
    pub commit: u64,
    pub entries: Vec<Entry>,
}

/// A candidate asks for a vote.
#[derive(Clone, Debug)]
pub struct Vote {
    pub from: Id,
    pub term: u64,
    pub last_index: u64,
    pub last_term: u64,
}

/// A snapshot of everything up to `index`, from a leader.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub from: Id,
    pub term: u64,
    pub index: u64,
    pub index_term: u64,
}

/// What a replica says to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its log equals the leader's up to here.
    Accepted(u64),
    /// The entries do not fit.
    Rejected,
    /// It votes for the candidate.
    Granted,
    /// Nothing, or that the sender's term is over, or that there is no vote.
    Nothing,
}

/// What can be seen of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The log begins after this index,
    pub start: u64,
    /// and these are its terms from there on.
    pub terms: Vec<u64>,
    pub commit: u64,
    pub term: u64,
    pub vote: Option<Id>,
    pub leads: bool,
    /// Term and vote as its disk has them.
    pub durable: (u64, Option<Id>),
}

/// A core with its disk. Whatever it wants made durable is at once, unless `hold` was called.
pub trait Core {
    /// What replicas say to one another.
    type Message: Clone;

    fn start(start: &Start) -> Self;
    /// Stops and starts again: it has what was durable.
    fn restart(&mut self);
    fn append(&mut self, append: &Append) -> Answer;
    fn vote(&mut self, vote: &Vote) -> Answer;
    fn snapshot(&mut self, snapshot: &Snapshot, members: &Members);
    /// So much time passes that no promise to an earlier leader holds.
    fn wait(&mut self);
    /// Asks for votes (and for pre-votes, if it does that); what it sends is in the outbox.
    fn campaign(&mut self);
    /// `campaign`, and these voters grant whatever it asks them for.
    fn lead_with(&mut self, granting: &[Id]);
    /// Proposes, if it leads.
    fn propose(&mut self, content: &[u8]) -> bool;
    /// A follower holds the leader's log up to `index`, durably.
    fn acknowledge(&mut self, from: Id, index: u64);
    /// From now on nothing becomes durable until `release`.
    fn hold(&mut self);
    fn release(&mut self);
    /// If it leads: heartbeats go out.
    fn beat(&mut self);
    fn deliver(&mut self, from: Id, message: Self::Message);
    /// What it has sent since.
    fn outbox(&mut self) -> Vec<(Id, Self::Message)>;
    fn seen(&self) -> Seen;
    /// The log, from index 1 (of a core that never took a snapshot).
    fn log(&self) -> Vec<Entry>;
}
