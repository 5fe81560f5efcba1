import { existsSync } from 'node:fs';
import { request } from 'node:http';

const ANSWER_WITHIN_MS = 200;
const SOCKET = '/var/run/docker.sock';

/** True when a Docker engine answers within 200 ms at `DOCKER_HOST` or the default socket. */
export const dockerAnswers = (env: NodeJS.ProcessEnv): Promise<boolean> => {
  const engine = engineOf(env['DOCKER_HOST']);
  if (engine === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const ping = request({ ...engine, path: '/_ping', timeout: ANSWER_WITHIN_MS, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.once('timeout', () => ping.destroy());
    ping.once('error', () => resolve(false));
    ping.once('close', () => resolve(false));
    ping.end();
  });
};

const engineOf = (host: string | undefined): { socketPath: string } | { host: string; port: string } | undefined => {
  if (host === undefined || host === '') return existsSync(SOCKET) ? { socketPath: SOCKET } : undefined;
  if (host.startsWith('unix://')) return { socketPath: host.slice('unix://'.length) };
  if (!URL.canParse(host)) return undefined;
  const { hostname, port } = new URL(host);
  return { host: hostname, port: port || '2375' };
};
