"""Every family of commands through the typed interface of redis-py, on one connection or on a cluster client.

Keys that one command names together share a hash tag, so that the same tests hold for both.
"""

import time

import redis

from common import fails, same, true, until

BIG = 5 << 20


def strings(r):
    same(r.set("s:a", "1"), True)
    same(r.get("s:a"), b"1")
    same(r.get("s:none"), None)
    same(r.set("s:a", "2", nx=True), None)
    same(r.set("s:b", "2", xx=True), None)
    same(r.set("s:a", "2", xx=True, get=True), b"1")
    same(r.getset("s:a", "3"), b"2")
    same(r.setnx("s:a", "4"), False)
    same(r.setnx("s:c", "4"), True)
    same(r.getdel("s:c"), b"4")
    same(r.exists("s:c"), 0)
    same(r.append("s:a", "45"), 3)
    same(r.strlen("s:a"), 3)
    same(r.getrange("s:a", 1, -1), b"45")
    same(r.setrange("s:a", 5, "x"), 6)
    same(r.get("s:a"), b"345\0\0x")
    same(r.mset({"{s}m1": "a", "{s}m2": "b", "{s}m3": b"\xff\0\r\n"}), True)
    same(r.mget("{s}m1", "{s}none", "{s}m3", "{s}m2"), [b"a", None, b"\xff\0\r\n", b"b"])
    same(r.msetnx({"{s}n1": "a", "{s}n2": "b"}), True)
    same(r.msetnx({"{s}n2": "c", "{s}n3": "d"}), False)
    same(r.exists("{s}n3"), 0)
    same(r.incr("s:n"), 1)
    same(r.incrby("s:n", 10), 11)
    same(r.decr("s:n"), 10)
    same(r.decrby("s:n", 30), -20)
    same(r.incrbyfloat("s:f", 1.5), 1.5)
    same(r.incrbyfloat("s:f", "2.25"), 3.75)
    same(r.get("s:f"), b"3.75")
    same(r.set("", "the empty key"), True)
    same(r.get(""), b"the empty key")
    fails(redis.ResponseError, "value is not an integer or out of range", r.incr, "s:a")
    same(r.set("s:max", str(2**63 - 1)), True)
    fails(redis.ResponseError, "increment or decrement would overflow", r.incr, "s:max")
    fails(redis.ResponseError, "wrong number of arguments for 'get' command", r.execute_command, "GET", "a", "b")
    fails(redis.ResponseError, "syntax error", r.execute_command, "SET", "s:a", "1", "NONSENSE")


def bits(r):
    same(r.setbit("b:a", 7, 1), 0)
    same(r.setbit("b:a", 7, 0), 1)
    same(r.setbit("b:a", 100, 1), 0)
    same(r.getbit("b:a", 100), 1)
    same(r.getbit("b:a", 101), 0)
    same(r.strlen("b:a"), 13)
    same(r.set("b:b", "foobar"), True)
    same(r.bitcount("b:b"), 26)
    same(r.bitcount("b:b", 1, 1), 6)
    same(r.bitcount("b:b", 5, 30, "BIT"), 17)
    same(r.set("b:c", b"\xff\xf0\x00"), True)
    same(r.bitpos("b:c", 0), 12)
    same(r.bitpos("b:c", 1, 2), -1)
    fails(redis.ResponseError, "bit is not an integer or out of range", r.execute_command, "SETBIT", "b:a", "1", "2")


def keys(r):
    same(r.set("{k}a", "1"), True)
    same(r.set("{k}b", "2"), True)
    same(r.exists("{k}a", "{k}a", "{k}b", "{k}none"), 3)
    same(r.touch("{k}a", "{k}none"), 1)
    same(r.type("{k}a"), b"string")
    same(r.type("{k}none"), b"none")
    same(r.rename("{k}a", "{k}c"), True)
    same(r.exists("{k}a"), 0)
    same(r.renamenx("{k}c", "{k}b"), False)
    same(r.renamenx("{k}c", "{k}d"), True)
    fails(redis.ResponseError, "no such key", r.rename, "{k}none", "{k}x")
    same(r.copy("{k}d", "{k}e"), True)
    same(r.copy("{k}d", "{k}e"), False)
    same(r.copy("{k}b", "{k}e", replace=True), True)
    same(r.get("{k}e"), b"2")
    same(r.delete("{k}d", "{k}e", "{k}none"), 2)
    same(r.unlink("{k}b"), 1)
    same(r.set("k:n", "12"), True)
    same(r.object("encoding", "k:n"), b"int")
    true(r.memory_usage("k:n") > 0, "MEMORY USAGE")


def expiry(r):
    now = int(time.time())
    same(r.set("e:a", "1", ex=100), True)
    true(98 <= r.ttl("e:a") <= 100, "TTL")
    true(98_000 < r.pttl("e:a") <= 100_000, "PTTL")
    true(abs(r.expiretime("e:a") - now - 100) <= 3, "EXPIRETIME")
    same(r.set("e:a", "2", keepttl=True), True)
    true(r.ttl("e:a") > 90, "KEEPTTL")
    same(r.persist("e:a"), True)
    same(r.persist("e:a"), False)
    same(r.ttl("e:a"), -1)
    same(r.ttl("e:none"), -2)
    same(r.expire("e:a", 50), True)
    same(r.expire("e:a", 10, gt=True), False)
    same(r.expire("e:a", 10, lt=True), True)
    same(r.expire("e:a", 10, nx=True), False)
    same(r.pexpire("e:a", 20_000, xx=True), True)
    same(r.expireat("e:a", now + 1000), True)
    same(r.pexpireat("e:a", (now + 2000) * 1000), True)
    same(r.pexpiretime("e:a"), (now + 2000) * 1000)
    same(r.getex("e:a", persist=True), b"2")
    same(r.getex("e:a", ex=60), b"2")
    same(r.setex("e:b", 60, "x"), True)
    same(r.psetex("e:b", 60_000, "y"), True)
    same(r.expire("e:b", -1), True)
    same(r.get("e:b"), None)
    same(r.set("e:c", "soon gone", px=60), True)
    until(lambda: r.get("e:c") is None, "expiry")
    same(r.exists("e:c"), 0)
    fails(redis.ResponseError, "invalid expire time in 'set' command", r.set, "e:d", "1", ex=0)


def scan(r):
    expected = {b"scan:%d" % number for number in range(2000)}
    pipe = r.pipeline(transaction=False)
    for key in expected:
        pipe.set(key, "x")
    same(pipe.execute(), [True] * len(expected))
    same(set(r.scan_iter(match="scan:*", count=100)), expected)
    same(set(r.scan_iter(match="scan:*", _type="STRING")), expected)
    same(list(r.scan_iter(match="scan:*", _type="hash")), [])
    same(set(r.keys("scan:1?")), {b"scan:1%d" % digit for digit in range(10)})
    true(r.randomkey() is not None, "RANDOMKEY")
    true(r.dbsize() >= len(expected), "DBSIZE")


def executed(pipe, **options):
    """What `EXEC` gave; redis-py gives the `OK` of a `SET` as it came where a cluster client ran the transaction."""
    return [True if value == b"OK" else value for value in pipe.execute(**options)]


def transactions(r):
    pipe = r.pipeline(transaction=True)
    pipe.set("{t}a", "1").incr("{t}a").get("{t}a").get("{t}b")
    same(executed(pipe), [True, 2, b"2", None])

    with r.pipeline(transaction=True) as pipe:
        pipe.watch("{t}a")
        same(pipe.get("{t}a"), b"2")
        pipe.multi()
        pipe.set("{t}a", "3")
        same(executed(pipe), [True])

    with r.pipeline(transaction=True) as pipe:
        pipe.watch("{t}a")
        same(r.set("{t}a", "by another"), True)
        pipe.multi()
        pipe.set("{t}a", "4")
        fails(redis.WatchError, "", pipe.execute)
    same(r.get("{t}a"), b"by another")

    pipe = r.pipeline(transaction=True)
    pipe.set("{t}c", "1").incr("{t}a").set("{t}d", "2")
    first, second, third = executed(pipe, raise_on_error=False)
    same((first, third), (True, True))
    true("not an integer" in str(second), "an error inside EXEC leaves the others in force")


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(f"{{p}}{number}", number)
        pipe.incr(f"{{p}}{number}")
    expected = [value for number in range(1000) for value in (True, number + 1)]
    same(pipe.execute(), expected)
    same(r.mget([f"{{p}}{number}" for number in range(1000)]), [b"%d" % (n + 1) for n in range(1000)])
    same(r.delete(*[f"{{p}}{number}" for number in range(1000)]), 1000)


def big_values(r):
    big = bytes(range(256)) * (BIG // 256)
    same(r.set("big:a", big), True)
    true(r.get("big:a") == big, "a value of 5 MiB comes back as it was")
    same(r.getrange("big:a", BIG - 2, BIG + 5), b"\xfe\xff")
    same(r.append("big:a", b"tail"), BIG + 4)
    same(r.strlen("big:a"), BIG + 4)
    same(r.setrange("big:b", BIG, b"x"), BIG + 1)
    same((r.delete("big:a"), r.delete("big:b")), (1, 1))


def retries(r):
    """`IDEMPOTENT token command`: once, however often it is sent."""
    same(r.execute_command("IDEMPOTENT", "token-1", "INCR", "i:a"), 1)
    same(r.execute_command("IDEMPOTENT", "token-1", "INCR", "i:a"), 1)
    same(r.execute_command("IDEMPOTENT", "token-2", "INCR", "i:a"), 2)


def pairs(reply):
    """Members and scores: tuples in RESP2, lists in RESP3."""
    return [(member, float(score)) for member, score in reply]


def hashes(r):
    same(r.hset("h:a", mapping={"f": "1", "g": "x", "h": b"\0\r\n"}), 3)
    same(r.hset("h:a", "f", "2"), 0)
    same(r.hget("h:a", "f"), b"2")
    same(r.hget("h:a", "none"), None)
    same(r.hmget("h:a", "g", "none", "h"), [b"x", None, b"\0\r\n"])
    same(r.hgetall("h:a"), {b"f": b"2", b"g": b"x", b"h": b"\0\r\n"})
    same(sorted(r.hkeys("h:a")), [b"f", b"g", b"h"])
    same(sorted(r.hvals("h:a")), [b"\0\r\n", b"2", b"x"])
    same((r.hlen("h:a"), r.hexists("h:a", "f"), r.hexists("h:a", "none")), (3, True, False))
    same(r.hsetnx("h:a", "f", "3"), 0)
    same(r.hincrby("h:a", "f", 5), 7)
    same(r.hincrbyfloat("h:a", "f", 0.5), 7.5)
    same(r.hstrlen("h:a", "g"), 1)
    same(r.hdel("h:a", "f", "none"), 1)
    true(r.hrandfield("h:a") in (b"g", b"h"), "HRANDFIELD")
    same(len(r.hrandfield("h:a", 2, withvalues=True)) in (2, 4), True)
    fails(redis.ResponseError, "hash value is not an integer", r.hincrby, "h:a", "g")
    fails(redis.ResponseError, "WRONGTYPE Operation against a key", r.get, "h:a")
    same(r.hset("h:long", mapping={f"field:{n}": f"value:{n}" for n in range(2000)}), 2000)
    same(dict(r.hscan_iter("h:long", count=50)), {b"field:%d" % n: b"value:%d" % n for n in range(2000)})
    same(r.hdel("h:a", "g", "h"), 2)
    same(r.exists("h:a"), 0)


def lists(r):
    same(r.rpush("l:a", "a", "b", "c"), 3)
    same(r.lpush("l:a", "z"), 4)
    same(r.lrange("l:a", 0, -1), [b"z", b"a", b"b", b"c"])
    same((r.lindex("l:a", 1), r.lindex("l:a", -1), r.lindex("l:a", 9)), (b"a", b"c", None))
    same(r.linsert("l:a", "BEFORE", "b", "x"), 5)
    same(r.lset("l:a", 0, "y"), True)
    same(r.lrem("l:a", 0, "x"), 1)
    same(r.lpos("l:a", "c"), 3)
    same(r.lpos("l:a", "c", count=0), [3])
    same(r.ltrim("l:a", 1, 2), True)
    same(r.lrange("l:a", 0, -1), [b"a", b"b"])
    same(r.lpop("l:a"), b"a")
    same(r.rpop("l:a", 5), [b"b"])
    same((r.lpop("l:a"), r.exists("l:a"), r.llen("l:a")), (None, 0, 0))
    same(r.rpush("{l}a", "1", "2", "3"), 3)
    same(r.rpoplpush("{l}a", "{l}b"), b"3")
    same(r.lmove("{l}a", "{l}b", "LEFT", "RIGHT"), b"1")
    same(r.lrange("{l}b", 0, -1), [b"3", b"1"])
    same(r.lmpop(2, "{l}none", "{l}b", direction="LEFT", count=5), [b"{l}b", [b"3", b"1"]])
    same(tuple(r.blpop(["{l}none", "{l}a"], timeout=1)), (b"{l}a", b"2"))
    same(r.brpop(["{l}none"], timeout=0.05), None)
    same(r.lpushx("{l}none", "x"), 0)
    many = [b"element:%d" % n for n in range(3000)]
    same(r.rpush("l:long", *many), 3000)
    same(r.lrange("l:long", 1000, 1999), many[1000:2000])
    same(r.lindex("l:long", -10), many[-10])


def sets(r):
    same(r.sadd("m:a", "1", "2", "x"), 3)
    same(r.sadd("m:a", "1", "y"), 1)
    same(set(r.smembers("m:a")), {b"1", b"2", b"x", b"y"})
    same((r.scard("m:a"), r.sismember("m:a", "1"), r.sismember("m:a", "none")), (4, 1, 0))
    same(r.smismember("m:a", ["1", "none"]), [1, 0])
    same(r.srem("m:a", "1", "none"), 1)
    true(r.srandmember("m:a") in (b"2", b"x", b"y"), "SRANDMEMBER")
    same(len(r.srandmember("m:a", -5)), 5)
    true(r.spop("m:a") in (b"2", b"x", b"y"), "SPOP")
    same(len(r.spop("m:a", 5)), 2)
    same(r.exists("m:a"), 0)
    same((r.sadd("{m}a", "1", "2", "3"), r.sadd("{m}b", "2", "3", "4")), (3, 3))
    same(set(r.sinter("{m}a", "{m}b")), {b"2", b"3"})
    same(set(r.sunion("{m}a", "{m}b")), {b"1", b"2", b"3", b"4"})
    same(set(r.sdiff("{m}a", "{m}b")), {b"1"})
    same(r.sintercard(2, ["{m}a", "{m}b"], limit=1), 1)
    same(r.sunionstore("{m}c", "{m}a", "{m}b"), 4)
    same(r.smove("{m}a", "{m}b", "1"), True)
    same(r.sadd("m:long", *range(2000)), 2000)
    same({int(member) for member in r.sscan_iter("m:long", count=50)}, set(range(2000)))


def sorted_sets(r):
    same(r.zadd("z:a", {"one": 1, "two": 2, "three": 3.5}), 3)
    same(r.zadd("z:a", {"one": 1.5}, ch=True), 1)
    same(r.zadd("z:a", {"one": 9}, nx=True), 0)
    same(r.zincrby("z:a", 0.25, "one"), 1.75)
    same(r.zscore("z:a", "one"), 1.75)
    same(r.zscore("z:a", "none"), None)
    same(r.zmscore("z:a", ["one", "none"]), [1.75, None])
    same((r.zcard("z:a"), r.zcount("z:a", 2, "+inf"), r.zrank("z:a", "two"), r.zrevrank("z:a", "two")), (3, 2, 1, 1))
    same(r.zrange("z:a", 0, -1), [b"one", b"two", b"three"])
    same(pairs(r.zrange("z:a", 0, 1, withscores=True)), [(b"one", 1.75), (b"two", 2.0)])
    same(pairs(r.zrevrange("z:a", 0, 0, withscores=True)), [(b"three", 3.5)])
    same(r.zrangebyscore("z:a", "(1.75", "inf"), [b"two", b"three"])
    same(r.zrange("z:a", 0, 10, byscore=True, offset=1, num=1), [b"two"])
    same(r.zrevrangebyscore("z:a", 10, 2), [b"three", b"two"])
    same(pairs(r.zpopmin("z:a", 2)), [(b"one", 1.75), (b"two", 2.0)])
    same(pairs(r.zpopmax("z:a", 1)), [(b"three", 3.5)])
    same(r.zadd("{z}a", {"a": 1, "b": 2}) + r.zadd("{z}b", {"b": 3, "c": 4}), 4)
    same(pairs(r.zunion(["{z}a", "{z}b"], withscores=True)), [(b"a", 1.0), (b"c", 4.0), (b"b", 5.0)])
    same(r.zinter(["{z}a", "{z}b"]), [b"b"])
    same(r.zdiff(["{z}a", "{z}b"]), [b"a"])
    same(r.zunionstore("{z}c", {"{z}a": 2, "{z}b": 1}), 3)
    same(r.zrangestore("{z}d", "{z}c", 0, 0), 1)
    same(r.zremrangebyscore("{z}c", "-inf", 3), 1)
    same([bytes(part) if isinstance(part, bytes) else float(part) for part in r.bzpopmin("{z}c", 1)], [b"{z}c", b"c", 4.0])
    same(r.bzpopmax(["{z}none"], 0.05), None)
    same(r.zadd("z:lex", {name: 0 for name in "abcde"}), 5)
    same(r.zrangebylex("z:lex", "[b", "(d"), [b"b", b"c"])
    same(r.zlexcount("z:lex", "-", "+"), 5)
    same(r.zadd("z:long", {f"m{n}": n for n in range(2000)}), 2000)
    same(dict(r.zscan_iter("z:long", count=50)), {b"m%d" % n: float(n) for n in range(2000)})
    same(r.zrange("z:long", 1500, 1502), [b"m1500", b"m1501", b"m1502"])


ALL = [
    strings,
    bits,
    hashes,
    lists,
    sets,
    sorted_sets,
    keys,
    expiry,
    scan,
    transactions,
    pipelines,
    big_values,
]
