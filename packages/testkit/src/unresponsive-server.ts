import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { acceptsConnections } from '@muster/local/ports';

/** An address that drops every SYN: connection attempts time out. */
export interface UnresponsiveServer extends AsyncDisposable {
  readonly port: number;
}

/** Listens, reports its port, and never accepts: its thread sleeps. */
const LISTENER = `
const { createServer } = require('node:net');
const { parentPort } = require('node:worker_threads');
const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  parentPort.postMessage(server.address().port);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});`;
const FILLERS = 4;
const SETTLE_MS = 300;

/** Opens a listener with a full backlog on loopback; Linux drops further SYNs. Needs neither root nor a firewall. */
export const openUnresponsiveServer = async (): Promise<UnresponsiveServer> => {
  const worker = new Worker(LISTENER, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  const fillers = Array.from({ length: FILLERS }, () => connect(port, '127.0.0.1').on('error', () => {}));
  const close = async (): Promise<void> => {
    for (const filler of fillers) filler.destroy();
    await worker.terminate();
  };
  await once(fillers[0] as Socket, 'connect');
  if (await acceptsConnections(port, { timeoutMs: SETTLE_MS })) {
    await close();
    throw new Error('unresponsive server: expected a full backlog, but the platform accepted another connection');
  }
  return { port, [Symbol.asyncDispose]: close };
};
