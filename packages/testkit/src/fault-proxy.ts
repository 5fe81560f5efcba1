import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Treatment of bytes and new connections. */
type Mode = { is: 'pass' } | { is: 'blackhole' } | { is: 'delay'; ms: number } | { is: 'refuse' };

/** TCP proxy on loopback that injects faults between a client and a server. */
export interface FaultProxy extends AsyncDisposable {
  readonly port: number;
  /** URL of the target with the address of the proxy. */
  readonly url: string;
  /** Forwards everything, also what a blackhole held back. The initial state. */
  pass(): Promise<void>;
  /** Keeps connections open and accepts more, but forwards no byte: an unplugged cable. */
  blackhole(): Promise<void>;
  /** Delays all data by `ms`, in both directions, in order. */
  delay(ms: number): Promise<void>;
  /** Resets open connections and stops listening: a process that has ended. */
  refuse(): Promise<void>;
  /** Resets open connections; the state does not change: a restart. */
  resetAll(): void;
  /** Number of open connections. */
  connections(): number;
}

/** Scope of the faults. */
export interface FaultProxyOptions {
  /** Faults apply only to connections whose client sends this within its first 4 KiB. Default: all connections. */
  readonly only?: RegExp;
}

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
  /** True when faults apply to this connection. */
  marked: boolean;
}

/** Bytes of a client that are searched for the marker. */
const MARK_WITHIN_BYTES = 4_096;

/** Opens a proxy for the server of a URL such as `redis://127.0.0.1:6379`. */
export const openFaultProxy = async (targetUrl: string, { only }: FaultProxyOptions = {}): Promise<FaultProxy> => {
  const target = new URL(targetUrl);
  const pairs = new Set<Pair>();
  let mode: Mode = { is: 'pass' };
  let server: Server | undefined;

  const accept = (client: Socket): void => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) });
    const pair: Pair = { client, target: upstream, marked: only === undefined };
    pairs.add(pair);
    connectPair(
      pair,
      () => (pair.marked ? mode : PASS),
      () => pairs.delete(pair),
    );
    if (only !== undefined) markWhenReceived(pair, only, () => apply(pair, mode));
  };
  const resetAll = (): void => {
    for (const pair of marked()) cut(pair);
  };
  const marked = (): Pair[] => [...pairs].filter((pair) => pair.marked);
  const open = async (port: number): Promise<number> => {
    server = createServer(accept);
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const close = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    for (const pair of [...pairs]) cut(pair);
    await new Promise<void>((resolve) => {
      if (closing === undefined) resolve();
      else closing.close(() => resolve());
    });
  };
  const port = await open(0);
  const setMode = async (next: Mode): Promise<void> => {
    mode = next;
    if (next.is === 'refuse' && only === undefined) return close();
    if (server === undefined) await open(port);
    for (const pair of marked()) apply(pair, next);
  };
  return {
    port,
    url: withAddress(targetUrl, port),
    pass: () => setMode({ is: 'pass' }),
    blackhole: () => setMode({ is: 'blackhole' }),
    delay: (ms) => setMode({ is: 'delay', ms }),
    refuse: () => setMode({ is: 'refuse' }),
    resetAll,
    connections: () => pairs.size,
    [Symbol.asyncDispose]: close,
  };
};

const PASS: Mode = { is: 'pass' };

/** Applies a mode to an open connection. */
const apply = (pair: Pair, { is }: Mode): void => {
  if (is === 'refuse') cut(pair);
  for (const socket of [pair.client, pair.target]) {
    if (is === 'blackhole') socket.pause();
    else socket.resume();
  }
};

/** Searches the first bytes of the client for the marker. */
const markWhenReceived = (pair: Pair, mark: RegExp, onMarked: () => void): void => {
  let received = '';
  const listen = (data: Buffer): void => {
    received += data.toString('latin1');
    pair.marked = mark.test(received);
    if (pair.marked || received.length > MARK_WITHIN_BYTES) pair.client.off('data', listen);
    if (pair.marked) onMarked();
  };
  pair.client.on('data', listen);
};

/** Forwards between two sockets and closes them together. */
const connectPair = ({ client, target }: Pair, mode: () => Mode, onEnd: () => void): void => {
  const ways: readonly [Socket, Socket][] = [
    [client, target],
    [target, client],
  ];
  for (const [from, to] of ways) {
    from.setNoDelay(true);
    const send = inOrder((data) => to.write(data));
    from.on('data', (data) => {
      const now = mode();
      send(data, now.is === 'delay' ? now.ms : 0);
    });
    from.on('end', () => to.end());
    from.on('error', () => {});
    from.on('close', () => {
      onEnd();
      to.destroy();
    });
    if (mode().is === 'blackhole') from.pause();
  }
};

/** Writes each chunk when it is due, in order. */
const inOrder = (write: (data: Buffer | string) => void) => {
  let pending = 0;
  let last = Promise.resolve();
  return (data: Buffer | string, delayMs: number): void => {
    if (pending === 0 && delayMs === 0) return void write(data);
    pending += 1;
    const due = sleep(delayMs);
    last = last.then(async () => {
      await due;
      write(data);
      pending -= 1;
    });
  };
};

const cut = ({ client, target }: Pair): void => {
  client.resetAndDestroy();
  target.destroy();
};

const withAddress = (url: string, port: number): string => {
  const changed = new URL(url);
  changed.hostname = '127.0.0.1';
  changed.port = String(port);
  return changed.href;
};
