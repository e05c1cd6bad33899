// ioredis: users, and reads at levels that a user carries, for a client that says nothing of its own.
'use strict';

const Redis = require('ioredis');

const { NODES, same, fails, until, run } = require('./common');

const at = (node, options = {}) => new Redis({ ...NODES[node], connectTimeout: 30000, ...options });
const admin = at(0);

async function users() {
  await same(admin.acl('SETUSER', 'shop', 'on', '>secret', '~cart:*', '+@read', '+@write', '+cluster', '+command', '-@dangerous'), 'OK');
  for (const [number] of NODES.entries()) {
    const other = at(number);
    await until(async () => (await other.acl('USERS')).includes('shop'), 'the user at every node');
    other.disconnect();
  }
  const shop = at(2, { username: 'shop', password: 'secret' });
  await fails(shop.acl('WHOAMI'), "NOPERM User shop has no permissions to run the 'acl|whoami' command");
  await same(shop.set('cart:1', 'apple'), 'OK');
  await same(shop.get('cart:1'), 'apple');
  await fails(shop.get('other'), 'NOPERM No permissions to access a key');
  await fails(shop.flushall(), "NOPERM User shop has no permissions to run the 'flushall' command");
  shop.disconnect();
  const cluster = new Redis.Cluster(NODES, { redisOptions: { username: 'shop', password: 'secret' } });
  for (let number = 0; number < 50; number += 1) await same(cluster.set(`cart:${number}`, number), 'OK');
  await same(cluster.get('cart:7'), '7');
  cluster.disconnect();
}

async function levels() {
  await same(admin.call('KEYSPACE', 'CREATE', 'pr:', 'STRATEGY', 'primary-replica', 'ACK', 'sync'), 'OK');
  for (const name of ['strong', 'bounded:5000', 'session', 'eventual']) {
    const user = name.split(':')[0];
    await same(admin.acl('SETUSER', user, 'on', '>pw', '~*', '+@all', `consistency=${name}`), 'OK');
    for (const [number] of NODES.entries()) {
      const asked = at(number);
      await until(async () => (await asked.acl('USERS')).includes(user), 'the user at every node');
      asked.disconnect();
      const node = at(number, { username: user, password: 'pw' });
      await same(node.client('CONSISTENCY'), name.replace(':', ' '));
      for (const prefix of ['', 'pr:']) {
        await until(() => node.set(`${prefix}key`, 'ready').then(() => true, () => false), 'the keyspace to be served');
        for (let count = 0; count < 20; count += 1) {
          await same(node.set(`${prefix}key`, count), 'OK');
          if (user !== 'eventual') await same(node.get(`${prefix}key`), String(count));
        }
        await until(async () => (await node.get(`${prefix}key`)) === '19', 'what was written');
      }
      node.disconnect();
    }
  }
}

run({ users, levels });
