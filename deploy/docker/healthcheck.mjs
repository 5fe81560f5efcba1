// HEALTHCHECK of the images: exit code 0 when the process answers on its ops port. Liveness, not readiness: an outage of
// Redis or Postgres must not make a container unhealthy, which would have it replaced.
import { get } from 'node:http';

const TIMEOUT_MS = 2_000;
const path = process.argv[2] ?? '/livez';
const port = process.env.OPS_PORT ?? '9090';

const request = get({ host: '127.0.0.1', port, path, timeout: TIMEOUT_MS, agent: false }, (response) => {
  response.resume();
  process.exitCode = response.statusCode === 200 ? 0 : 1;
});
request.once('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
request.once('error', (error) => {
  process.stderr.write(`${path}: ${error.message}\n`);
  process.exitCode = 1;
});
