import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What happens to bytes and to new connections. */
type Mode = { is: 'pass' } | { is: 'blackhole' } | { is: 'delay'; ms: number } | { is: 'refuse' };

/** A TCP proxy on loopback between a service and what it depends on, with a saboteur at its switch. */
export interface FaultProxy extends AsyncDisposable {
  readonly port: number;
  /** The target's URL with our address in the place of its own. */
  readonly url: string;
  /** Everything goes through; what a blackhole held back arrives now. The state it starts in. */
  pass(): Promise<void>;
  /** Connections stay open and new ones are accepted, but no byte arrives: an unplugged cable. */
  blackhole(): Promise<void>;
  /** Every piece of data is late by `ms`, in both directions, in order. */
  delay(ms: number): Promise<void>;
  /** Cuts what is open, and nobody listens any more: a process that has ended. */
  refuse(): Promise<void>;
  /** Cuts what is open with a TCP reset, and goes on as before: a restart. */
  resetAll(): void;
  /** Connections that are open now. */
  connections(): number;
}

/** Whom the faults are for. */
export interface FaultProxyOptions {
  /** Faults are for connections whose client says this early on; all others pass. Without it they are for all. */
  readonly only?: RegExp;
}

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
  /** Whether faults are for this connection. */
  marked: boolean;
}

/** Bytes of a client that are looked at for the mark. */
const MARK_WITHIN_BYTES = 4_096;

/** Puts a proxy before the server of a URL such as `redis://127.0.0.1:6379`. */
export const openFaultProxy = async (
  targetUrl: string,
  { only }: FaultProxyOptions = {},
): Promise<FaultProxy> => {
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
  const become = async (next: Mode): Promise<void> => {
    mode = next;
    if (next.is === 'refuse' && only === undefined) return close();
    if (server === undefined) await open(port);
    for (const pair of marked()) apply(pair, next);
  };
  return {
    port,
    url: withAddress(targetUrl, port),
    pass: () => become({ is: 'pass' }),
    blackhole: () => become({ is: 'blackhole' }),
    delay: (ms) => become({ is: 'delay', ms }),
    refuse: () => become({ is: 'refuse' }),
    resetAll,
    connections: () => pairs.size,
    [Symbol.asyncDispose]: close,
  };
};

const PASS: Mode = { is: 'pass' };

/** Puts an open connection into a mode. */
const apply = (pair: Pair, { is }: Mode): void => {
  if (is === 'refuse') cut(pair);
  for (const socket of [pair.client, pair.target]) {
    if (is === 'blackhole') socket.pause();
    else socket.resume();
  }
};

/** Listens to what the client says first. */
const markWhenReceived = (pair: Pair, mark: RegExp, onMarked: () => void): void => {
  let said = '';
  const listen = (data: Buffer): void => {
    said += data.toString('latin1');
    pair.marked = mark.test(said);
    if (pair.marked || said.length > MARK_WITHIN_BYTES) pair.client.off('data', listen);
    if (pair.marked) onMarked();
  };
  pair.client.on('data', listen);
};

/** Ties two sockets together: what one says the other hears, and they end together. */
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

/** Writes each piece when it is due, and never before an earlier one. */
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
