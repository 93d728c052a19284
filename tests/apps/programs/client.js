// Asks server.js for everything that it has, and somebody who isn't there; says "done".
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const dgram = require('dgram');
const http = require('http');
const net = require('net');

const [host, ...ports] = process.argv.slice(2);
const [httpPort, echoPort, datagramPort] = ports.map(Number);
const digest = (data) => crypto.createHash('sha256').update(data).digest('hex');
const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });

function collect(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces)));
    stream.on('error', reject);
  });
}

function ask(path, method = 'GET', body = undefined) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port: httpPort, path, agent, method });
    request.on('response', (response) => collect(response).then(resolve, reject));
    request.on('error', reject);
    request.end(body);
  });
}

async function main() {
  const want = (await ask('/digest')).toString();
  for (const got of await Promise.all(Array.from({ length: 10 }, () => ask('/big')))) {
    assert.strictEqual(digest(got), want);
  }
  await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    assert.strictEqual((await ask(`/${i}`)).toString(), `hello /${i}`);
  }));
  agent.destroy();

  const data = crypto.randomBytes(500_000);
  const posted = await fetch(`http://${host}:${httpPort}/`, { method: 'POST', body: data });
  assert.strictEqual(await posted.text(), digest(data));

  const socket = net.connect(echoPort, host);
  socket.end(data);
  assert.strictEqual(Buffer.compare(await collect(socket), data), 0);

  const refused = await new Promise((resolve) => net.connect(9, host).on('error', resolve));
  assert.strictEqual(refused.code, 'ECONNREFUSED');

  // The wire may lose a datagram: sent again until one comes back.
  const datagrams = dgram.createSocket('udp4');
  const back = new Promise((resolve) => datagrams.on('message', resolve));
  const sending = setInterval(() => datagrams.send('a datagram', datagramPort, host), 20);
  assert.strictEqual((await back).toString(), 'a datagram');
  clearInterval(sending);
  datagrams.close();
  console.log('done');
}

main().catch((error) => {
  console.log(error);
  process.exitCode = 1;
});
