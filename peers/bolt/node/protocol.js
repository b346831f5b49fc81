'use strict';

// What both ends share: the protobuf service, and a protocol for sofa-rpc-node that speaks one
// version of Bolt.

const path = require('path');
const antpb = require('antpb');
const bolt = require('sofa-bolt-node');

const HELLO = 'wiremesh.peers.Hello';
const PROTO_HELLO = 'wiremesh.peers.ProtoHello';
const proto = antpb.loadAll(path.join(__dirname, 'proto'));

const VERSIONS = {
  v1: { protocolType: 'bolt', boltVersion: 1, crcEnable: false },
  v2: { protocolType: 'bolt2', boltVersion: 1, crcEnable: false },
  v2crc: { protocolType: 'bolt2', boltVersion: 2, crcEnable: true },
};

// A server answers in whatever version it is asked; only a client has to choose.
function clientProtocol(version) {
  const settings = VERSIONS[version];
  if (!settings) throw new Error(`no version ${version}`);
  return {
    name: bolt.name,
    setOptions: bolt.setOptions,
    decoder: options => bolt.decoder(options),
    encoder: options => Object.assign(bolt.encoder(options), settings),
  };
}

bolt.setOptions({ proto });

module.exports = { HELLO, PROTO_HELLO, bolt, proto, clientProtocol };
