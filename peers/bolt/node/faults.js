'use strict';

// The steps that need somebody to break the server. An `echo(text)` makes one call.

const { awaitDone, check, equal, nonce, step, text, thrown } = require('./steps');

// The name that the proxy's own errors carry.
const PROXY = 'wiremesh';

const sleep = millis => new Promise(resolve => setTimeout(resolve, millis));

// The server dies: the next calls fail at once, in the client's own terms, with the proxy's reason,
// in every serialization.
async function gone(callers) {
  for (const [ name, echo ] of Object.entries(callers)) {
    await step(`before ${name}`, async () => {
      const sent = nonce();
      equal(sent, await echo(sent));
      return 'answered';
    });
  }
  await step('gone', async () => {
    await awaitDone('gone');
    return 'killed';
  });
  for (const [ name, echo ] of Object.entries(callers)) {
    await step(`gone ${name}`, async () => {
      await refused(echo);
      return refused(echo);
    });
  }
}

async function refused(echo) {
  const start = Date.now();
  const err = await thrown(echo('anybody there?'));
  const took = Date.now() - start;
  check(err.message.includes(PROXY), err);
  check(took < 2000, `${took} ms`);
  return err;
}

// The server restarts under load: errors only with the proxy's reason, never another's answer.
async function restart(echo) {
  await step('restart', async () => {
    let stop = false;
    let sent = 0;
    let right = 0;
    const refusals = {};
    const wrong = [];
    const caller = async () => {
      while (!stop) {
        const mine = text(100);
        sent++;
        try {
          const back = await echo(mine);
          if (back === mine) right++;
          else wrong.push(back);
        } catch (err) {
          if (err.message.includes(PROXY)) refusals[err.name] = (refusals[err.name] || 0) + 1;
          else wrong.push(err);
          await sleep(5); // As a caller would: not at once again.
        }
      }
    };
    const until = async wanted => {
      const start = Date.now();
      while (right < wanted && Date.now() - start < 30000) await sleep(10);
      check(right >= wanted, `${right} right answers in 30 s`);
    };
    const callers = Array.from({ length: 16 }, caller);
    await until(500);
    await awaitDone('restart');
    await until(right + 500);
    stop = true;
    // A call that hangs fails here.
    const hung = sleep(15000).then(() => { throw new Error('a call hangs'); });
    await Promise.race([ Promise.all(callers), hung ]);
    check(wrong.length === 0, `${wrong.length} wrong, the first: ${wrong[0]}`);
    equal(sent, right + Object.values(refusals).reduce((a, b) => a + b, 0));
    return `${right} right, 0 wrong, refused ${JSON.stringify(refusals)}`;
  });
}

module.exports = { gone, restart };
