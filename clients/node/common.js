// What every script here uses: where the cluster is, and checks that say what was compared.
//
// `CLIENT_TEST_NODES` lists the nodes' client addresses, `host:port` separated by commas.
'use strict';

const { deepStrictEqual, fail } = require('node:assert');

const NODES = process.env.CLIENT_TEST_NODES.split(',').map((node) => {
  const [host, port] = node.split(':');
  return { host, port: Number(port) };
});

let checks = 0;

// Fails unless what the promise gives is equal to what is expected.
async function same(found, expected, what) {
  checks += 1;
  deepStrictEqual(await found, expected, what);
}

function holds(condition, what) {
  checks += 1;
  if (!condition) fail(what);
}

// Fails unless the promise is refused with a text that begins so.
async function fails(promise, begin) {
  checks += 1;
  let found;
  try {
    found = await promise;
  } catch (error) {
    holds(error.message.startsWith(begin), `error ${error.message} does not begin with ${begin}`);
    return;
  }
  fail(`found ${found}, expected an error that begins with ${begin}`);
}

async function until(condition, what, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    holds(Date.now() < end, `${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Runs the tests one after the other and prints how many checks they made.
async function run(tests) {
  try {
    for (const [name, test] of Object.entries(tests)) {
      const begin = Date.now();
      await test();
      console.log(`${name}: ${(Date.now() - begin) / 1000} s`);
    }
    console.log(`${checks} checks passed`);
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

module.exports = { NODES, same, holds, fails, until, run };
