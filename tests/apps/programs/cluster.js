// Node's cluster module: two workers share a port; each answers with its number, /exit ends one.
'use strict';
const cluster = require('cluster');
const crypto = require('crypto');
const http = require('http');

const [port, policy] = process.argv.slice(2);
// "shared": the workers accept from the socket that the primary passes to them, by SCM_RIGHTS.
// "dealt": the primary accepts, and passes each connection to a worker.
cluster.schedulingPolicy = policy === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;

if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) {
    cluster.fork();
  }
  cluster.on('exit', (worker) => worker.exitedAfterDisconnect || cluster.fork());
  process.on('SIGTERM', () => cluster.disconnect(() => process.exit(7)));
} else {
  process.on('SIGTERM', () => {});
  http.createServer((request, response) => {
    const hash = crypto.createHash('sha256');
    request.on('data', (piece) => hash.update(piece));
    request.on('end', () => {
      response.setHeader('Connection', 'close');
      response.end(request.method === 'POST' ? hash.digest('hex') : String(process.pid));
      if (request.url === '/exit') {
        response.on('close', () => process.exit(1));
      }
    });
  }).listen(Number(port));
}
