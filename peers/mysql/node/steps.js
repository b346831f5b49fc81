'use strict';

// Runs steps but those of SKIP_STEPS (`NAME;NAME`), prints `ok NAME: ...` or `FAIL NAME: ...` for each, and a last line.

const crypto = require('crypto');
const util = require('util');

let ok = 0;
let failed = 0;

function plain(value) {
  const depth = { depth: 10, breakLength: Infinity, sorted: true, maxArrayLength: 50 };
  return typeof value === 'string' ? value : util.inspect(value, depth);
}

function brief(value) {
  const s = plain(value).replace(/\s+/g, ' ');
  if (s.length <= 300) return s;
  return `${s.slice(0, 200)}...${crypto.createHash('sha1').update(s).digest('hex').slice(0, 8)}`;
}

function check(right, seen) {
  if (!right) throw new Error(`saw ${brief(seen)}`);
}

function equal(want, seen) {
  if (!util.isDeepStrictEqual(want, seen)) {
    throw new Error(`wanted ${brief(want)}, saw ${brief(seen)}`);
  }
}

// What the error says that the promise has to end with.
async function refused(code, promise) {
  let value;
  try {
    value = await promise;
  } catch (err) {
    equal(code, err.errno);
    return `${err.errno}/${err.sqlState} ${err.message}`;
  }
  throw new Error(`wanted error ${code}, saw ${brief(value)}`);
}

// Asks until it is so.
async function until(what, condition) {
  const end = Date.now() + 20000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`still not: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

async function run(steps) {
  const skipped = (process.env.SKIP_STEPS ?? '').split(';');
  for (const [name, body] of steps.filter(([name]) => !skipped.includes(name))) {
    try {
      const detail = await body();
      ok++;
      console.log(`ok ${name}: ${brief(detail)}`);
    } catch (err) {
      failed++;
      console.error(err.stack);
      console.log(`FAIL ${name}: ${brief(err.message)}`);
    }
  }
  const pass = failed === 0 && ok > 0;
  console.log(`${pass ? 'PASS' : 'FAILED'} ${ok} ok, ${failed} failed`);
  process.exit(pass ? 0 : 1);
}

module.exports = { check, equal, refused, run, until };
