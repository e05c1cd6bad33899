//! Faults built in on purpose, one at a time, to show that the tests and the simulator find them. Not in a normal build.

use serde::{Deserialize, Serialize};

/// A fault to plant ([`Options::planted`](super::Options)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bug {
    /// A candidate counts its own vote before it is durable, and asks for votes before that.
    OwnVoteBeforeDurable,
    /// A leader counts its own log before it is durable.
    OwnLogBeforeDurable,
    /// A lease lasts three times as long as the followers' promise.
    LeaseTooLong,
    /// While joint, the majority of the incoming voters is taken as enough.
    JointNeedsOneMajority,
    /// A leader answers reads without a lease and without asking anyone.
    ReadWithoutConfirming,
    /// A truncated membership entry stays in force.
    MembershipNotReverted,
    /// An entry of an earlier term is committed by counting its copies.
    CommitOfEarlierTerm,
    /// Votes are given to candidates whatever their log.
    VoteWithoutLogCheck,
    /// An acknowledgement or a vote is sent before it is durable.
    AnswerBeforeDurable,
    /// A follower takes entries without looking at the one before.
    AppendWithoutCheck,
    /// After a restart votes are given at once, though a promise to a leader may still hold.
    NoPromiseAfterRestart,
    /// A leader keeps its lease while it hands leadership over.
    LeaseDuringTransfer,
    /// A snapshot throws away entries after it that have been acknowledged.
    SnapshotDropsSuffix,
    /// What is persisted is the term and vote before the present ones.
    VoteNotPersisted,
    /// A snapshot carries the membership of the one before it, not its own.
    SnapshotWithOldMembership,
    /// The log is cut when a snapshot is begun, not when it is durable.
    LogTruncatedTooEarly,
    /// A request that the network doubled on its way from another node is executed twice.
    DuplicateApply,
    /// Only the leader remembers idempotency tokens.
    TokenLost,
    /// Followers delete keys whose time has come by their own clocks.
    ExpiryByFollower,
    /// The commit index that goes to disk is that of the last entry, committed or not.
    CommitIndexAhead,
    /// A replica that has forgotten what it acknowledged votes before it has caught up.
    NewcomerVotes,
    /// A replica that the catalogue known here does not want is given up, whatever the replica knows.
    GivenUpTooEarly,
    /// Who is to be in sync is taken at its word although it may know only configurations from before it was wanted.
    AdmitsUnvouched,
    /// The steward's changes of the catalogue hold for any epoch.
    ChangeOfAnyEpoch,
    /// A partition that was split goes on serving what is its child's now.
    ServesWhatWasSplitOff,
    /// The log of a partition is cut after a split before a majority holds the child.
    SplitForgottenTooEarly,
    /// A partition that came about by a split is not made durable soon, and its parent's log does not wait for that.
    SnapshotBeforeChildIsDurable,
    /// A primary acknowledges what only it holds, whatever the keyspace asks for.
    AcknowledgedBeforeShipped,
    /// A primary calls stable what members in sync do not hold.
    StaleInSyncSet,
    /// A replica that holds less than others leads as soon as it is appointed.
    LaggingReplicaPromoted,
    /// A primary acknowledges without a lease.
    MissingFence,
    /// What a deposed primary had more than its successor is dropped.
    SuffixNotSaved,
    /// A replica that came back without the end of its log takes it for whole.
    NeverInDoubt,
    /// A primary calls stable what members hold in memory.
    StableBeforeDurable,
    /// A replica answers a session whatever that has seen.
    SeenIgnored,
    /// A replica answers a read with a bound whatever its age.
    BoundIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 36] = [
        Bug::OwnVoteBeforeDurable,
        Bug::OwnLogBeforeDurable,
        Bug::LeaseTooLong,
        Bug::JointNeedsOneMajority,
        Bug::ReadWithoutConfirming,
        Bug::MembershipNotReverted,
        Bug::CommitOfEarlierTerm,
        Bug::VoteWithoutLogCheck,
        Bug::AnswerBeforeDurable,
        Bug::AppendWithoutCheck,
        Bug::NoPromiseAfterRestart,
        Bug::LeaseDuringTransfer,
        Bug::SnapshotDropsSuffix,
        Bug::VoteNotPersisted,
        Bug::SnapshotWithOldMembership,
        Bug::LogTruncatedTooEarly,
        Bug::DuplicateApply,
        Bug::TokenLost,
        Bug::ExpiryByFollower,
        Bug::CommitIndexAhead,
        Bug::NewcomerVotes,
        Bug::GivenUpTooEarly,
        Bug::ChangeOfAnyEpoch,
        Bug::ServesWhatWasSplitOff,
        Bug::SplitForgottenTooEarly,
        Bug::SnapshotBeforeChildIsDurable,
        Bug::AcknowledgedBeforeShipped,
        Bug::StaleInSyncSet,
        Bug::AdmitsUnvouched,
        Bug::LaggingReplicaPromoted,
        Bug::MissingFence,
        Bug::SuffixNotSaved,
        Bug::NeverInDoubt,
        Bug::StableBeforeDurable,
        Bug::SeenIgnored,
        Bug::BoundIgnored,
    ];
}
