// ioredis in keyspaces whose replicas all take writes: every node is asked in turn, none of them leads.
'use strict';

const Redis = require('ioredis');

const { NODES, same, holds, fails, until, run } = require('./common');

const nodes = NODES.map((node) => new Redis({ ...node, connectTimeout: 30000 }));

// A reply of names and values.
function fields(reply) {
  const found = {};
  for (let at = 0; at < reply.length; at += 2) found[reply[at]] = reply[at + 1];
  return found;
}

async function create(prefix, ...options) {
  const info = (node) => node.call('KEYSPACE', 'INFO', prefix).then(fields);
  try {
    await info(nodes[0]);
  } catch (error) {
    await nodes[0].call('KEYSPACE', 'CREATE', prefix, 'STRATEGY', ...options);
  }
  for (const node of nodes) {
    await until(async () => {
      const { replicas, take_part, take_part_at_least } = await info(node);
      return String(take_part ?? take_part_at_least) === String(replicas);
    }, `all replicas of ${prefix}`);
    await until(() => node.set(`${prefix}ready`, '1').then(() => true, () => false), `${prefix} to be served`);
  }
  // All of its groups, now.
  await until(() => nodes[0].flushall().then(() => true, () => false), `all of ${prefix} to be served`);
}

function types(prefix) {
  return async () => {
    for (const [number, node] of nodes.entries()) {
      await same(node.set(`${prefix}string${number}`, 'x'.repeat(100)), 'OK');
      holds((await node.incr(`${prefix}counter`)) > 0, 'INCR');
      await same(node.hset(`${prefix}hash`, `field${number}`, number), 1);
      await same(node.sadd(`${prefix}set`, number), 1);
      await same(node.zadd(`${prefix}zset`, number, `member${number}`), 1);
      holds((await node.rpush(`${prefix}list`, number)) > 0, 'RPUSH');
    }
    const count = nodes.length;
    for (const node of nodes) {
      await until(async () => (await node.get(`${prefix}counter`)) === String(count), 'the sum');
      await until(async () => (await node.scard(`${prefix}set`)) === count, 'the set');
      await until(async () => (await node.llen(`${prefix}list`)) === count, 'the list');
      await until(async () => (await node.zcard(`${prefix}zset`)) === count, 'the sorted set');
      await until(async () => (await node.hlen(`${prefix}hash`)) === count, 'the hash');
    }
    await same(nodes[0].del(`${prefix}set`), 1);
    for (const node of nodes) {
      await until(async () => (await node.exists(`${prefix}set`)) === 0, 'the set to be gone');
    }
    const pipeline = nodes[1].pipeline();
    for (let number = 0; number < 200; number += 1) pipeline.set(`${prefix}many${number}`, number).get(`${prefix}many${number}`);
    const replies = await pipeline.exec();
    await same(replies.filter((_, at) => at % 2 === 1).map(([, value]) => value), [...Array(200).keys()].map(String));
    const [[, first], [, second]] = await nodes[1].multi().set(`${prefix}{slot}a`, 1).incrby(`${prefix}{slot}b`, 5).exec();
    holds(first === 'OK' && second >= 5, 'MULTI');
  };
}

async function quorums() {
  for (let number = 0; number < 60; number += 1) {
    await same(nodes[number % 3].set('lp:seen', number), 'OK');
    await same(nodes[(number + 1) % 3].get('lp:seen'), String(number));
  }
  await same(nodes[0].call('CLIENT', 'QUORUM', 'W', '9'), 'OK');
  await fails(nodes[0].set('lp:all', '1'), 'ERR W 9 is out of range');
  await same(nodes[0].call('CLIENT', 'QUORUM', 'DEFAULT'), 'OK');
  await fails(nodes[0].set('lp:all', '1', 'NX'), 'ERR a leaderless keyspace does not compare and set');
}

async function session() {
  for (let number = 0; number < 30; number += 1) {
    await same(nodes[0].set('mp:session', number), 'OK');
    const token = await nodes[0].call('CLIENT', 'SESSION', 'TOKEN');
    await same(nodes[2].call('CLIENT', 'SESSION', 'RESUME', token), 'OK');
    await same(nodes[2].get('mp:session'), String(number));
  }
}

run({
  multiPrimary: () => create('mp:', 'multi-primary'),
  leaderless: () => create('lp:', 'leaderless', 'R', '2', 'W', '2'),
  typesOfMultiPrimary: types('mp:'),
  typesOfLeaderless: types('lp:'),
  quorums,
  session,
});
