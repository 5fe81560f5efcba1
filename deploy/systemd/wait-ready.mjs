// ExecStartPost of the units: ends when /readyz of the ops port answers 200. The unit's TimeoutStartSec bounds it.
import { get } from 'node:http';

const TIMEOUT_MS = 2_000;
const PAUSE_MS = 200;

const isReady = () =>
  new Promise((resolve) => {
    const options = {
      host: '127.0.0.1',
      port: process.env.OPS_PORT,
      path: '/readyz',
      timeout: TIMEOUT_MS,
      agent: false,
    };
    const request = get(options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(false));
  });

while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
