import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { request as requestByTls } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { freePorts } from '@muster/local/ports';
import { until } from '@muster/testkit/wait';
import { afterEach, expect, test } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { startTestProxy } from './proxy.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const CLIENTS = 30;

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** Accepts WebSocket connections. */
const openGateway = async () => {
  const server = createServer((req, res) => res.end(JSON.stringify(req.headers)));
  const sockets = new WebSocketServer({ server });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets: () => [...sockets.clients] };
};
const planOf = (port: number, gateways: readonly number[]) => {
  const servers = gateways.map((one, index) => ({ name: `g${index}`, host: '127.0.0.1', port: one }));
  return {
    bind: `127.0.0.1:${port}`,
    maxConnections: 500,
    gateways: servers,
    sessionServices: servers,
    aggregators: servers,
  };
};
/** Workers of a master, by process id. */
const workersOf = (master: number): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)
    .filter((pid) => {
      try {
        return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]) === master;
      } catch {
        return false;
      }
    });

test('[LB14] [LB21] a reload closes no connection; drained clients reconnect through the new process, and the old process ends', async () => {
  const gateways = [await openGateway(), await openGateway()];
  const [port = 0] = await freePorts(1);
  const url = `http://127.0.0.1:${port}/api/info`;
  const plan = planOf(
    port,
    gateways.map((each) => each.port),
  );
  const { child } = stack.use(await startTestProxy(plan, { args: ['-W', '-db'] }));
  const workers = () => workersOf(child.pid ?? 0);
  await until(async () => (await fetch(url)).ok, { what: 'HAProxy' });
  const [oldWorker = 0] = workers();
  const closes = Array.from({ length: CLIENTS }, () => 0);
  const codes = new Set<number>();
  let isOver = false;
  const open = (index: number): void => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws?group=g`);
    socket.on('error', () => {});
    socket.on('close', (code) => {
      if (isOver) return;
      codes.add(code);
      closes[index] = (closes[index] ?? 0) + 1;
      open(index);
    });
  };
  const untilAllOpen = () =>
    until(() => gateways.reduce((sum, one) => sum + one.sockets().length, 0), {
      ok: (count) => count === CLIENTS,
      what: 'every client connected',
    });
  for (let index = 0; index < CLIENTS; index += 1) open(index);
  await untilAllOpen();

  child.kill('SIGUSR2');
  await until(() => workers().some((pid) => pid !== oldWorker), { what: 'the new process' });
  await until(async () => (await fetch(url, { headers: { connection: 'close' } })).ok, { what: 'an answer' });
  expect([workers().includes(oldWorker), Math.max(...closes)]).toEqual([true, 0]);

  for (const leaving of gateways.map((each) => each.sockets())) {
    const before = closes.reduce((sum, count) => sum + count, 0);
    for (const socket of leaving) socket.close(3001, 'shutdown');
    await until(() => closes.reduce((sum, count) => sum + count, 0) - before, {
      ok: (count) => count === leaving.length,
      what: 'the clients of a gateway to be closed',
    });
    await untilAllOpen();
  }
  await until(() => !workers().includes(oldWorker), { what: 'the end of the old process' });
  expect([[...codes], closes]).toEqual([[3001], closes.map(() => 1)]);
  isOver = true;
});

test('[LB14] the old process keeps its connections for hours', () => {
  const template = readFileSync(join(ROOT, 'deploy/haproxy/haproxy.cfg.template'), 'utf8');
  const [, hours = '0'] = /^ {2}hard-stop-after (\d+)h$/m.exec(template) ?? [];
  expect(Number(hours)).toBeGreaterThanOrEqual(12);
});

/** The lines of `docs/operations/tls.md` for one section of the configuration. */
const documented = (section: string): string => {
  const text = readFileSync(join(ROOT, 'docs/operations/tls.md'), 'utf8');
  return new RegExp(`\`\`\`haproxy ${section}\\n([^]*?)\`\`\``).exec(text)?.[1] ?? '';
};
const makeCertificate = async (directory: string, name: string): Promise<string> => {
  const [key, certificate] = [join(directory, `${name}.key`), join(directory, `${name}.crt`)];
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`],
    ...['-keyout', key, '-out', certificate],
  ]);
  return readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8');
};
/** Sends one command to the runtime API; resolves with the response. */
const command = async (socketPath: string, text: string): Promise<string> => {
  const socket = connect(socketPath);
  socket.end(text);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
};
/** Requests over TLS; resolves with the headers that the replica received, and the name in the certificate. */
const fetchByTls = (port: number): Promise<{ headers: Record<string, string>; name: unknown }> =>
  new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', path: '/api/info', rejectUnauthorized: false, agent: false };
    requestByTls(options, (answer) => {
      const name = (answer.socket as TLSSocket).getPeerCertificate().subject?.CN;
      let text = '';
      answer.on('data', (chunk) => {
        text += chunk;
      });
      answer.on('end', () => resolve({ headers: JSON.parse(text), name }));
    })
      .once('error', reject)
      .end();
  });
const redirectOf = (port: number, path: string, host: string): Promise<unknown> =>
  new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', path, headers: { host }, agent: false }, (answer) => {
      answer.resume();
      resolve([answer.statusCode, answer.headers.location]);
    })
      .once('error', reject)
      .end();
  });

test('[LB13] [LB19] [LB20] given the lines of tls.md, TLS is served, plain requests redirected, certificates replaced', async () => {
  const gateway = await openGateway();
  const [port = 0, tlsPort = 0] = await freePorts(2);
  const certificates = stack.adopt(mkdtempSync(join(tmpdir(), 'muster-tls-')), (path) =>
    rmSync(path, { recursive: true, force: true }),
  );
  const file = join(certificates, 'site.pem');
  writeFileSync(file, await makeCertificate(certificates, 'first.test'));
  const [next, admin] = [await makeCertificate(certificates, 'next.test'), join(certificates, 'admin.sock')];
  for (const name of ['first.test', 'next.test']) {
    for (const kind of ['key', 'crt']) rmSync(join(certificates, `${name}.${kind}`));
  }
  const at = (text: string) =>
    text
      .replace(':8443', `127.0.0.1:${tlsPort}`)
      .replace('/etc/haproxy/certs/', file)
      .replace('/run/haproxy/admin.sock', admin);
  expect(documented('frontend')).toContain('redirect');
  stack.use(
    await startTestProxy(planOf(port, [gateway.port]), {
      change: (config) =>
        config
          .replace(/^ {2}bind .*\n/m, (bind) => bind + at(documented('frontend')))
          .replace(/^global\n/m, (head) => head + at(documented('global'))),
    }),
  );
  const first = await until(() => fetchByTls(tlsPort), { what: 'an answer by TLS' });
  expect([first.headers['x-forwarded-proto'], first.name]).toEqual(['https', 'first.test']);
  for (const host of ['muster.example.com:8080', 'muster.example.com']) {
    const location = 'https://muster.example.com/v1/x?y=1';
    expect(await redirectOf(port, '/v1/x?y=1', host)).toEqual([308, location]);
  }
  expect(await redirectOf(port, '/', '[::1]:8080')).toEqual([308, 'https://[::1]/']);

  const socket = new WebSocket(`wss://127.0.0.1:${tlsPort}/ws?group=g`, { rejectUnauthorized: false });
  await once(socket, 'open');
  expect(await command(admin, `set ssl cert ${file} <<\n${next}\n`)).toMatch(/Transaction created/);
  expect(await command(admin, `commit ssl cert ${file}\n`)).toMatch(/Success/);
  expect((await fetchByTls(tlsPort)).name).toBe('next.test');
  expect(socket.readyState).toBe(socket.OPEN);
  socket.terminate();
});
