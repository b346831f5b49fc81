'use strict';

// Runs steps, prints `ok NAME ...` or `FAIL NAME ...` for each, and a last line.

const readline = require('readline');

const run = process.hrtime.bigint().toString(16);
let last = 0;
let ok = 0;
let failed = 0;
let lines;

// Text that no other call of any process uses.
const nonce = () => `${run}-${++last}`;

// A text of this many characters that starts with a nonce, as far as it fits.
const text = length => `${nonce()} `.padEnd(length, 'abcdefghijklmnopqrstuvwxyz').slice(0, length);

function brief(value) {
  const s = String(value).replace(/\s+/g, ' ');
  return s.length <= 160 ? s : s.slice(0, 160) + '...';
}

function check(right, seen) {
  if (!right) throw new Error(`saw ${brief(seen)}`);
}

function equal(want, seen) {
  if (want !== seen) throw new Error(`wanted ${brief(want)}, saw ${brief(seen)}`);
}

// The error that the promise ends with.
async function thrown(promise) {
  let value;
  try {
    value = await promise;
  } catch (err) {
    return err;
  }
  throw new Error(`wanted an error, saw ${brief(JSON.stringify(value))}`);
}

async function step(name, body) {
  const start = Date.now();
  try {
    const detail = await body();
    ok++;
    console.log(`ok ${name}: ${brief(detail)} (${Date.now() - start} ms)`);
  } catch (err) {
    failed++;
    console.log(`FAIL ${name}: ${brief(err)} (${Date.now() - start} ms)`);
    if (process.env.TRACE) console.log(err.stack);
  }
}

function end() {
  const pass = failed === 0 && ok > 0;
  console.log(`${pass ? 'PASS' : 'FAILED'} ${ok} ok, ${failed} failed`);
  process.exit(pass ? 0 : 1);
}

// Asks whoever started this process to do something, and waits until it says that it is done.
async function awaitDone(what) {
  console.log(`await ${what}`);
  lines = lines || readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { done } = await lines.next();
  if (done) throw new Error(`nobody there to do: ${what}`);
}

module.exports = { awaitDone, brief, check, end, equal, nonce, step, text, thrown };
