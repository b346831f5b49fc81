'use strict';

// node client.js STEPS HOST:PORT VERSION SERVER: sofa-rpc-node's client, and one connection of
// sofa-bolt-node for what the client does not offer (heartbeats with their answers, one-way).

const net = require('net');
const Connection = require('connection');
const { RpcClient } = require('sofa-rpc-node').client;
const { HELLO, PROTO_HELLO, clientProtocol, proto } = require('./protocol');
const { check, end, equal, nonce, step, text, thrown } = require('./steps');
const faults = require('./faults');

const SIZES = [ 0, 1, 100, 4096, 65535, 65536, 1 << 20, 16 << 20 ];
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const [ , , steps, address, version, server ] = process.argv;
const isJava = server === 'sofarpc' || server === 'sofabolt';
const protocol = clientProtocol(version);
const sleep = millis => new Promise(resolve => setTimeout(resolve, millis));

const client = new RpcClient({ logger: quiet, protocol });
const consumer = (interfaceName, extra) => client.createConsumer(
  Object.assign({ interfaceName, version: '1.0', serverHost: address, responseTimeout: 30000, proto }, extra));

const hello = consumer(HELLO);
const call = (method, args, timeout) => hello.invoke(method, args, { responseTimeout: timeout });
const protoHello = consumer(PROTO_HELLO);
const protoCall = async (method, value, timeout) =>
  (await protoHello.invoke(method, [ { value } ], { codecType: 'protobuf', responseTimeout: timeout })).value;

// One echo for each serialization that the server knows, the usual one first.
const callers = Object.assign(
  server === 'python' ? {} : { hessian2: value => call('echo', [ value ], 5000) },
  { protobuf: value => protoCall('echo', value, 5000) });

async function values() {
  await step('sync', async () => {
    equal(3, await call('plus', [ 1, 2 ]));
    return '1 + 2 = 3';
  });
  await step('text', async () => {
    for (const s of [ '', `${nonce()} h\u00e9 \u4e16\u754c \ud83d\ude80` ]) equal(s, await call('echo', [ s ]));
    equal(null, await call('echo', [ { $class: 'java.lang.String', $: null } ]));
    return 'empty, all widths of UTF-8, null';
  });
  for (const size of SIZES) {
    await step(`payload ${size}`, async () => {
      const bytes = Buffer.from(text(size));
      check(bytes.equals(await call('blob', [ bytes ])), 'other bytes');
      return 'the same bytes';
    });
  }
  await step('object', async () => {
    const name = nonce();
    const back = await call('pojo', [ {
      $class: 'wiremesh.peers.Values$Pojo',
      $: {
        name: { $class: 'java.lang.String', $: name },
        id: { $class: 'long', $: '1234605616436508552' },
        tags: { $class: 'java.util.List', $: [ 'a', '\u00e9' ] },
      },
    } ]);
    equal(name, back.name);
    equal('1234605616436508552', String(back.id));
    equal('a,\u00e9', back.tags.join());
    return 'its fields';
  });
  await step('uniqueId', async () => {
    const blue = consumer(HELLO, { version: '1.0:blue' });
    equal(42, await blue.invoke('plus', [ 20, 22 ]));
    return '20 + 22 = 42 from the service named blue';
  });
}

async function errors() {
  await step('exception', async () => {
    const why = nonce();
    const err = await thrown(call('fail', [ why ]));
    check(err.message.includes(why), err);
    if (isJava) check(`${err.name} ${err.message} ${err.stack}`.includes('BizException'), err);
    return err;
  });
  await step('unknown service', () => thrown(consumer('wiremesh.peers.Nobody').invoke('plus', [ 1, 1 ])));
  await step('unknown method', () => thrown(call('none', [])));
}

async function timeout(slow, again) {
  await step('timeout', async () => {
    const start = Date.now();
    const err = await thrown(slow);
    const took = Date.now() - start;
    check(took >= 280 && took < 700, `${took} ms`);
    let calls = 0;
    for (; Date.now() - start < 1000; calls++) {
      const s = nonce();
      equal(s, await again(s));
    }
    return `${err.name} after ${took} ms; ${calls} right answers around the late one`;
  });
}

async function styles() {
  await step('overtaking', async () => {
    const order = [];
    const slow = call('slow', [ 700 ]).then(answer => { order.push('slow'); return answer; });
    const fast = call('echo', [ 'fast' ]).then(answer => { order.push('fast'); return answer; });
    equal('fast', await fast);
    equal('slept 700', await slow);
    equal('fast,slow', order.join());
    return 'the fast answer comes before the slow one';
  });
}

async function concurrent(name, ask) {
  await step(name, async () => {
    await Promise.all(Array.from({ length: 50 }, async () => {
      for (let i = 0; i < 40; i++) {
        const sent = text(40 + i * 37 % 3000);
        equal(sent, await ask(sent));
      }
    }));
    return '2000 answers, each the caller\'s own';
  });
}

async function protobuf() {
  for (const size of SIZES) {
    if (size === 0) continue; // An empty message has no bytes, and so no argument.
    await step(`protobuf payload ${size}`, async () => {
      const s = text(size);
      equal(s, await protoCall('echo', s));
      return 'the same text';
    });
  }
  if (isJava) {
    // sofa-bolt-node reads the text of a Java server's error as a message. Whether it gives up on it depends on the
    // text: on this one it does, since no field begins with a `g`.
    await step('protobuf exception (closes the connection, also without a proxy)', async () => {
      const err = await thrown(protoCall('fail', 'gggggggg'));
      equal('RpcSocketCloseError', err.name);
      return err.name;
    });
  } else {
    await step('protobuf exception', async () => {
      const why = nonce();
      const err = await thrown(protoCall('fail', why));
      // The Python server answers a failure with a status alone.
      check(server === 'python' || err.message.includes(why), err);
      return err;
    });
  }
  await concurrent('protobuf concurrent', s => protoCall('echo', s));
}

// One connection of its own, with sofa-bolt-node's frames and nothing of sofa-rpc-node's client.
async function raw() {
  const [ host, port ] = address.split(':');
  const socket = net.connect(Number(port), host);
  const connection = new Connection({ socket, logger: quiet, protocol, url: `bolt://${address}` });
  await connection.ready();
  await step('heartbeats', async () => {
    for (let i = 0; i < 4; i++) {
      const ack = await connection.writeHeartbeat({ timeout: 3000, clientUrl: `127.0.0.1:${socket.localPort}` });
      equal('heartbeat_ack', ack.packetType);
    }
    return '4 answered';
  });
  if (server !== 'python') {
    await step('one-way', async () => {
      const key = nonce();
      for (let i = 0; i < 10; i++) {
        connection.oneway({
          serverSignature: `${HELLO}:1.0`, methodName: 'note', args: [ key ], requestProps: null, timeout: 3000,
        });
      }
      const start = Date.now();
      while (await call('noted', [ key ]) < 10 && Date.now() - start < 5000) await sleep(10);
      equal(10, await call('noted', [ key ]));
      return '10 sent, 10 counted by the server';
    });
  }
  await connection.close();
}

async function all() {
  if (server === 'python') {
    await timeout(protoCall('slow', '700', 300), s => protoCall('echo', s));
  } else {
    await values();
    await errors();
    await styles();
    await timeout(call('slow', [ 700 ], 300), s => call('echo', [ s ]));
    await concurrent('concurrent', s => call('echo', [ s ]));
  }
  await protobuf();
  await raw();
}

async function main() {
  const sets = { all, gone: () => faults.gone(callers), restart: () => faults.restart(Object.values(callers)[0]) };
  if (!sets[steps]) throw new Error(`no steps ${steps}`);
  await sets[steps]();
  end();
}

// The library rejects the promises of a connection that breaks a second time, unheard.
process.on('unhandledRejection', () => {});
client.on('error', () => {});
main().catch(err => {
  console.log(`FAIL ${err.stack}`);
  process.exit(1);
});
