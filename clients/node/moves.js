// ioredis' cluster client writes and reads while partitions move and while a leader is killed.
//
// Nothing may fail while partitions move. Once a line `failover` comes on standard input errors may happen, until the client
// has found its way; when standard input ends, every key has to be writable again, and hold what was acknowledged last.
// `CLIENT_TEST_NEW` is the address of a node that joined meanwhile: at the end the client must know it.
'use strict';

const readline = require('node:readline');

const Redis = require('ioredis');

const { NODES, same, holds, until, run } = require('./common');

const KEYS = Array.from({ length: 64 }, (_, number) => `move:${number}`);
// What each key may hold: one value where its last write was acknowledged, more where that is not known.
const possible = new Map(KEYS.map((key) => [key, new Set([null])]));
const counts = { written: 0, failed: 0 };
let failover = false;
let ended = false;

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  if (line.trim() === 'failover') failover = true;
});
lines.on('close', () => {
  ended = true;
});

// Writes a key and reads it back; whether both worked.
async function step(cluster, key, value) {
  try {
    possible.get(key).add(value);
    await cluster.set(key, value);
    possible.set(key, new Set([value]));
    const found = await cluster.get(key);
    holds(possible.get(key).has(found), `${key}: read ${found}, possible is ${[...possible.get(key)]}`);
    counts.written += 1;
    return true;
  } catch (error) {
    if (error.code === 'ERR_ASSERTION') throw error;
    holds(failover, `${key} failed while partitions moved: ${error}`);
    counts.failed += 1;
    return false;
  }
}

async function clients_go_on() {
  const cluster = new Redis.Cluster(NODES, { redisOptions: { connectTimeout: 10000, commandTimeout: 10000 } });
  for (let number = 1; !ended; number += 1) {
    await step(cluster, KEYS[number % KEYS.length], String(number));
    if (number === KEYS.length) console.log('going');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  for (const key of KEYS) await until(() => step(cluster, key, 'last'), `${key} can be written again`);
  for (const key of KEYS) await same(cluster.get(key), 'last', key);
  const known = cluster.nodes().map((node) => `${node.options.host}:${node.options.port}`);
  holds(known.includes(process.env.CLIENT_TEST_NEW), `the client knows the new node: ${known}`);
  console.log(counts);
  cluster.disconnect();
}

run({ clients_go_on });
