'use strict';

// ioredis.js standalone|cluster|hidden HOST:PORT 2|3

const Redis = require('ioredis');
const { check, equal, inOrder, refused, run, times, until } = require('./steps');

const [topology, address, resp] = process.argv.slice(2);
const cluster = topology === 'cluster';
// A cluster that looks like one server.
const hidden = topology === 'hidden';
const [host, port] = address.split(':');
const protocol = Number(resp);
const mapping = protocol === 3 ? { replyMapping: 'resp3' } : {};
const options = { host, port: Number(port), protocol, ...mapping };

function open(extra = {}) {
  if (cluster) {
    const { db, ...rest } = extra;
    return new Redis.Cluster([{ host, port: Number(port) }], {
      redisOptions: { protocol, ...mapping, ...rest },
    });
  }
  return new Redis({ ...options, ...extra });
}

const r = open();

async function common() {
  await r.set('s', 'x');
  equal('x', await r.get('s'));
  equal('OK', await r.hmset('h', { a: 1, b: 'two' }));
  equal({ a: '1', b: 'two' }, { ...(await r.hgetall('h')) });
  const z = await r.zadd('z', 1.5, 'a', 2, 'b');
  const scores = await r.zrange('z', 0, -1, 'WITHSCORES');
  const missing = await r.get('nobody');
  return [z, scores, missing, await r.smembers('nobody'), await r.incrbyfloat('f', 0.5)];
}

async function binary() {
  const value = Buffer.from(times(300, i => i % 256));
  await r.set(value, value);
  equal(value, await r.getBuffer(value));
  return r.del(value);
}

async function sizes() {
  const seen = [];
  for (const size of [0, 1, 4096, 65535, 65536, 1 << 20, 8 << 20]) {
    const value = Buffer.alloc(size, size % 251);
    await r.set('big', value);
    check(value.equals(await r.getBuffer('big')), size);
    seen.push(await r.strlen('big'));
  }
  await r.del('big');
  return seen;
}

async function together() {
  const answers = await Promise.all(
    times(2000, async i => {
      await r.set(`p${i % 100}:${i}`, i);
      return r.get(`p${i % 100}:${i}`);
    }),
  );
  equal(times(2000, String), answers);
  await Promise.all(times(2000, i => r.del(`p${i % 100}:${i}`)));
  return answers.length;
}

async function pipeline() {
  const p = r.pipeline();
  for (let i = 0; i < 1000; i++) p.set(`{pipe}${i % 20}`, i).get(`{pipe}${i % 20}`);
  p.lpush('{pipe}0', 1);
  const answers = await p.exec();
  equal(times(1000, String), answers.slice(0, 2000).filter((_, i) => i % 2).map(a => a[1]));
  return answers[2000][0].message;
}

async function transaction() {
  const good = await r.multi().set('{tx}a', 1).incr('{tx}a').lpush('{tx}a', 1).get('{tx}a').exec();
  equal([null, 'OK'], good[0]);
  const bad = r.multi().set('{tx}a', 5);
  bad.call('set', '{tx}a');
  const abort = await refused(bad.exec(), 'EXECABORT');
  return [good.map(([err, v]) => err?.message ?? v), abort, await r.get('{tx}a')];
}

async function scripts() {
  const lua = 'return {KEYS[1], ARGV[1]}';
  // What EVAL brings is known to one shard, and ioredis takes it to be known to the server.
  if (hidden) await r.script('LOAD', lua);
  r.defineCommand('both', { numberOfKeys: 1, lua });
  equal(['k', 'a'], await r.both('k', 'a'));
  equal(['k', 'b'], await r.both('k', 'b'));
  const all = await Promise.all(times(100, i => r.both(`k${i}`, i)));
  equal(times(100, i => [`k${i}`, String(i)]), all);
  return refused(r.eval("return redis.call('nope')", 1, 'k'));
}

async function blocking() {
  const clients = times(5, () => open());
  const waiting = clients.map((c, i) => c.blpop(`bl${i}`, 10));
  // Whether or not they wait already, each gets its own.
  for (let i = 4; i >= 0; i--) equal(1, await r.rpush(`bl${i}`, i));
  const got = await Promise.all(waiting);
  equal(times(5, i => [`bl${i}`, String(i)]), got);
  const none = await clients[0].blpop('nobody', 0.05);
  clients.forEach(c => c.disconnect());
  return [none, await r.ping()];
}

async function pubsub() {
  const s = open();
  const got = [];
  s.on('message', (channel, text) => got.push(`${channel}=${text}`));
  s.on('pmessage', (pattern, channel, text) => got.push(`${pattern}:${channel}=${text}`));
  const counts = [await s.subscribe('ch1', 'ch2'), await s.psubscribe('pat*')];
  for (let i = 0; i < 100; i++) await r.publish('ch1', i);
  await r.publish('pat1', 'x');
  await until(() => got.length === 101);
  inOrder([...times(100, i => `ch1=${i}`), 'pat*:pat1=x'], got, cluster || hidden);
  counts.push(await s.unsubscribe('ch1'), await s.punsubscribe('pat*'));
  await r.publish('ch1', 'nobody');
  await r.publish('ch2', 'last');
  await until(() => got.length === 102);
  s.disconnect();
  return [counts, got[101]];
}

async function scan() {
  await Promise.all(times(500, i => r.set(`scan:${i}`, i)));
  const found = new Set();
  const nodes = cluster ? r.nodes('master') : [r];
  for (const node of nodes) {
    for await (const keys of node.scanStream({ match: 'scan:*', count: 50 })) {
      keys.forEach(key => found.add(key));
    }
  }
  await Promise.all(times(500, i => r.del(`scan:${i}`)));
  return found.size;
}

async function errors() {
  await r.set('str', 'x');
  return [
    await refused(r.lpush('str', 1), 'WRONGTYPE'),
    await refused(r.incr('str'), 'not an integer'),
    await refused(r.call('NONSENSE', 'a'), 'unknown command'),
    cluster ? '' : await refused(r.call('GET'), 'wrong number'),
  ];
}

async function watch() {
  const own = open();
  await own.set('w', 1);
  await own.watch('w');
  await r.set('w', 2);
  const lost = await own.multi().incr('w').exec();
  await own.watch('w');
  const won = await own.multi().incr('w').exec();
  own.disconnect();
  return [lost, won];
}

async function databases() {
  const three = open({ db: 3 });
  await r.set('where', 'zero');
  await three.set('where', 'three');
  const pipe = await three.pipeline().select(4).set('where', 'four').select(3).get('where').exec();
  const seen = [await r.get('where'), await three.get('where'), pipe.map(a => a[1])];
  await three.flushdb();
  three.disconnect();
  return seen;
}

async function names() {
  const named = open({ connectionName: 'me' });
  const seen = [await named.client('GETNAME'), await r.client('GETNAME')];
  named.disconnect();
  return seen;
}

async function monitor() {
  const m = await r.monitor();
  const seen = [];
  m.on('monitor', (_, args) => seen.push(args.join(' ')));
  await until(async () => {
    await r.set('mon', 1);
    return seen.some(line => line.toLowerCase() === 'set mon 1');
  });
  m.disconnect();
  return 'seen';
}

async function streams() {
  await r.xadd('x', '1-1', 'a', 'b');
  await r.xgroup('CREATE', 'x', 'g', '0');
  const group = await r.xreadgroup('GROUP', 'g', 'c', 'STREAMS', 'x', '>');
  return [group, await r.xack('x', 'g', '1-1'), await r.xrange('x', '-', '+')];
}

async function end() {
  const quitter = open();
  await quitter.get('a');
  const seen = [await quitter.quit()];
  if (!cluster) seen.push(await r.flushall(), await r.dbsize());
  return seen;
}

const steps = [
  ['common', common],
  ['binary', binary],
  ['sizes', sizes],
  ['many at once', together],
  ['pipeline', pipeline],
  ['transaction', transaction],
  ['scripts', scripts],
  ['blocking', blocking],
  ['pubsub', pubsub],
  ['scan', scan],
  ['errors', errors],
  ['streams', streams],
];
if (!cluster) {
  steps.push(['watch', watch], ['names', names]);
  if (!hidden) steps.push(['databases', databases], ['monitor', monitor]);
}
steps.push(['end', end]);

async function main() {
  r.on('error', err => console.error(err.message));
  const nodes = cluster ? await masters() : [r];
  await Promise.all(nodes.map(node => node.flushall()));
  await run(steps);
}

async function masters() {
  await r.ping();
  return r.nodes('master');
}

main();
