import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

// Stands in for every service where only the launcher is tested: ready at once, does as it is told.
const environment = process.env;
const name = environment['INSTANCE_NAME'];

const server = createServer((request, response) => {
  if (request.url === '/crash') {
    process.stdout.write(`${name} is about to crash\n`);
    process.exit(3);
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ name, path: request.url, headers: request.headers, environment }));
});
server.listen(Number(environment['PORT']), '127.0.0.1');

process.on('SIGTERM', () => {
  const diary = environment['DIARY'];
  if (diary !== undefined) appendFileSync(diary, `${name} drained\n`);
  if (environment['STUBBORN'] !== name) process.exit(0);
});
