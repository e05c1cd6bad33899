"""redis-py: users, and reads at every level, said by the connection or carried by its user."""

import redis

from common import NODES, fails, run, same, true, until

STRATEGIES = {
    "raft:": ["raft"],
    "primary:": ["primary-replica", "ACK", "sync"],
    "peers:": ["leaderless", "R", "2", "W", "2"],
    "all:": ["multi-primary"],
}
# What each of them cannot.
REFUSED = {"peers:": ["strong"], "all:": ["strong", "bounded 5000"]}


def connect(node, **options):
    host, port = NODES[node]
    return redis.Redis(
        host=host, port=port, socket_timeout=30, decode_responses=True, single_connection_client=True, **options
    )


def serves(prefix, **options):
    def look():
        try:
            return all(connect(node, **options).set(f"{prefix}ready{node}", "1") for node in range(len(NODES)))
        except redis.RedisError:
            return False

    return look


def create():
    r = connect(0)
    for prefix, options in STRATEGIES.items():
        r.execute_command("KEYSPACE", "CREATE", prefix, "STRATEGY", *options)
    for prefix in STRATEGIES:
        until(serves(prefix), f"{prefix} to be served")


def users():
    r = connect(0)
    same(
        r.acl_setuser(
            "shop", enabled=True, passwords=["+secret"], keys=["cart:*"], categories=["+@read", "+@write", "-@dangerous"],
            commands=["+cluster", "+command"],
        ),
        True,
    )
    found = r.acl_getuser("shop")
    same(found["flags"], ["on"])
    same(found["keys"], ["~cart:*"])
    same(found["categories"], ["-@all", "+@read", "+@write", "-@dangerous"])
    same(r.acl_users(), ["default", "shop"])
    same(r.acl_whoami(), "default")
    true("keyspace" in r.acl_cat() and "get" in r.acl_cat("read"), "categories")
    same(len(r.acl_genpass()), 64)
    until(lambda: "shop" in connect(2).acl_users(), "the user at another node")
    shop = connect(2, username="shop", password="secret")
    same(shop.set("cart:1", "apple"), True)
    same(shop.get("cart:1"), "apple")
    fails(redis.exceptions.NoPermissionError, "No permissions to access a key", shop.get, "other")
    fails(redis.exceptions.NoPermissionError, "User shop has no permissions to run the 'flushall'", shop.flushall)
    refused = [entry["object"] for entry in connect(2).acl_log()]
    true("other" in refused and "flushall" in refused, f"ACL LOG: {refused}")
    fails(redis.AuthenticationError, "invalid username-password pair", connect, 1, username="shop", password="x")
    cluster = redis.RedisCluster(*NODES[0], username="shop", password="secret", decode_responses=True)
    for number in range(50):
        same(cluster.set(f"cart:{number}", number), True)
    same(cluster.get("cart:7"), "7")
    # What one selector allows beside what the user itself may.
    r.acl_setuser("report", enabled=True, nopass=True, keys=["report:*"], categories=["+@read"], selectors=[("+get", "cart:*")])
    same(r.acl_getuser("report")["selectors"], [["commands", "-@all +get", "keys", "~cart:*", "channels", ""]])
    until(lambda: "report" in connect(1).acl_users(), "the user at another node")
    report = connect(1, username="report", password="any")
    same(report.get("cart:1"), "1")
    fails(redis.exceptions.NoPermissionError, "No permissions to access a key", report.strlen, "cart:1")
    same(r.acl_deluser("report"), 1)
    same(r.acl_deluser("shop"), 1)
    until(lambda: "shop" not in connect(1).acl_users(), "the user to be gone")


def levels():
    """Each level, said with a command and carried by a user, on each strategy that has it."""
    admin = connect(0)
    for name in ["strong", "bounded 5000", "session", "eventual"]:
        user = name.split()[0]
        admin.execute_command(
            "ACL", "SETUSER", user, "on", ">pw", "~*", "+@all", "consistency=" + name.replace(" ", ":")
        )
        until(lambda: all(user in connect(node).acl_users() for node in range(len(NODES))), "the user")
        for prefix in STRATEGIES:
            said, carried = connect(1), connect(2, username=user, password="pw")
            same(said.execute_command("CLIENT", "CONSISTENCY", *name.split()) in (True, "OK"), True)
            for r in (said, carried):
                same(r.execute_command("CLIENT", "CONSISTENCY"), name)
                if name in REFUSED.get(prefix, []):
                    fails(redis.ResponseError, "a ", r.get, f"{prefix}key")
                    continue
                for number in range(20):
                    same(r.set(f"{prefix}key", number), True)
                    if name != "eventual":
                        # Its own write, whoever answers.
                        same(r.get(f"{prefix}key"), str(number))
                until(lambda: r.get(f"{prefix}key") == "19", "what was written")
                with r.pipeline(transaction=False) as pipeline:
                    for number in range(20):
                        pipeline.get(f"{prefix}key")
                    same(pipeline.execute(), ["19"] * 20)


def tokens():
    """A session goes on at another node, with a level below strong."""
    for prefix in STRATEGIES:
        one, other = connect(0), connect(1)
        for r in (one, other):
            r.execute_command("CLIENT", "CONSISTENCY", "session")
        for number in range(20):
            same(one.set(f"{prefix}session", number), True)
            token = one.execute_command("CLIENT", "SESSION", "TOKEN")
            same(other.execute_command("CLIENT", "SESSION", "RESUME", token) in (True, "OK"), True)
            same(other.get(f"{prefix}session"), str(number))
    fails(redis.ResponseError, "that is no token", one.execute_command, "CLIENT", "SESSION", "RESUME", "forged")


run(create, users, levels, tokens)
