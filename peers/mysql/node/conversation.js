'use strict';

const { equal, refused, run } = require('./steps');

// One short connection with something of everything, to be recorded.
async function converse(c) {
  const steps = [];
  const step = (name, body) => steps.push([name, body]);
  const table = [[1, 'one'], [2, null], [3, 'three']].map(([a, b]) => ({ a, b }));
  const plain = rows => rows.map(row => ({ ...row }));

  step('table', async () => {
    await c.query('drop table if exists wm_said');
    await c.query('create table wm_said(a int primary key, b varchar(20)) engine=innodb');
    const insert = await c.prepare('insert into wm_said values (?, ?)');
    for (const { a, b } of table) await insert.execute([a, b]);
    const said = await refused(1062, insert.execute([1, 'again']));
    await insert.close();
    return said;
  });
  step('rows', async () => {
    const [text] = await c.query('select a, b from wm_said order by a');
    equal(table, plain(text));
    const [prepared] = await c.execute('select a, b from wm_said where a < ? order by a', [10]);
    equal(table, plain(prepared));
    const [none] = await c.execute('select a, b from wm_said where a < ? order by a', [0]);
    c.unprepare('select a, b from wm_said where a < ? order by a');
    return none;
  });
  step('several', async () => {
    const sql = "select 1; update wm_said set b = 'two' where a = 2; select b from wm_said where a = 2";
    const [seen] = await c.query(sql);
    equal([{ b: 'two' }], plain(seen[2]));
    return seen[0];
  });
  step('transactions', async () => {
    for (const [a, end] of [[4, 'rollback'], [5, 'commit']]) {
      await c.beginTransaction();
      // A statement of its own: the library would take the one that is closed by now.
      await c.execute("insert into wm_said values (?, 'new')", [a]);
      await c[end]();
    }
    const [rows] = await c.query('select a from wm_said where a > 3');
    equal([{ a: 5 }], plain(rows));
    return rows;
  });
  step('errors', async () => [
    await refused(1146, c.query('select * from wm_missing')),
    await refused(1146, c.execute('select * from wm_missing where a = ?', [1])),
  ]);
  step('ping', () => c.ping());
  step('reset', async () => {
    await c.query('set @r = 5');
    await new Promise((resolve, reject) => c.connection.reset(err => (err ? reject(err) : resolve())));
    const [rows] = await c.query('select @r r');
    equal([{ r: null }], plain(rows));
    return rows;
  });
  step('end', async () => {
    await c.query('drop table wm_said');
    await c.end();
    return 'closed';
  });
  await run(steps);
}

module.exports = { converse };
