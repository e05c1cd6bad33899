//! Faults built in on purpose, one at a time, to show that the tests, the simulator and `consort verify` find them. Not in a normal build.

use serde::{Deserialize, Serialize};

/// A fault to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bug {
    /// A mutation is applied though what it depends on is not.
    DependenciesIgnored,
    /// A write is told to others before it is durable here.
    ToldBeforeDurable,
    /// A write has the time of the wall clock, whatever was seen.
    ClockTakenRaw,
    /// A mutation that comes twice is applied twice.
    AppliedTwice,
    /// What is applied is told to be durable.
    HoldsBeforeDurable,
    /// Mutations of one origin are applied in the order in which they come.
    GapsIgnored,
    /// What others made is not passed on.
    NothingRelayed,
    /// However far ahead a time is, it is taken.
    SkewIgnored,
    /// What is durable here is forgotten, whoever else has it.
    ForgottenEarly,
    /// What was made here is not added to a state from elsewhere.
    StateWithoutOwn,
    /// What is made while a state is on its way may be forgotten.
    ForgottenMeanwhile,
    /// Pieces of two lists of steps are put together.
    ListsMixed,
    /// A write is acknowledged, and what was read answered, before it is durable.
    AnsweredBeforeDurable,
    /// What is taken from a counter that has a bound is not looked at.
    RightsIgnored,
    /// A request of a leaderless keyspace goes on before what others hold is here.
    ReadBeforeCovered,
    /// One replica less is asked than there should be.
    ReadQuorumShort,
    /// A write is acknowledged when one replica less holds it than should.
    WriteQuorumShort,
    /// Who has nothing yet answers for what it ought to hold.
    CountsBeforeCaughtUp,
    /// A replica that is to go does so before others hold what it has.
    LeavesAtOnce,
    /// A record of the catalogue from before it had a seat makes a replica drop what it holds.
    OldCatalogueTaken,
    /// A replica that gets another origin takes itself for one of the others.
    CountsItself,
    /// What a node holds that stands in counts though the quorum is strict.
    HintCounted,
    /// A node that stands in says that it holds what is not durable there.
    HintedBeforeDurable,
    /// What is held for others is dropped when one of them has it.
    HintsDroppedEarly,
    /// There may be one replica more though not all know of the one before.
    RaisedUnknown,
    /// Other quorums hold as soon as they are heard of.
    QuorumsAtOnce,
    /// What was seen of parts is forgotten while a replica is away.
    SeenForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 27] = [
        Bug::DependenciesIgnored,
        Bug::ToldBeforeDurable,
        Bug::ClockTakenRaw,
        Bug::AppliedTwice,
        Bug::HoldsBeforeDurable,
        Bug::GapsIgnored,
        Bug::NothingRelayed,
        Bug::SkewIgnored,
        Bug::ForgottenEarly,
        Bug::StateWithoutOwn,
        Bug::ForgottenMeanwhile,
        Bug::ListsMixed,
        Bug::AnsweredBeforeDurable,
        Bug::RightsIgnored,
        Bug::ReadBeforeCovered,
        Bug::ReadQuorumShort,
        Bug::WriteQuorumShort,
        Bug::CountsBeforeCaughtUp,
        Bug::LeavesAtOnce,
        Bug::OldCatalogueTaken,
        Bug::CountsItself,
        Bug::HintCounted,
        Bug::HintedBeforeDurable,
        Bug::HintsDroppedEarly,
        Bug::RaisedUnknown,
        Bug::QuorumsAtOnce,
        Bug::SeenForgotten,
    ];
}
