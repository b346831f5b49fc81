'use strict';

// node server.js PORT: sofa-rpc-node's server on loopback, with both services.

const net = require('net');
const { RpcServer } = require('sofa-rpc-node').server;
const { HELLO, PROTO_HELLO, bolt, proto } = require('./protocol');

// The library listens on every interface; nothing here is meant for another machine.
class LoopbackServer extends RpcServer {
  _startServer(port) {
    const server = net.createServer();
    server.once('error', err => { this.emit('error', err); });
    server.on('connection', socket => { this._handleSocket(socket); });
    server.listen(port, '127.0.0.1');
    return server;
  }
}

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const sleep = millis => new Promise(resolve => setTimeout(resolve, millis));
const notes = new Map();
const note = key => { notes.set(key, noted(key) + 1); return key; };
const noted = key => notes.get(key) || 0;

const hello = {
  async plus(a, b) { return a + b; },
  async echo(text) { return text; },
  async blob(bytes) { return bytes; },
  async pojo(value) { return value; },
  async fail(why) { throw new Error(why); },
  async failRuntime(why) { throw new TypeError(why); },
  async slow(millis) { await sleep(millis); return `slept ${millis}`; },
  async note(key) { return note(key); },
  async noted(key) { return noted(key); },
};

const text = value => ({ value });
const protoHello = {
  async echo({ value }) { return text(value); },
  async fail({ value }) { throw new Error(value); },
  async slow({ value }) { await sleep(Number(value)); return text(`slept ${value}`); },
  async note({ value }) { return text(note(value)); },
  async noted({ value }) { return text(`${noted(value)}`); },
};

async function main() {
  const port = Number(process.argv[2]);
  const server = new LoopbackServer({
    logger: quiet,
    port,
    protocol: bolt,
    proto,
    // In v1 it remembers for each connection how a class looks, by the class's name, though clients
    // in other languages order its fields in other ways; behind a proxy they share a connection.
    disableDecodeCache: true,
  });
  server.addService({ interfaceName: HELLO, version: '1.0' }, hello);
  server.addService({ interfaceName: HELLO, version: '1.0', uniqueId: 'blue' }, hello);
  server.addService({ interfaceName: PROTO_HELLO, version: '1.0' }, protoHello);
  await server.start();
  console.log(`ready 127.0.0.1:${port}`);
}

main().catch(err => {
  console.error(err);
  process.exit(1);
});
