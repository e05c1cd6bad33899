"""redis-py with plain connections, one to each node in turn, in both versions of the protocol."""

import socket

import redis

from common import NODES, fails, run, same, true, until
import families


def connect(node, protocol, **options):
    host, port = NODES[node]
    return redis.Redis(host=host, port=port, protocol=protocol, socket_timeout=30, **options)


def commands(protocol):
    def test():
        r = connect(protocol % len(NODES), protocol)
        same(r.flushall(), True)
        for family in families.ALL:
            family(r)
        families.retries(r)
        same(r.flushdb(), True)
        same(r.dbsize(), 0)
        r.close()

    test.__name__ = f"commands_resp{protocol}"
    return test


def connection(protocol):
    def test():
        r = connect(0, protocol, client_name="tester", single_connection_client=True)
        same(r.ping(), True)
        same(r.echo("hello"), b"hello")
        name = r.client_getname()
        same(name if isinstance(name, str) else name.decode(), "tester")
        same(r.client_setname("other"), True)
        true(r.client_id() > 0, "CLIENT ID")
        info = r.client_info()
        same(info["name"], "other")
        same(info["lib-name"], "redis-py")
        same(info["resp"], str(protocol))
        same(sum(entry["name"] == "other" for entry in r.client_list()), 1)
        same(r.client_no_evict("ON") in (True, b"OK", "OK"), True)
        same(r.client_setinfo("LIB-NAME", "my-lib"), True)
        server = r.info("server")
        true("redis_version" in server and "tcp_port" in server, f"INFO server: {server}")
        true("connected_clients" in r.info(), "INFO")
        true(len(r.time()) == 2, "TIME")
        true(r.role()[0] in (b"master", "master"), "ROLE")
        true(r.command_count() > 50, "COMMAND COUNT")
        true("get" in r.command(), "COMMAND")
        named = r.command_getkeys("MSET", "a", "1", "b", "2")
        true(named in (["a", "b"], [b"a", b"b"]), f"COMMAND GETKEYS: {named}")
        true(isinstance(r.config_get("maxclients"), dict), "CONFIG GET")
        same(r.config_resetstat(), True)
        same(r.wait(0, 100) >= 0, True)
        fails(redis.ResponseError, "unknown command", r.execute_command, "NOSUCHCOMMAND", "x")
        same(r.select(0), True)
        fails(redis.ResponseError, "", r.select, 1)
        r.close()

    test.__name__ = f"connection_resp{protocol}"
    return test


def hello():
    r = connect(0, 3, single_connection_client=True)
    reply = r.execute_command("HELLO", "3")
    true(isinstance(reply, dict) and reply.get(b"proto") == 3, f"HELLO 3: {reply!r}")
    r.close()


def killed_client_reconnects():
    r, other = connect(0, 2, single_connection_client=True), connect(0, 2)
    same(other.client_kill_filter(_id=str(r.client_id())), 1)
    until(lambda: r.ping(), "reconnect")
    r.close()


def exchange(stream, request, end):
    stream.sendall(request)
    answer = b""
    while not answer.endswith(end):
        piece = stream.recv(65536)
        if not piece:
            break
        answer += piece
    return answer


def inline_commands_and_broken_input():
    with socket.create_connection(NODES[0], timeout=30) as stream:
        same(exchange(stream, b"PING\r\n", b"\r\n"), b"+PONG\r\n")
        same(exchange(stream, b'SET inline:a "two words"\r\nGET inline:a\r\n', b"words\r\n"), b"+OK\r\n$9\r\ntwo words\r\n")
    with socket.create_connection(NODES[0], timeout=30) as other:
        for noise in [b"*1\r\n$abc\r\n", b"*3\r\n:1\r\n", b"*99999999999\r\n", b"*1\r\n$99999999999\r\n"]:
            with socket.create_connection(NODES[0], timeout=30) as stream:
                answer = exchange(stream, noise, b"never")
                true(answer.startswith(b"-ERR Protocol error"), f"{noise!r}: {answer!r}")
        same(exchange(other, b"PING\r\n", b"\r\n"), b"+PONG\r\n")


def half_sent_input_harms_nobody():
    with socket.create_connection(NODES[0], timeout=30) as stream:
        stream.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$100\r\nhalf")
        same(connect(0, 2).ping(), True)


def every_node_gives_what_another_took():
    for writer in range(len(NODES)):
        for reader in range(len(NODES)):
            for number in range(20):
                key = f"any:{writer}:{reader}:{number}"
                same(connect_once(writer).set(key, key), True)
                same(connect_once(reader).get(key), key.encode())


clients = {}


def connect_once(node):
    if node not in clients:
        clients[node] = connect(node, 2)
    return clients[node]


def slots():
    r = connect_once(0)
    fails(redis.exceptions.ClusterCrossSlotError, "", r.rename, "a", "b")
    true(r.execute_command("CLUSTER KEYSLOT", "foo") == 12182, "CLUSTER KEYSLOT")


run(
    commands(2),
    commands(3),
    connection(2),
    connection(3),
    hello,
    killed_client_reconnects,
    inline_commands_and_broken_input,
    half_sent_input_harms_nobody,
    every_node_gives_what_another_took,
    slots,
)
