import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

/** An address whose kernel drops every SYN: connection attempts get no answer at all. */
export interface UnresponsiveServer extends AsyncDisposable {
  readonly port: number;
}

/** Listens, says on which port, and never accepts: its thread sleeps. */
const LISTENER = `
const { createServer } = require('node:net');
const { parentPort } = require('node:worker_threads');
const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  parentPort.postMessage(server.address().port);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});`;
const FILLERS = 4;
const SETTLE_MS = 300;

/** Opens one on loopback: a listener with a full backlog. Linux drops further SYNs, without root and without a firewall. */
export const openUnresponsiveServer = async (): Promise<UnresponsiveServer> => {
  const worker = new Worker(LISTENER, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  const fillers = Array.from({ length: FILLERS }, () => connect(port, '127.0.0.1').on('error', () => {}));
  const close = async (): Promise<void> => {
    for (const filler of fillers) filler.destroy();
    await worker.terminate();
  };
  await once(fillers[0] as Socket, 'connect');
  if (await acceptsConnection(port)) {
    await close();
    throw new Error('the backlog of the listener is not full: the platform still accepts connections');
  }
  return { port, [Symbol.asyncDispose]: close };
};

const acceptsConnection = async (port: number): Promise<boolean> => {
  const probe = connect(port, '127.0.0.1').on('error', () => {});
  const signal = AbortSignal.timeout(SETTLE_MS);
  const answered = await once(probe, 'connect', { signal }).then(
    () => true,
    () => false,
  );
  probe.destroy();
  return answered;
};
