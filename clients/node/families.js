// Every family of commands through the interface of ioredis, on one connection or on a cluster client.
//
// Keys that one command names together share a hash tag, so that the same tests hold for both.
'use strict';

const { same, holds, fails, until } = require('./common');

const BIG = 5 << 20;

async function strings(r) {
  await same(r.set('s:a', '1'), 'OK');
  await same(r.get('s:a'), '1');
  await same(r.get('s:none'), null);
  await same(r.set('s:a', '2', 'NX'), null);
  await same(r.set('s:a', '2', 'XX', 'GET'), '1');
  await same(r.set('s:ttl', '2', 'EX', 100), 'OK');
  await same(r.getset('s:a', '3'), '2');
  await same(r.setnx('s:a', '4'), 0);
  await same(r.setnx('s:c', '4'), 1);
  await same(r.getdel('s:c'), '4');
  await same(r.append('s:a', '45'), 3);
  await same(r.strlen('s:a'), 3);
  await same(r.getrange('s:a', 1, -1), '45');
  await same(r.setrange('s:a', 5, 'x'), 6);
  await same(r.getBuffer('s:a'), Buffer.from('345\0\0x'));
  await same(r.mset('{s}m1', 'a', '{s}m2', 'b'), 'OK');
  await same(r.mget('{s}m1', '{s}none', '{s}m2'), ['a', null, 'b']);
  await same(r.msetnx('{s}n1', 'a', '{s}n2', 'b'), 1);
  await same(r.msetnx('{s}n2', 'c', '{s}n3', 'd'), 0);
  await same(r.incr('s:n'), 1);
  await same(r.incrby('s:n', 10), 11);
  await same(r.decr('s:n'), 10);
  await same(r.decrby('s:n', 30), -20);
  await same(r.incrbyfloat('s:f', 1.5), '1.5');
  await fails(r.incr('s:a'), 'ERR value is not an integer or out of range');
  await fails(r.call('NOSUCHCOMMAND', 's:a'), "ERR unknown command 'NOSUCHCOMMAND'");
  await fails(r.call('GET', 's:a', 'b'), "ERR wrong number of arguments for 'get' command");
}

async function bits(r) {
  await same(r.setbit('b:a', 100, 1), 0);
  await same(r.getbit('b:a', 100), 1);
  await same(r.set('b:b', 'foobar'), 'OK');
  await same(r.bitcount('b:b'), 26);
  await same(r.bitcount('b:b', 1, 1), 6);
  await same(r.set('b:c', Buffer.from([0xff, 0xf0, 0])), 'OK');
  await same(r.bitpos('b:c', 0), 12);
}

async function keys(r) {
  await same(r.set('{k}a', '1'), 'OK');
  await same(r.exists('{k}a', '{k}none'), 1);
  await same(r.touch('{k}a'), 1);
  await same(r.type('{k}a'), 'string');
  await same(r.rename('{k}a', '{k}b'), 'OK');
  await same(r.renamenx('{k}b', '{k}c'), 1);
  await fails(r.rename('{k}none', '{k}x'), 'ERR no such key');
  await same(r.copy('{k}c', '{k}d'), 1);
  await same(r.unlink('{k}c'), 1);
  await same(r.del('{k}d', '{k}none'), 1);
}

async function expiry(r) {
  await same(r.set('e:a', '1', 'EX', 100), 'OK');
  holds((await r.pttl('e:a')) > 90000, 'PTTL');
  await same(r.persist('e:a'), 1);
  await same(r.ttl('e:a'), -1);
  await same(r.expire('e:a', 50), 1);
  await same(r.expire('e:a', 10, 'GT'), 0);
  await same(r.setex('e:b', 60, 'x'), 'OK');
  await same(r.set('e:c', 'soon gone', 'PX', 60), 'OK');
  await until(async () => (await r.get('e:c')) === null, 'expiry');
}

async function transactions(r) {
  await same(r.multi().set('{t}a', '1').incr('{t}a').get('{t}a').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
  const [first, second, third] = await r.multi().set('{t}c', 'x').incr('{t}c').set('{t}d', '2').exec();
  await same([first, third], [[null, 'OK'], [null, 'OK']]);
  holds(second[0].message.includes('not an integer'), 'an error inside EXEC leaves the others in force');
}

async function pipelines(r) {
  const pipeline = r.pipeline();
  const expected = [];
  for (let number = 0; number < 1000; number += 1) {
    pipeline.set(`{p}${number}`, number).incr(`{p}${number}`);
    expected.push([null, 'OK'], [null, number + 1]);
  }
  await same(pipeline.exec(), expected);
}

async function many_at_once(r) {
  const writes = Array.from({ length: 1000 }, (_, number) => r.set(`many:${number}`, `v${number}`));
  await same(Promise.all(writes), writes.map(() => 'OK'));
  const reads = writes.map((_, number) => r.get(`many:${number}`));
  await same(Promise.all(reads), writes.map((_, number) => `v${number}`));
}

async function big_values(r) {
  const big = Buffer.alloc(BIG, 'consort');
  await same(r.set('big:a', big), 'OK');
  holds((await r.getBuffer('big:a')).equals(big), 'a value of 5 MiB comes back as it was');
  await same(r.append('big:a', 'tail'), BIG + 4);
  await same(r.del('big:a'), 1);
}

async function hashes(r) {
  await same(r.hset('h:a', { f: '1', g: 'x' }), 2);
  await same(r.hget('h:a', 'f'), '1');
  await same(r.hmget('h:a', 'g', 'none'), ['x', null]);
  await same(r.hgetall('h:a'), { f: '1', g: 'x' });
  await same(r.hincrby('h:a', 'f', 5), 6);
  await same(r.hexists('h:a', 'f'), 1);
  await fails(r.get('h:a'), 'WRONGTYPE Operation against a key holding the wrong kind of value');
  await same(r.hdel('h:a', 'f', 'g'), 2);
  await same(r.exists('h:a'), 0);
}

async function lists(r) {
  await same(r.rpush('l:a', 'a', 'b', 'c'), 3);
  await same(r.lpush('l:a', 'z'), 4);
  await same(r.lrange('l:a', 0, -1), ['z', 'a', 'b', 'c']);
  await same(r.linsert('l:a', 'AFTER', 'a', 'x'), 5);
  await same(r.lindex('l:a', -1), 'c');
  await same(r.lpop('l:a', 2), ['z', 'a']);
  await same(r.rpop('l:a'), 'c');
  await same(r.rpush('{l}a', '1', '2'), 2);
  await same(r.lmove('{l}a', '{l}b', 'LEFT', 'RIGHT'), '1');
  await same(r.blpop('{l}none', '{l}b', 1), ['{l}b', '1']);
  await same(r.brpop('{l}none', 0.05), null);
}

async function sets(r) {
  await same(r.sadd('m:a', '1', '2', 'x'), 3);
  await same(r.sismember('m:a', 'x'), 1);
  await same(r.scard('m:a'), 3);
  holds((await r.smembers('m:a')).sort().join() === '1,2,x', 'SMEMBERS');
  await same(r.srem('m:a', '1', 'none'), 1);
  await same(r.sadd('{m}a', '1', '2'), 2);
  await same(r.sadd('{m}b', '2', '3'), 2);
  await same(r.sinter('{m}a', '{m}b'), ['2']);
  await same(r.sdiffstore('{m}c', '{m}a', '{m}b'), 1);
}

async function sorted_sets(r) {
  await same(r.zadd('z:a', 1, 'one', 2, 'two', 3.5, 'three'), 3);
  await same(r.zscore('z:a', 'three'), '3.5');
  await same(r.zrange('z:a', 0, 1, 'WITHSCORES'), ['one', '1', 'two', '2']);
  await same(r.zrangebyscore('z:a', '(1', '+inf'), ['two', 'three']);
  await same(r.zincrby('z:a', 2, 'one'), '3');
  await same(r.zrank('z:a', 'two'), 0);
  await same(r.zpopmax('z:a'), ['three', '3.5']);
  await same(r.zrem('z:a', 'one', 'none'), 1);
  await same(r.bzpopmin('z:a', 1), ['z:a', 'two', '2']);
}

module.exports = {
  strings,
  bits,
  hashes,
  lists,
  sets,
  sorted_sets,
  keys,
  expiry,
  transactions,
  pipelines,
  many_at_once,
  big_values,
};
