"""redis-py's cluster client, in both versions of the protocol."""

import redis
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster

from common import NODES, fails, run, same, true
import families


def connect(protocol, **options):
    nodes = [ClusterNode(host, port) for host, port in NODES]
    return RedisCluster(startup_nodes=nodes, protocol=protocol, socket_timeout=30, **options)


def commands(protocol):
    def test():
        r = connect(protocol)
        true(r.flushall(), "FLUSHALL")
        for family in families.ALL:
            family(r)
        r.close()

    test.__name__ = f"commands_resp{protocol}"
    return test


def topology():
    r = connect(2)
    same(len(r.get_nodes()), len(NODES))
    same(r.ping(target_nodes=RedisCluster.ALL_NODES), True)
    same(r.keyslot("{user}a"), r.keyslot("{user}b"))
    slots = r.cluster_slots()
    covered = {slot for first, last in slots for slot in range(first, last + 1)}
    same(len(covered), 16384)
    info = r.cluster_info(target_nodes=r.get_random_node())
    same(info["cluster_state"], "ok")
    same(info["cluster_slots_assigned"], "16384")
    for number in range(200):
        key = f"c:{number}"
        same(r.set(key, number), True)
        same(r.get(key), b"%d" % number)
    r.close()


def multi_key_commands_are_split():
    r = connect(2)
    pairs = {f"split:{number}": b"%d" % number for number in range(300)}
    true(all(r.mset_nonatomic(pairs)), "MSET")
    same(r.mget_nonatomic(list(pairs)), list(pairs.values()))
    same(r.exists(*pairs), 300)
    same(r.unlink(*pairs), 300)
    r.close()


def reads_from_replicas():
    r = connect(2, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)
    for number in range(100):
        same(r.set(f"replica:{number}", number), True)
        same(r.get(f"replica:{number}"), b"%d" % number)
    r.close()


def one_slot_at_a_time():
    r = connect(2)
    fails(redis.RedisClusterException, "", r.rename, "a", "b")
    r.close()


run(commands(2), commands(3), topology, multi_key_commands_are_split, reads_from_replicas, one_slot_at_a_time)
