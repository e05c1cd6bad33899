// ioredis' cluster client.
'use strict';

const Redis = require('ioredis');

const { NODES, same, holds, run } = require('./common');
const families = require('./families');

const cluster = new Redis.Cluster(NODES, { redisOptions: { connectTimeout: 30000 } });

async function flush() {
  await same(cluster.ping(), 'PONG');
  await Promise.all(cluster.nodes('master').map((node) => node.flushall()));
}

async function topology() {
  await same(cluster.nodes('master').length, NODES.length, 'every node leads something');
  const slots = await cluster.cluster('SLOTS');
  const covered = slots.reduce((sum, [begin, end]) => sum + end - begin + 1, 0);
  await same(covered, 16384);
}

async function reads_from_replicas() {
  const scaled = new Redis.Cluster(NODES, { scaleReads: 'slave', redisOptions: { connectTimeout: 30000 } });
  for (let number = 0; number < 200; number += 1) {
    await same(scaled.set(`replica:${number}`, number), 'OK');
    await same(scaled.get(`replica:${number}`), String(number));
  }
  scaled.disconnect();
  holds(true, 'reads from replicas');
}

const tests = {};
for (const [name, family] of Object.entries(families)) {
  tests[name] = () => family(cluster);
}
run({ flush, topology, ...tests, reads_from_replicas });
