"""redis-py's cluster client writes and reads while partitions move and while a leader is killed.

Nothing may fail while partitions move. Once a line `failover` comes on standard input errors may happen, until the client
has found its way; when standard input ends, every key has to be writable again, and hold what was acknowledged last.
`CLIENT_TEST_NEW` is the address of a node that joined meanwhile: at the end the client must know it.
"""

import os
import sys
import threading
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

from common import NODES, run, same, true, until

KEYS = [f"move:{number}" for number in range(64)]

# What each key may hold: one value where its last write was acknowledged, more where that is not known.
possible = {key: {None} for key in KEYS}
counts = {"written": 0, "failed": 0}
failover = threading.Event()
ended = threading.Event()


def listen():
    for line in sys.stdin:
        if line.strip() == "failover":
            failover.set()
    ended.set()


def step(client, key, value):
    """Writes a key and reads it back; whether both worked."""
    try:
        possible[key].add(value)
        client.set(key, value)
        possible[key] = {value}
        found = client.get(key)
        true(found in possible[key], f"{key}: read {found}, possible is {possible[key]}")
        counts["written"] += 1
        return True
    except redis.RedisError as error:
        true(failover.is_set(), f"{key} failed while partitions moved: {error!r}")
        counts["failed"] += 1
        return False


def clients_go_on():
    threading.Thread(target=listen, daemon=True).start()
    client = RedisCluster(startup_nodes=[ClusterNode(*node) for node in NODES], socket_timeout=10)
    number = 0
    while not ended.is_set():
        number += 1
        step(client, KEYS[number % len(KEYS)], b"%d" % number)
        if number == len(KEYS):
            print("going", flush=True)
        time.sleep(0.001)
    for key in KEYS:
        until(lambda: step(client, key, b"last"), f"{key} can be written again")
    for key in KEYS:
        same(client.get(key), b"last", key)
    known = [f"{node.host}:{node.port}" for node in client.get_nodes()]
    true(os.environ["CLIENT_TEST_NEW"] in known, f"the client knows the new node: {known}")
    print(counts, flush=True)


run(clients_go_on)
