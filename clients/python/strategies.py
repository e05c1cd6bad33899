"""redis-py in keyspaces whose replicas all take writes: every node is asked in turn, none of them leads."""

import time

import redis

from common import NODES, fails, run, same, true, until


def connect(node, **options):
    host, port = NODES[node]
    return redis.Redis(host=host, port=port, socket_timeout=30, decode_responses=True, **options)


def fields(reply):
    """A reply of names and values, as the version of the protocol has it."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))


def create(prefix, *options):
    r = connect(0)
    try:
        r.execute_command("KEYSPACE", "INFO", prefix)
    except redis.ResponseError:
        r.execute_command("KEYSPACE", "CREATE", prefix, "STRATEGY", *options)
    until(
        lambda: all(
            str(info["take_part"]) == str(info["replicas"])
            if "take_part" in (info := fields(connect(node).execute_command("KEYSPACE", "INFO", prefix)))
            else str(info["take_part_at_least"]) == str(info["replicas"])
            for node in range(len(NODES))
        ),
        f"all replicas of {prefix}",
    )
    for node in range(len(NODES)):
        until(lambda: writes(connect(node), f"{prefix}ready"), f"node {node} to serve {prefix}")
    # All of its groups, now.
    until(lambda: flushes(r), f"all of {prefix} to be served")


def flushes(r):
    try:
        return r.flushall()
    except redis.ResponseError:
        return False


def writes(r, key):
    try:
        return r.set(key, "1")
    except redis.ResponseError:
        return False


def types(prefix):
    """What each node writes, all nodes have."""

    def test():
        nodes = [connect(node) for node in range(len(NODES))]
        for number, r in enumerate(nodes):
            same(r.set(f"{prefix}string{number}", "x" * 100), True)
            true(r.incr(f"{prefix}counter") > 0, "INCR")
            same(r.hset(f"{prefix}hash", mapping={f"field{number}": number}), 1)
            same(r.sadd(f"{prefix}set", number), 1)
            same(r.zadd(f"{prefix}zset", {f"member{number}": number}), 1)
            true(r.rpush(f"{prefix}list", number) > 0, "RPUSH")
            same(r.set(f"{prefix}short{number}", "x", px=50), True)
        count = len(nodes)
        for r in nodes:
            until(lambda: r.get(f"{prefix}counter") == str(count), "the sum")
            until(lambda: r.scard(f"{prefix}set") == count, "the set")
            until(lambda: r.llen(f"{prefix}list") == count, "the list")
            until(lambda: r.zcard(f"{prefix}zset") == count, "the sorted set")
            until(lambda: r.hlen(f"{prefix}hash") == count, "the hash")
            same(sorted(r.smembers(f"{prefix}set")), [str(number) for number in range(count)])
            same(r.zrange(f"{prefix}zset", 0, 0, withscores=True), [("member0", 0.0)])
            until(lambda: not r.exists(f"{prefix}short0"), "the end of a key")
        same(nodes[0].delete(f"{prefix}set"), 1)
        for r in nodes:
            until(lambda: r.scard(f"{prefix}set") == 0, "the set to be gone")

    test.__name__ = f"types of {prefix}"
    return test


def together(prefix):
    """Pipelines and transactions."""

    def test():
        r = connect(1)
        with r.pipeline(transaction=False) as pipe:
            for number in range(200):
                pipe.set(f"{prefix}many{number}", number)
                pipe.get(f"{prefix}many{number}")
            replies = pipe.execute()
        same(replies[1::2], [str(number) for number in range(200)])
        with r.pipeline(transaction=True) as pipe:
            pipe.set(f"{prefix}{{slot}}a", 1)
            pipe.incrby(f"{prefix}{{slot}}b", 5)
            same(pipe.execute()[0], True)
        found = {key for key in connect(2).scan_iter(match=f"{prefix}many*", count=100)}
        until(
            lambda: len({key for key in connect(2).scan_iter(match=f"{prefix}many*", count=100)}) == 200,
            f"all keys, of which {len(found)} were there at first",
        )

    test.__name__ = f"pipelines of {prefix}"
    return test


def quorums():
    """What was acknowledged is seen, whichever node is asked; and what a connection asks for holds for that connection."""
    nodes = [connect(node, single_connection_client=True) for node in range(len(NODES))]
    for number in range(60):
        same(nodes[number % 3].set("lp:seen", number), True)
        same(nodes[(number + 1) % 3].get("lp:seen"), str(number))
    r = nodes[0]
    same(r.execute_command("CLIENT", "QUORUM", "R", "ONE", "W", "ALL") in (True, "OK"), True)
    same(r.set("lp:all", "1"), True)
    for other in nodes[1:]:
        same(other.execute_command("CLIENT", "QUORUM", "R", "ONE") in (True, "OK"), True)
        same(other.get("lp:all"), "1")
    fails(redis.ResponseError, "'none' is no number of replicas", r.execute_command, "CLIENT", "QUORUM", "R", "none")
    same(r.execute_command("CLIENT", "QUORUM", "W", "9") in (True, "OK"), True)
    fails(redis.ResponseError, "W 9 is out of range", r.set, "lp:all", "2")
    same(r.execute_command("CLIENT", "QUORUM", "DEFAULT") in (True, "OK"), True)
    fails(redis.ResponseError, "a leaderless keyspace does not compare and set", r.set, "lp:all", "2", nx=True)
    same(r.get("lp:all"), "1")


def siblings():
    """Two writes at the same time are both kept until somebody who has seen them writes."""
    one, other = connect(0), connect(1)
    for attempt in range(200):
        key = f"mp:cart{attempt}"
        with one.pipeline(transaction=False) as first, other.pipeline(transaction=False) as second:
            # Whether they meet is the network's: it is tried until they do.
            first.set(key, "apple")
            second.set(key, "pear")
            first.execute()
            second.execute()
        until(lambda: one.get(key) == other.get(key) is not None, "both to have both")
        time.sleep(0.02)
        found = one.execute_command("SIBLINGS", key)
        true(len(found) >= 1, "SIBLINGS")
    same(one.set("mp:cart0", "resolved"), True)
    until(lambda: other.get("mp:cart0") == "resolved", "what was resolved")


def session():
    """A session goes on at another node with what it has seen."""
    one, other = connect(0, single_connection_client=True), connect(2, single_connection_client=True)
    for number in range(30):
        same(one.set("mp:session", number), True)
        token = one.execute_command("CLIENT", "SESSION", "TOKEN")
        same(other.execute_command("CLIENT", "SESSION", "RESUME", token) in (True, "OK"), True)
        same(other.get("mp:session"), str(number))


def begin():
    create("mp:", "multi-primary")
    create("lp:", "leaderless", "R", "2", "W", "2")


run(
    begin,
    types("mp:"),
    types("lp:"),
    together("mp:"),
    together("lp:"),
    quorums,
    siblings,
    session,
)
