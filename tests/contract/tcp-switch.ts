import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';

/** A TCP way to another port of this machine that can be cut, swallowed and restored. */
export interface TcpSwitch extends AsyncDisposable {
  readonly port: number;
  /** Ends all connections and refuses new ones. */
  cut(): void;
  /** Ends all connections once; new ones are taken. */
  reset(): void;
  /** Keeps connections open and passes nothing on, as a half-open link does. */
  swallow(): void;
  restore(): void;
}

export const openTcpSwitch = async (target: { host: string; port: number }): Promise<TcpSwitch> => {
  const open = new Set<Socket>();
  let state: 'open' | 'cut' | 'swallowing' = 'open';

  const server = createServer((near) => {
    if (state === 'cut') return void near.destroy();
    const far = connect(target);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on('data', (bytes) => {
        if (state === 'open') other.write(bytes);
      });
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        if (state !== 'swallowing') other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const drop = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      state = 'cut';
      drop();
    },
    reset: drop,
    swallow: () => {
      state = 'swallowing';
    },
    restore: () => {
      if (state === 'swallowing') drop();
      state = 'open';
    },
    [Symbol.asyncDispose]: async () => {
      state = 'cut';
      drop();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
