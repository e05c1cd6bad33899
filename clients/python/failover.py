"""Leaders are killed under load (`kill -9`), and nothing acknowledged may be missing and nothing read may be stale.

Threads read and write through any node with redis-py. What they saw is written to `CLIENT_TEST_HISTORY` as a history of a
register for each key; whether it is linearizable is for the caller to decide. Here it is checked that every write that
was acknowledged under a name of its own is there at the end, on every node. `CLIENT_TEST_CLUSTER` is the folder of the
cluster, with `nodes.json`: process ids, and the commands that start nodes again.

How long writes were not accepted after a kill is printed, and not judged beyond "within ten seconds".
"""

import json
import os
import random
import signal
import subprocess
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from common import NODES, run, same, true, until

CLIENTS = 8
KEYS = 16
PAUSE_SECONDS = 0.004
BETWEEN_SECONDS = 3.0
ROUNDS = 2


def connect(node, timeout=3.0):
    """A client that never sends a command twice: a repeated write would be another write."""
    host, port = NODES[node]
    return redis.Redis(
        host=host, port=port, socket_timeout=timeout, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
    )


class History:
    """Events in the form that the checker reads: one JSON object a line."""

    def __init__(self):
        self.lines = [json.dumps({"history": "consort", "version": 1, "model": "register"})]
        self.lock = threading.Lock()
        self.next = 0
        self.counts = {"done": 0, "refused": 0, "unknown": 0}

    def invoke(self, process, key, operation):
        with self.lock:
            number, self.next = self.next, self.next + 1
            self.add(event="invoke", id=number, process=process, time=time.monotonic_ns(), key=key, input=operation)
            return number

    def done(self, number, output):
        now = time.monotonic_ns()
        self.end("done", id=number, time=now, output=output)

    def end(self, event, **fields):
        fields.setdefault("time", time.monotonic_ns())
        with self.lock:
            self.counts[event] += 1
            self.add(event=event, **fields)

    def add(self, **fields):
        self.lines.append(json.dumps(fields))


history = History()
acknowledged = {}
stop = threading.Event()


def outcome(error):
    """What an error says: the connection broke or it begins with UNKNOWN, or it did not happen."""
    if isinstance(error, redis.ResponseError) and not str(error).startswith("UNKNOWN"):
        return "refused"
    return "unknown"


def write(client, process, key, value):
    number = history.invoke(process, key, {"write": value})
    try:
        client.set(key, value)
    except redis.RedisError as error:
        history.end(outcome(error), id=number)
        return False
    history.done(number, "written")
    return True


def read(client, process, key):
    number = history.invoke(process, key, "read")
    try:
        value = client.get(key)
    except redis.RedisError as error:
        history.end(outcome(error), id=number)
        return False
    history.done(number, {"value": None if value is None else value.decode()})
    return True


def load(process):
    """A client that goes to another node when its own does not answer."""
    choice = random.Random(process)
    node, count = process % len(NODES), 0
    client = connect(node)
    while not stop.is_set():
        count += 1
        key = f"register:{choice.randrange(KEYS)}"
        if count % 4 == 0:
            name = f"own:{process}:{count}"
            succeeded = write(client, process, name, name)
            if succeeded:
                acknowledged[name] = True
        elif count % 2 == 0:
            succeeded = write(client, process, key, f"{process}:{count}")
        else:
            succeeded = read(client, process, key)
        if not succeeded:
            client.close()
            node = (node + 1) % len(NODES)
            client = connect(node)
        time.sleep(PAUSE_SECONDS)


def nodes():
    with open(os.path.join(os.environ["CLIENT_TEST_CLUSTER"], "nodes.json"), encoding="utf-8") as file:
        return json.load(file)


def leader_of(key, asked):
    """The index of the node that leads a key, as a node says."""
    client = connect(asked)
    slot = client.execute_command("CLUSTER KEYSLOT", key)
    for first, last, leader in slots(client):
        if first <= slot <= last:
            return NODES.index(leader)
    raise AssertionError(f"no node leads slot {slot}")


def slots(client):
    """`CLUSTER SLOTS` as the server gives it: first slot, last slot, the leader's address."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("CLUSTER", "SLOTS")
        reply = connection.read_response()
    finally:
        client.connection_pool.release(connection)
    return [(first, last, (leader[0].decode(), leader[1])) for first, last, leader, *_ in reply]


def kill_a_leader(number):
    """Kills who leads a key and returns how long writes to that key were not accepted through another node."""
    key = f"register:{number}"
    victim = leader_of(key, number % len(NODES))
    survivor = (victim + 1) % len(NODES)
    # Stays below the time after which a request is given up, so that a try does not outlast the election.
    client = connect(survivor, timeout=0.25)
    cluster = RedisCluster(startup_nodes=[ClusterNode(*node) for node in NODES], socket_timeout=3.0)
    true(write_probe(client, number), "a write before the kill")
    true(write_probe(cluster, number), "a write of a cluster client before the kill")
    os.kill(nodes()[victim]["pid"], signal.SIGKILL)
    begin = time.monotonic()
    until(lambda: write_probe(client, number), "writes after a kill", seconds=10)
    print(f"writes went on {(time.monotonic() - begin) * 1000:.0f} ms after n{victim + 1} was killed", flush=True)
    until(lambda: write_probe(cluster, number), "a cluster client finds the new leader", seconds=10)
    print(f"a cluster client wrote {(time.monotonic() - begin) * 1000:.0f} ms after the kill", flush=True)
    cluster.close()
    time.sleep(BETWEEN_SECONDS)
    restart(victim)


def write_probe(client, number):
    try:
        # The same slot as the key whose leader is killed, and a key that no history has.
        return client.set(f"probe:{{register:{number}}}", "x")
    except redis.RedisError:
        return False


def restart(node):
    command = nodes()[node]["restart"]
    print(f"{command.split()[0].rsplit('/', 1)[-1]}: n{node + 1} is started again", flush=True)
    log = open(os.path.join(os.environ["CLIENT_TEST_CLUSTER"], f"again-{node + 1}.log"), "ab")
    started.append(
        subprocess.Popen(["sh", "-c", f"exec {command}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    )
    until(lambda: answers(node), f"n{node + 1} answers again")


started = []


def answers(node):
    try:
        return connect(node).get("register:0") is not None
    except redis.RedisError:
        return False


def leaders_are_killed_under_load():
    client = connect(0)
    for number in range(KEYS):
        true(write(client, CLIENTS, f"register:{number}", "first"), "the first write")
    threads = [threading.Thread(target=load, args=(process,)) for process in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.0)
        for number in range(ROUNDS):
            kill_a_leader(number)
            time.sleep(BETWEEN_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"{history.counts}, {len(acknowledged)} writes of their own acknowledged", flush=True)
    true(history.counts["done"] > 1000, "the load did something")


def nothing_acknowledged_is_missing():
    for node in range(len(NODES)):
        client = connect(node, timeout=30.0)
        names = list(acknowledged)
        for begin in range(0, len(names), 500):
            some = names[begin : begin + 500]
            same(client.mget(some), [name.encode() for name in some], f"acknowledged writes, read on n{node + 1}")
        for number in range(KEYS):
            true(read(client, CLIENTS + 1, f"register:{number}"), "the last reads")


def history_is_written():
    with open(os.environ["CLIENT_TEST_HISTORY"], "w", encoding="utf-8") as file:
        file.write("\n".join(history.lines) + "\n")


try:
    run(leaders_are_killed_under_load, nothing_acknowledged_is_missing, history_is_written)
finally:
    for process in started:
        process.terminate()
    for process in started:
        process.wait()
