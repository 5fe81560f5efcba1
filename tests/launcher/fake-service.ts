import { appendFileSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';

// Fake of every service for tests of the launcher and the load balancer: ready at once; the path selects the response.
const environment = process.env;
const name = environment['INSTANCE_NAME'];
const requestLog = environment['REQUEST_LOG'];

/** Records a request by its id. Returns the number of its arrivals at all replicas. */
const arrivals = ({ method, headers }: IncomingMessage): number => {
  if (requestLog === undefined) return 0;
  const id = String(headers['x-request-id']);
  appendFileSync(requestLog, `${name} received ${method} ${id}\n`);
  return readFileSync(requestLog, 'utf8').split(` ${id}\n`).length - 1;
};

const server = createServer((request, response) => {
  if (request.url === '/crash') {
    process.stdout.write(`${name} is about to crash\n`);
    process.exit(3);
  }
  // The first arrival gets no response, further arrivals do.
  if (request.url?.endsWith('/hold') && arrivals(request) === 1) return;
  if (request.url?.endsWith('/overloaded')) {
    arrivals(request);
    response.writeHead(503).end();
    return;
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ name, path: request.url, headers: request.headers, environment }));
});
server.listen(Number(environment['PORT']), '127.0.0.1');

process.on('SIGTERM', () => {
  if (requestLog !== undefined) appendFileSync(requestLog, `${name} drained\n`);
  if (environment['IGNORES_SIGTERM'] !== name) process.exit(0);
});
