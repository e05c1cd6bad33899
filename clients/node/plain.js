// ioredis with a plain connection.
'use strict';

const Redis = require('ioredis');

const { NODES, same, holds, fails, run } = require('./common');
const families = require('./families');

function connect(node, options = {}) {
  return new Redis({ ...NODES[node], connectTimeout: 30000, ...options });
}

const first = connect(0, { connectionName: 'tester' });
const other = connect(NODES.length - 1);

async function connection() {
  await same(first.ping(), 'PONG');
  await same(first.echo('hello'), 'hello');
  await same(first.client('GETNAME'), 'tester');
  holds((await first.client('ID')) > 0, 'CLIENT ID');
  holds((await first.client('LIST')).includes('name=tester'), 'CLIENT LIST');
  holds((await first.client('INFO')).includes('lib-name=ioredis'), 'ioredis introduces itself');
  holds((await first.info('server')).includes('redis_version'), 'INFO');
  await same(first.select(0), 'OK');
  await fails(first.select(1), 'ERR');
  await same(first.wait(0, 100).then((count) => count >= 0), true);
  holds((await first.command('COUNT')) > 50, 'COMMAND COUNT');
}

async function scan() {
  const expected = Array.from({ length: 500 }, (_, number) => `scan:${number}`);
  await Promise.all(expected.map((key) => first.set(key, 'x')));
  const found = new Set();
  for await (const batch of first.scanStream({ match: 'scan:*', count: 50 })) {
    batch.forEach((key) => found.add(key));
  }
  await same([...found].sort(), expected.sort());
}

async function watch() {
  await same(first.set('{w}a', '1'), 'OK');
  await same(first.watch('{w}a'), 'OK');
  await same(other.set('{w}a', '2'), 'OK');
  await same(first.multi().set('{w}a', '3').exec(), null);
  await same(first.watch('{w}a'), 'OK');
  await same(first.multi().set('{w}a', '3').exec(), [[null, 'OK']]);
  await same(other.get('{w}a'), '3');
}

const tests = { connection };
for (const [name, family] of Object.entries(families)) {
  tests[name] = () => family(first);
}
run({ flush: () => same(first.flushall(), 'OK'), ...tests, scan, watch });
