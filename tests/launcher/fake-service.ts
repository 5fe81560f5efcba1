import { appendFileSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';

// A fake of every service for tests of the launcher: ready at once, configured by its environment.
const environment = process.env;
const name = environment['INSTANCE_NAME'];
const diary = environment['DIARY'];

/** Notes a request under its id; answers how often it has arrived at any replica. */
const arrivals = ({ method, headers }: IncomingMessage): number => {
  if (diary === undefined) return 0;
  const id = String(headers['x-request-id']);
  appendFileSync(diary, `${name} received ${method} ${id}\n`);
  return readFileSync(diary, 'utf8').split(` ${id}\n`).length - 1;
};

const server = createServer((request, response) => {
  if (request.url === '/crash') {
    process.stdout.write(`${name} is about to crash\n`);
    process.exit(3);
  }
  // The first arrival is never answered, a second one is.
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
  if (diary !== undefined) appendFileSync(diary, `${name} drained\n`);
  if (environment['STUBBORN'] !== name) process.exit(0);
});
