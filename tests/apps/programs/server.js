// HTTP on one port, an echo of streams on another, an echo of datagrams on a third; 7 at SIGTERM.
'use strict';
const crypto = require('crypto');
const dgram = require('dgram');
const http = require('http');
const net = require('net');

const [httpPort, echoPort, datagramPort] = process.argv.slice(2).map(Number);
const big = crypto.randomBytes(1_000_000);
const digest = (data) => crypto.createHash('sha256').update(data).digest('hex');

http.createServer((request, response) => {
  if (request.method === 'POST') {
    const hash = crypto.createHash('sha256');
    request.on('data', (piece) => hash.update(piece));
    request.on('end', () => response.end(hash.digest('hex')));
  } else if (request.url === '/big') {
    response.end(big);
  } else {
    response.end(request.url === '/digest' ? digest(big) : `hello ${request.url}`);
  }
}).listen(httpPort);

net.createServer((socket) => socket.pipe(socket)).listen(echoPort);

const datagrams = dgram.createSocket('udp4');
datagrams.on('message', (data, from) => datagrams.send(data, from.port, from.address));
datagrams.bind(datagramPort);

process.on('SIGTERM', () => process.exit(7));
