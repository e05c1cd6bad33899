//! Sorted sets.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command};
use crate::commands::sorted_set;

const MEMBERS: A = A::new("member", ArgumentKind::String).multiple();
const SORTBY: A = A::one_of("sortby", &[A::word("byscore", "BYSCORE"), A::word("bylex", "BYLEX")]).optional();
const LIMIT: A = A::block(
    "offset_count",
    &[A::new("offset", ArgumentKind::Integer), A::new("count", ArgumentKind::Integer)],
)
.token("LIMIT")
.optional();
const WITHSCORES: A = A::word("withscores", "WITHSCORES").optional();
const COUNT: A = A::new("count", ArgumentKind::Integer).optional();
const WHERE: A = A::one_of("where", &[A::word("min", "MIN"), A::word("max", "MAX")]);
const COUNT_OPTION: A = A::new("count", ArgumentKind::Integer).token("COUNT").optional();
const WEIGHT: A = A::new("weight", ArgumentKind::Integer).token("WEIGHTS").optional().multiple();
const AGGREGATE: A =
    A::one_of("aggregate", &[A::word("sum", "SUM"), A::word("min", "MIN"), A::word("max", "MAX")])
        .token("AGGREGATE")
        .optional();

pub(super) const ROWS: &[Command] = &[
    Command::write("zadd", -4, sorted_set::zadd)
        .flags("write denyoom fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.2.0",
            "O(M*log(N)) with N members and M given",
            "Adds members to a sorted set, or changes their scores.",
        )
        .arguments(&[
            KEY,
            A::one_of("condition", &[A::word("nx", "NX"), A::word("xx", "XX")]).optional(),
            A::one_of("comparison", &[A::word("gt", "GT"), A::word("lt", "LT")]).optional(),
            A::word("change", "CH").optional(),
            A::word("increment", "INCR").optional(),
            A::block(
                "score_member",
                &[A::new("score", ArgumentKind::Double), A::new("member", ArgumentKind::String)],
            )
            .multiple(),
        ]),
    Command::write("zincrby", 4, sorted_set::zincrby)
        .flags("write denyoom fast", "sortedset")
        .key()
        .docs("sorted-set", "1.2.0", "O(log(N)) with N members", "Adds to a member's score.")
        .arguments(&[
            KEY,
            A::new("increment", ArgumentKind::Integer),
            A::new("member", ArgumentKind::String),
        ]),
    Command::write("zrem", -3, sorted_set::zrem)
        .flags("write fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.2.0",
            "O(M*log(N)) with N members and M given",
            "Removes members of a sorted set and gives the number of those that were there.",
        )
        .arguments(&[KEY, MEMBERS]),
    Command::read("zscore", 3, sorted_set::zscore)
        .flags("readonly fast", "sortedset")
        .key()
        .docs("sorted-set", "1.2.0", "O(1)", "Gives a member's score.")
        .arguments(&[KEY, A::new("member", ArgumentKind::String)]),
    Command::read("zmscore", -3, sorted_set::zmscore)
        .flags("readonly fast", "sortedset")
        .key()
        .docs("sorted-set", "6.2.0", "O(N) with N members given", "Gives the scores of several members.")
        .arguments(&[KEY, MEMBERS]),
    Command::read("zcard", 2, sorted_set::zcard)
        .flags("readonly fast", "sortedset")
        .key()
        .docs("sorted-set", "1.2.0", "O(1)", "Gives the number of members of a sorted set.")
        .arguments(&[KEY]),
    Command::read("zcount", 4, sorted_set::zcount)
        .flags("readonly fast", "sortedset")
        .key()
        .docs("sorted-set", "2.0.0", "O(log(N)) with N members", "Counts the members between two scores.")
        .arguments(&[KEY, A::new("min", ArgumentKind::Double), A::new("max", ArgumentKind::Double)]),
    Command::read("zlexcount", 4, sorted_set::zlexcount)
        .flags("readonly fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N members and M given",
            "Counts the members between two, if all have the same score.",
        )
        .arguments(&[KEY, A::new("min", ArgumentKind::String), A::new("max", ArgumentKind::String)]),
    Command::read("zrank", -3, sorted_set::zrank)
        .flags("readonly fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.0.0",
            "O(log(N)) with N members",
            "Gives the number of members with lower scores.",
        )
        .arguments(&[
            KEY,
            A::new("member", ArgumentKind::String),
            A::word("withscore", "WITHSCORE").optional(),
        ]),
    Command::read("zrevrank", -3, sorted_set::zrevrank)
        .flags("readonly fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.0.0",
            "O(log(N)) with N members",
            "Gives the number of members with higher scores.",
        )
        .arguments(&[
            KEY,
            A::new("member", ArgumentKind::String),
            A::word("withscore", "WITHSCORE").optional(),
        ]),
    Command::read("zrange", -4, sorted_set::zrange)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two ranks, scores or members.",
        )
        .arguments(&[
            KEY,
            A::new("start", ArgumentKind::String),
            A::new("stop", ArgumentKind::String),
            SORTBY,
            A::word("rev", "REV").optional(),
            LIMIT,
            WITHSCORES,
        ]),
    Command::read("zrevrange", -4, sorted_set::zrevrange)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two ranks, from the highest score down.",
        )
        .arguments(&[
            KEY,
            A::new("start", ArgumentKind::Integer),
            A::new("stop", ArgumentKind::Integer),
            WITHSCORES,
        ]),
    Command::read("zrangebyscore", -4, sorted_set::zrangebyscore)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.0.5",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two scores.",
        )
        .arguments(&[
            KEY,
            A::new("min", ArgumentKind::Double),
            A::new("max", ArgumentKind::Double),
            WITHSCORES,
            LIMIT,
        ]),
    Command::read("zrevrangebyscore", -4, sorted_set::zrevrangebyscore)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.2.0",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two scores, from the highest down.",
        )
        .arguments(&[
            KEY,
            A::new("max", ArgumentKind::Double),
            A::new("min", ArgumentKind::Double),
            WITHSCORES,
            LIMIT,
        ]),
    Command::read("zrangebylex", -4, sorted_set::zrangebylex)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two, if all have the same score.",
        )
        .arguments(&[KEY, A::new("min", ArgumentKind::String), A::new("max", ArgumentKind::String), LIMIT]),
    Command::read("zrevrangebylex", -4, sorted_set::zrevrangebylex)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M) with N members and M given",
            "Gives the members between two in reverse, if all have the same score.",
        )
        .arguments(&[KEY, A::new("max", ArgumentKind::String), A::new("min", ArgumentKind::String), LIMIT]),
    Command::write("zrangestore", -5, sorted_set::zrangestore)
        .flags("write denyoom", "sortedset")
        .keys(1, 2, 1)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(log(N)+M) with N members and M given",
            "Puts the members between two ranks, scores or members into a key.",
        )
        .arguments(&[
            A::new("dst", ArgumentKind::Key),
            A::new("src", ArgumentKind::Key),
            A::new("min", ArgumentKind::String),
            A::new("max", ArgumentKind::String),
            SORTBY,
            A::word("rev", "REV").optional(),
            LIMIT,
        ]),
    Command::write("zremrangebyrank", 4, sorted_set::zremrangebyrank)
        .flags("write", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.0.0",
            "O(log(N)+M*log(N)) with N members and M removed",
            "Removes the members between two ranks.",
        )
        .arguments(&[KEY, A::new("start", ArgumentKind::Integer), A::new("stop", ArgumentKind::Integer)]),
    Command::write("zremrangebyscore", 4, sorted_set::zremrangebyscore)
        .flags("write", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "1.2.0",
            "O(log(N)+M*log(N)) with N members and M removed",
            "Removes the members between two scores.",
        )
        .arguments(&[KEY, A::new("min", ArgumentKind::Double), A::new("max", ArgumentKind::Double)]),
    Command::write("zremrangebylex", 4, sorted_set::zremrangebylex)
        .flags("write", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.8.9",
            "O(log(N)+M*log(N)) with N members and M removed",
            "Removes the members between two, if all have the same score.",
        )
        .arguments(&[KEY, A::new("min", ArgumentKind::String), A::new("max", ArgumentKind::String)]),
    Command::write("zpopmin", -2, sorted_set::zpopmin)
        .flags("write fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "5.0.0",
            "O(M*log(N)) with N members and M given",
            "Takes the members with the lowest scores.",
        )
        .arguments(&[KEY, COUNT]),
    Command::write("zpopmax", -2, sorted_set::zpopmax)
        .flags("write fast", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "5.0.0",
            "O(M*log(N)) with N members and M given",
            "Takes the members with the highest scores.",
        )
        .arguments(&[KEY, COUNT]),
    Command::write("zmpop", -4, sorted_set::zmpop)
        .flags("write movablekeys", "sortedset")
        .numkeys(1)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(K+M*log(N)) with K keys, N members and M given",
            "Takes members from the first of several sorted sets that has some.",
        )
        .arguments(&[A::new("numkeys", ArgumentKind::Integer), KEY.multiple(), WHERE, COUNT_OPTION]),
    Command::write("bzpopmin", -3, sorted_set::bzpopmin)
        .flags("write noscript blocking fast", "blocking sortedset")
        .keys(1, -2, 1)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(K+log(N)) with K keys and N members",
            "Takes the member with the lowest score from the first sorted set that has some; waits for one.",
        )
        .arguments(&[KEY.multiple(), A::new("timeout", ArgumentKind::Double)]),
    Command::write("bzpopmax", -3, sorted_set::bzpopmax)
        .flags("write noscript blocking fast", "blocking sortedset")
        .keys(1, -2, 1)
        .docs(
            "sorted-set",
            "5.0.0",
            "O(K+log(N)) with K keys and N members",
            "Takes the member with the highest score from the first sorted set that has some; waits for one.",
        )
        .arguments(&[KEY.multiple(), A::new("timeout", ArgumentKind::Double)]),
    Command::write("bzmpop", -5, sorted_set::bzmpop)
        .flags("write blocking movablekeys", "blocking sortedset")
        .numkeys(2)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(K+M*log(N)) with K keys, N members and M given",
            "Takes members from the first of several sorted sets that has some; waits for one.",
        )
        .arguments(&[
            A::new("timeout", ArgumentKind::Double),
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WHERE,
            COUNT_OPTION,
        ]),
    Command::read("zrandmember", -2, sorted_set::zrandmember)
        .flags("readonly", "sortedset")
        .key()
        .docs("sorted-set", "6.2.0", "O(N) with N members given", "Gives members of a sorted set by chance.")
        .arguments(&[
            KEY,
            A::block(
                "options",
                &[A::new("count", ArgumentKind::Integer), A::word("withscores", "WITHSCORES").optional()],
            )
            .optional(),
        ]),
    Command::read("zunion", -3, sorted_set::zunion)
        .flags("readonly movablekeys", "sortedset")
        .numkeys(1)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N*log(N)) with N members of all",
            "Gives the members that any of several sorted sets has.",
        )
        .arguments(&[
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WEIGHT,
            AGGREGATE,
            WITHSCORES,
        ]),
    Command::read("zinter", -3, sorted_set::zinter)
        .flags("readonly movablekeys", "sortedset")
        .numkeys(1)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N*log(N)) with N members of all",
            "Gives the members that all of several sorted sets have.",
        )
        .arguments(&[
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WEIGHT,
            AGGREGATE,
            WITHSCORES,
        ]),
    Command::read("zdiff", -3, sorted_set::zdiff)
        .flags("readonly movablekeys", "sortedset")
        .numkeys(1)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N*log(N)) with N members of all",
            "Gives the members that only the first of several sorted sets has.",
        )
        .arguments(&[A::new("numkeys", ArgumentKind::Integer), KEY.multiple(), WITHSCORES]),
    Command::write("zunionstore", -4, sorted_set::zunionstore)
        .flags("write denyoom movablekeys", "sortedset")
        .key()
        .numkeys(2)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(N*log(N)) with N members of all",
            "Puts the members that any of several sorted sets has into a key.",
        )
        .arguments(&[
            A::new("destination", ArgumentKind::Key),
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WEIGHT,
            AGGREGATE,
        ]),
    Command::write("zinterstore", -4, sorted_set::zinterstore)
        .flags("write denyoom movablekeys", "sortedset")
        .key()
        .numkeys(2)
        .docs(
            "sorted-set",
            "2.0.0",
            "O(N*log(N)) with N members of all",
            "Puts the members that all of several sorted sets have into a key.",
        )
        .arguments(&[
            A::new("destination", ArgumentKind::Key),
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WEIGHT,
            AGGREGATE,
        ]),
    Command::write("zdiffstore", -4, sorted_set::zdiffstore)
        .flags("write denyoom movablekeys", "sortedset")
        .key()
        .numkeys(2)
        .docs(
            "sorted-set",
            "6.2.0",
            "O(N*log(N)) with N members of all",
            "Puts the members that only the first of several sorted sets has into a key.",
        )
        .arguments(&[
            A::new("destination", ArgumentKind::Key),
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
        ]),
    Command::read("zintercard", -3, sorted_set::zintercard)
        .flags("readonly movablekeys", "sortedset")
        .numkeys(1)
        .docs(
            "sorted-set",
            "7.0.0",
            "O(N*log(N)) with N members of all",
            "Counts the members that all of several sorted sets have.",
        )
        .arguments(&[
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            A::new("limit", ArgumentKind::Integer).token("LIMIT").optional(),
        ]),
    Command::read("zscan", -3, sorted_set::zscan)
        .flags("readonly", "sortedset")
        .key()
        .docs(
            "sorted-set",
            "2.8.0",
            "O(N) with N members given",
            "Goes through the members of a sorted set, some at a time.",
        )
        .arguments(&[
            KEY,
            A::new("cursor", ArgumentKind::Integer),
            A::new("pattern", ArgumentKind::Pattern).token("MATCH").optional(),
            COUNT_OPTION,
        ]),
];
