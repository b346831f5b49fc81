'use strict';

// redis.js standalone|cluster|hidden HOST:PORT 2|3: node-redis

const { createClient, createClientPool, createCluster, RESP_TYPES, WatchError } = require('redis');
const { check, equal, inOrder, refused, run, times, until } = require('./steps');

const [topology, address, resp] = process.argv.slice(2);
const [host, port] = address.split(':');
const RESP = Number(resp);
const cluster = topology === 'cluster';
// A cluster that looks like one server.
const hidden = topology === 'hidden';
const where = { socket: { host, port: Number(port) }, RESP };

async function open(extra = {}) {
  const client = cluster
    ? createCluster({ rootNodes: [{ url: `redis://${address}` }], RESP, ...extra })
    : createClient({ ...where, ...extra });
  client.on('error', err => console.error(err.message));
  await client.connect();
  return client;
}

let r;

async function common() {
  equal('OK', await r.set('s', 'x', { expiration: { type: 'EX', value: 1000 } }));
  equal('x', await r.get('s'));
  await r.hSet('h', { a: '1', b: 'two' });
  await r.zAdd('z', [{ score: 1.5, value: 'a' }, { score: Infinity, value: 'b' }]);
  await r.sAdd('e', ['a', 'b']);
  const ttl = await r.ttl('s');
  check(ttl > 990 && ttl <= 1000, ttl);
  return [
    { ...(await r.hGetAll('h')) },
    await r.zRangeWithScores('z', 0, -1),
    await r.zScore('z', 'a'),
    await r.sIsMember('e', 'a'),
    (await r.sMembers('e')).sort(),
    await r.get('nobody'),
    await r.incrByFloat('f', 0.5),
    await r.exists('s'),
    await r.geoAdd('g', { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' }),
    await r.geoPos('g', 'Palermo'),
  ];
}

async function binary() {
  const buffers = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const value = Buffer.from(times(300, i => i % 256));
  await r.set('bin', value);
  equal(value, await buffers.get('bin'));
  return r.del('bin');
}

async function sizes() {
  const seen = [];
  for (const size of [0, 1, 4096, 65535, 65536, 1 << 20, 8 << 20]) {
    const value = 'y'.repeat(size);
    await r.set('big', value);
    check((await r.get('big')) === value, size);
    seen.push(await r.strLen('big'));
  }
  await r.del('big');
  return seen;
}

async function together() {
  const answers = await Promise.all(
    times(2000, async i => {
      await r.set(`p${i % 100}:${i}`, String(i));
      return r.get(`p${i % 100}:${i}`);
    }),
  );
  equal(times(2000, String), answers);
  await Promise.all(times(2000, i => r.del(`p${i % 100}:${i}`)));
  return answers.length;
}

async function transaction() {
  const good = await r.multi().set('{tx}a', '1').incr('{tx}a').hSet('{tx}h', 'a', 'b').hGetAll('{tx}h').exec();
  const error = await refused(r.multi().set('{tx}a', '1').lPush('{tx}a', 'x').exec());
  return [good.map(v => (v && typeof v === 'object' ? { ...v } : v)), error, await r.get('{tx}a')];
}

async function scripts() {
  const answers = await Promise.all(
    times(100, i => r.eval('return {KEYS[1], ARGV[1]}', { keys: [`k${i}`], arguments: [`${i}`] })),
  );
  equal(times(100, i => [`k${i}`, String(i)]), answers);
  return refused(r.eval("return redis.call('nope')", { keys: ['k'] }));
}

async function pubsub() {
  const s = await open();
  const got = [];
  await s.subscribe(['ch1', 'ch2'], (text, channel) => got.push(`${channel}=${text}`));
  await s.pSubscribe('pat*', (text, channel) => got.push(`pat*:${channel}=${text}`));
  for (let i = 0; i < 100; i++) await r.publish('ch1', String(i));
  await r.publish('pat1', 'x');
  await until(() => got.length === 101);
  inOrder([...times(100, i => `ch1=${i}`), 'pat*:pat1=x'], got, cluster || hidden);
  await s.unsubscribe('ch1');
  await r.publish('ch1', 'nobody');
  await r.publish('ch2', 'last');
  await until(() => got.length === 102);
  await s.sSubscribe('sh', text => got.push(`sharded ${text}`));
  await r.sPublish('sh', 'x');
  await until(() => got.length === 103);
  s.destroy();
  return got.slice(101);
}

async function errors() {
  await r.set('str', 'x');
  return [
    await refused(r.lPush('str', '1'), 'WRONGTYPE'),
    await refused(r.incr('str'), 'not an integer'),
    cluster ? '' : await refused(r.sendCommand(['NONSENSE', 'a']), 'unknown command'),
    cluster ? '' : await refused(r.sendCommand(['GET']), 'wrong number'),
  ];
}

async function streams() {
  await r.xAdd('x', '1-1', { a: 'b' });
  await r.xGroupCreate('x', 'g', '0');
  const group = await r.xReadGroup('g', 'c', { key: 'x', id: '>' });
  return [JSON.stringify(group), await r.xAck('x', 'g', '1-1'), JSON.stringify(await r.xRange('x', '-', '+'))];
}

async function watch() {
  const pool = createClientPool(where, { maximum: 8 });
  await pool.connect();
  await pool.set('sum', '0');
  const add = async () => {
    for (;;) {
      try {
        return await pool.execute(async client => {
          await client.watch('sum');
          const value = Number(await client.get('sum'));
          return client.multi().set('sum', String(value + 1)).exec();
        });
      } catch (err) {
        if (!(err instanceof WatchError)) throw err;
      }
    }
  };
  await Promise.all(times(8, async () => { for (let i = 0; i < 20; i++) await add(); }));
  const sum = await pool.get('sum');
  await pool.destroy();
  return sum;
}

async function databases() {
  const three = await open({ database: 3 });
  await r.set('where', 'zero');
  await three.set('where', 'three');
  await three.select(4);
  const empty = await three.get('where');
  await three.select(3);
  const seen = [await r.get('where'), empty, await three.get('where'), await three.dbSize()];
  await three.flushDb();
  three.destroy();
  return seen;
}

async function names() {
  const named = await open({ name: 'me' });
  const seen = [await named.clientGetName(), await r.clientGetName()];
  named.destroy();
  return seen;
}

async function blocking() {
  const clients = await Promise.all(times(5, () => open()));
  const waiting = clients.map((c, i) => c.blPop(`bl${i}`, 10));
  for (let i = 4; i >= 0; i--) equal(1, await r.rPush(`bl${i}`, String(i)));
  const got = await Promise.all(waiting);
  equal(times(5, i => ({ key: `bl${i}`, element: String(i) })), got.map(g => ({ ...g })));
  const none = await clients[0].blPop('nobody', 0.05);
  clients.forEach(c => c.destroy());
  return [none, await r.ping()];
}

async function scan() {
  await Promise.all(times(500, i => r.set(`scan:${i}`, String(i))));
  const found = new Set();
  for await (const keys of r.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) {
    keys.forEach(key => found.add(key));
  }
  return found.size;
}

async function caching() {
  const own = createClient({ ...where, clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: 'LRU' } });
  await own.connect();
  await r.set('cached', '1');
  equal('1', await own.get('cached'));
  equal('1', await own.get('cached'));
  await r.set('cached', '2');
  await until(async () => (await own.get('cached')) === '2');
  own.destroy();
  return 'invalidated';
}

async function end() {
  if (!cluster) equal('OK', await r.flushAll());
  await r.close();
  return 'closed';
}

const steps = [
  ['common', common],
  ['binary', binary],
  ['sizes', sizes],
  ['many at once', together],
  ['transaction', transaction],
  ['scripts', scripts],
  ['pubsub', pubsub],
  ['errors', errors],
  ['streams', streams],
];
if (!cluster) {
  steps.push(
    ['watch', watch],
    ['names', names],
    ['blocking', blocking],
    ['scan', scan],
  );
  if (!hidden) steps.push(['databases', databases]);
  if (RESP === 3 && !hidden) steps.push(['client side caching', caching]);
}
steps.push(['end', end]);

async function main() {
  r = await open();
  if (cluster) {
    for (const node of r.masters) await (await r.nodeClient(node)).flushAll();
  } else {
    await r.flushAll();
  }
  await run(steps);
}

main();
