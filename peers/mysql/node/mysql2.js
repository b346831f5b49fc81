'use strict';

// mysql2.js HOST:PORT SERVER CA: mysql2, all answers checked.
// mysql2.js HOST:PORT SERVER CA CLIENT-SERVER=HOST:PORT...: its logins by these ways, and no more.
// mysql2.js HOST:PORT SERVER CA converse USER PASSWORD: one short connection, to be recorded.

const fs = require('fs');
const { Readable } = require('stream');
const mysql = require('mysql2/promise');
const { converse } = require('./conversation');
const { check, equal, refused, run, until } = require('./steps');

const [address, server, ca, ...ways] = process.argv.slice(2);
const [host, port] = address.split(':');
const opened = [];

function settings(more = {}) {
  return {
    host, port: Number(port), user: 'nat', password: 'natpw', database: 'test', multipleStatements: true,
    supportBigNumbers: true, bigNumberStrings: true, dateStrings: true, ...more,
  };
}

async function open(more) {
  const c = await mysql.createConnection(settings(more));
  c.on('error', () => {});
  opened.push(c);
  return c;
}

// The first column of the first row.
async function one(c, sql, args) {
  const [rows] = args ? await c.execute(sql, args) : await c.query(sql);
  return Object.values(rows[0])[0];
}

const here = (c, id) =>
  one(c, `select count(*) from information_schema.processlist where id = ${id}`).then(Number);

function accounts() {
  const known = [['nat', 'natpw'], ['nopw', '']];
  if (server === 'mysql8') known.push(['sha2', 'sha2pw']);
  return known;
}

function verified() {
  return { ca: fs.readFileSync(ca), checkServerIdentity: () => undefined };
}

// Who it is, and whether the server sees TLS; or the number of the error. Each way is CLIENT-SERVER=HOST:PORT: whether that
// leg has TLS (`TLS`) or not (`clear`).
async function enter(way, user, password) {
  const [name, at] = way.split('=');
  const [host, port] = at.split(':');
  const tls = name.startsWith('TLS') ? { ssl: verified() } : {};
  let d;
  try {
    d = await open({ host, port: Number(port), user, password, ...tls });
  } catch (err) {
    return String(err.errno ?? err.message);
  }
  const who = await one(d, 'select current_user()');
  const [[{ Value: cipher }]] = await d.query("show status like 'Ssl_cipher'");
  // Several records of TLS.
  equal(100000, (await one(d, "select repeat('x', 100000)")).length);
  await d.end();
  return `${who} ${cipher ? 'TLS' : 'clear'}`;
}

// Logs in by each, and does no more than see how it came in. The last has TLS on both legs.
async function byWays() {
  const c = await open();
  const steps = [];
  for (const [user, password] of [...accounts(), ['tlsonly', 'tlspw']]) {
    for (const way of ways) {
      const logins = async () => {
        // Of caching_sha2_password the first is full authentication, the second the fast one.
        await c.query('flush privileges');
        const seen = [await enter(way, user, password), await enter(way, user, password)];
        if (seen[1] === '1045') {
          await enter(ways.at(-1), user, password);
          seen.push(await enter(way, user, password));
        }
        return [...seen, await enter(way, user, `${password}x`)].join(', ');
      };
      steps.push([`${user} ${way.split('=')[0]}`, logins]);
    }
  }
  await run(steps);
}

async function main() {
  const c = await open();
  const steps = [];
  const step = (name, body) => steps.push([name, body]);

  for (const [user, password] of accounts()) {
    step(`auth ${user}`, async () => {
      await c.query('flush privileges');
      const seen = [];
      for (let n = 0; n < 2; n++) {
        const d = await open({ user, password });
        seen.push(await one(d, 'select current_user()'));
        await d.end();
      }
      return seen;
    });
  }
  step('wrong password', () => refused(1045, open({ password: 'wrong' })));
  step('unknown schema', () => refused(1049, open({ database: 'wm_missing' })));
  step('TLS needed', () => refused(1045, open({ user: 'tlsonly', password: 'tlspw' })));
  step('TLS', async () => {
    const seen = [];
    for (const [user, password] of [['nat', 'natpw'], ['tlsonly', 'tlspw']]) {
      const d = await open({ user, password, ssl: verified() });
      const [rows] = await d.query("show status like 'Ssl_cipher'");
      check(rows[0].Value, 'no cipher');
      seen.push(rows, (await one(d, "select repeat('x', 1000000)")).length);
      await d.end();
    }
    return seen;
  });
  step('compressed', async () => {
    const d = await open({ compress: true });
    const text = 'ab'.repeat(3000000);
    check((await one(d, 'select ?', [text])) === text, 'another text');
    const [rows] = await d.query("show status like 'Compression'");
    await d.end();
    return rows;
  });

  step('types', async () => {
    const [rows, columns] = await c.query(
      "select 1 a, -9223372036854775808 b, 18446744073709551615 c, 1.5 d, 'text' e, null f, x'00ff' g," +
        " cast('2026-11-21 20:15:00.000001' as datetime(6)) h, cast('-12:30:00' as time) i"
    );
    return [rows, columns.map(column => [column.name, column.columnType])];
  });
  step('prepared types', async () => {
    const seen = [];
    for (let n = 0; n < 3; n++) {
      const [rows] = await c.execute('select ? a, ? b, ? c, ? d', [n, 'text', null, Buffer.from([0, 1, 255])]);
      seen.push(rows);
    }
    return seen;
  });
  step('characters', async () => {
    const text = 'aé漢😀';
    equal(text, await one(c, 'select ?', [text]));
    return text;
  });
  step('several statements', async () => {
    const [results] = await c.query(
      'select 1; drop table if exists nd_m; create table nd_m(a int primary key auto_increment, b varchar(20));' +
        " insert into nd_m(b) values ('x'), ('y'); select b from nd_m order by a; select 7"
    );
    return results;
  });
  step('several, and an error', async () => [
    await refused(1146, c.query('select 1; select 2; select * from wm_missing; select 4')),
    await one(c, 'select 5'),
  ]);
  step('no statement', () => refused(1064, c.query('this is no statement')));
  step('many rows', async () => {
    await c.query('drop table if exists nd_n');
    await c.query('create table nd_n(a int primary key, b varchar(40))');
    for (let block = 0; block < 20; block++) {
      const values = Array.from({ length: 1000 }, (_, n) => [block * 1000 + n, `row ${block * 1000 + n}`]);
      await c.query('insert into nd_n values ?', [values]);
    }
    const [rows] = await c.query('select a, b from nd_n order by a');
    rows.forEach((row, n) => equal({ a: n, b: `row ${n}` }, { ...row }));
    return rows.length;
  });
  step('rows as a stream', async () => {
    let count = 0;
    const rows = c.connection.query('select a, b from nd_n order by a').stream({ highWaterMark: 5 });
    for await (const row of rows) equal(count++, row.a);
    return count;
  });
  step('an error among rows', () =>
    refused(1242, c.query('select a, if(a < 15000, a, (select 1 union select 2)) x from nd_n order by a')));
  step('asked without waiting', async () => {
    const asked = Array.from({ length: 50 }, (_, n) => (n % 2 ? one(c, `select ${n}`) : one(c, 'select ?', [n])));
    return (await Promise.all(asked)).map(Number);
  });
  step('LOCAL INFILE', async () => {
    await c.query('drop table if exists nd_l; create table nd_l(a int, b varchar(20))');
    const lines = Array.from({ length: 50000 }, (_, n) => `${n},v${n}\n`);
    const load = table => ({
      sql: `load data local infile 'lines' into table ${table} fields terminated by ','`,
      infileStreamFactory: () => Readable.from(lines.map(line => Buffer.from(line))),
    });
    const [done] = await c.query(load('nd_l'));
    const seen = [done.affectedRows, await refused(1146, c.query(load('wm_missing')))];
    seen.push(await one(c, 'select sum(a) from nd_l'));
    await c.query('drop table nd_l');
    return seen;
  });
  step('CALL', async () => {
    await c.query('drop procedure if exists nd_p');
    await c.query("create procedure nd_p(n int) begin select n, n + 1 m; select 'second' s union all select 'row'; end");
    const [text] = await c.query('call nd_p(21)');
    const [prepared] = await c.execute('call nd_p(?)', [22]);
    await c.query('drop procedure nd_p');
    return [text, prepared];
  });
  for (const size of [0xffffff - 10, 0xffffff - 5, 0xffffff - 4, 0xffffff, 0x1000000, 20000000, 0x1fffffe]) {
    step(`row of ${size}`, async () => {
      equal(size, (await one(c, `select repeat('x', ${size})`)).length);
      return one(c, 'select 1');
    });
  }
  for (const size of [0xffffff - 20, 0xffffff, 20000000, 40000000]) {
    step(`parameter of ${size}`, async () => {
      const value = Buffer.alloc(size, 'z');
      value[size - 1] = 'q'.charCodeAt(0);
      const [rows] = await c.execute('select length(?) n, right(?, 3) e', [value, value.subarray(size - 1000)]);
      equal(size, Number(rows[0].n));
      return String(rows[0].e);
    });
  }
  step('200 statements', async () => {
    const prepared = [];
    for (let n = 0; n < 200; n++) prepared.push(await c.prepare(`select ? + ${n} as x`));
    for (let n = 199; n >= 0; n--) {
      const [rows] = await prepared[n].execute([1000]);
      equal(1000 + n, Number(rows[0].x));
      await prepared[n].close();
    }
    return 'in the opposite order';
  });
  step('transactions', async () => {
    await c.query('drop table if exists nd_t; create table nd_t(a int primary key) engine=innodb');
    const d = await open();
    for (const [n, end] of [[1, 'rollback'], [2, 'commit']]) {
      await d.beginTransaction();
      await d.execute('insert into nd_t values (?)', [n]);
      await d[end]();
    }
    const [rows] = await d.query('select a from nd_t');
    await d.end();
    return rows;
  });
  step('KILL', async () => {
    const d = await open();
    await d.query('begin; insert into nd_t values (50)');
    await c.query(`kill ${d.threadId}`);
    await until('gone', async () => (await here(c, d.threadId)) === 0);
    const said = await one(d, 'select 1').then(() => 'an answer', () => 'no answer');
    equal('no answer', said);
    await until('rolled back', async () => Number(await one(c, 'select count(*) from nd_t where a = 50')) === 0);
    return said;
  });
  step('KILL QUERY', async () => {
    const d = await open();
    const long = refused(1317, d.query(`select sum(a.a + b.a * c.a), ${d.threadId} from nd_n a, nd_n b, nd_n c`));
    const running = `select count(*) from information_schema.processlist where info like 'select sum%, ${d.threadId} from%'`;
    await until('it runs', async () => Number(await one(c, running)) === 1);
    await c.query(`kill query ${d.threadId}`);
    const seen = [await long, await one(d, 'select 8')];
    await d.end();
    return seen;
  });
  step('left among rows', async () => {
    const d = await open();
    const rows = d.connection.query(`select a.a, b.b, ${d.threadId} from nd_n a, nd_n b`);
    rows.on('error', () => {});
    await new Promise(resolve => rows.once('result', resolve));
    d.connection.stream.destroy();
    const running = `select count(*) from information_schema.processlist where info like 'select a.a%, ${d.threadId} from%'`;
    const ended = async () => (await here(c, d.threadId)) === 0 && Number(await one(c, running)) === 0;
    await until('the statement has ended', ended);
    return 'ended';
  });
  step('COM_CHANGE_USER', async () => {
    const d = await open();
    await d.query('set @r = 5');
    // mysql2 takes an empty password for none given.
    const [user, password] = accounts().at(-1)[1] ? accounts().at(-1) : accounts()[0];
    await d.changeUser({ user, password, database: 'test' });
    const seen = [(await d.query('select @r, current_user()'))[0]];
    await d.changeUser({ user: 'nat', password: 'natpw', database: 'mysql' });
    seen.push((await d.query('select current_user(), database()'))[0]);
    await d.end();
    return seen;
  });
  step('COM_RESET_CONNECTION', async () => {
    const d = await open();
    await d.query('set @r = 5; create temporary table nd_r(a int)');
    await new Promise((resolve, reject) => d.connection.reset(err => (err ? reject(err) : resolve())));
    const seen = [(await d.query('select @r, database()'))[0], await refused(1146, d.query('select * from nd_r'))];
    await d.end();
    return seen;
  });
  step('ping', async () => {
    await c.ping();
    return one(c, 'select 3');
  });
  step('a pool of 8', async () => {
    const pool = mysql.createPool(settings({ connectionLimit: 8 }));
    const asked = Array.from({ length: 400 }, (_, n) => pool.execute('select ? as x', [n]));
    (await Promise.all(asked)).forEach(([rows], n) => equal(n, Number(rows[0].x)));
    await pool.end();
    return '400 answers';
  });
  step('end', async () => {
    await c.query('drop table if exists nd_m, nd_n, nd_t');
    await c.end();
    return 'closed';
  });
  await run(steps);
}

function start() {
  if (ways[0] === 'converse') return open({ user: ways[1], password: ways[2] }).then(converse);
  return ways.length ? byWays() : main();
}

start().catch(err => {
  console.log(`FAIL start: ${err.message}`);
  process.exit(1);
});
