import { WebSocket } from 'ws';

/** Clients without an SDK, some thousand in one process: each has one group, recovers, and half of them open the next socket first. */
export interface LoadClient {
  /** Moves since the start: by a request, or by a close with 3001. */
  moves: number;
  /** Close codes other than those of moves. */
  readonly closes: number[];
  /** Publications that are missing before the last that was received, and publications that were received twice. */
  readonly lost: number;
  readonly doubled: number;
  readonly offset: number;
  end(): void;
}

interface LoadClientOptions {
  readonly url: string;
  readonly token: string;
  readonly group: string;
  readonly canMove: boolean;
  /** Called for each publication with the time since it was made, ms. */
  onDelivery(latencyMs: number): void;
}

const RECONNECT_MS = 500;
const SHUTDOWN = 3_001;

/** Connects and subscribes; resolves when it is subscribed. */
export const openLoadClient = async (options: LoadClientOptions): Promise<LoadClient> => {
  const { url, token, group, canMove, onDelivery } = options;
  const client = { moves: 0, closes: [] as number[], lost: 0, doubled: 0, offset: 0, end: () => {} };
  let epoch = '';
  let current: WebSocket | undefined;
  let isEnded = false;

  const publication = ({ offset, data }: { offset: number; data: { at: number } }): void => {
    if (offset <= client.offset) return;
    client.lost += offset - client.offset - 1;
    client.offset = offset;
    onDelivery(performance.now() - data.at);
  };
  const open = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = new WebSocket(`${url}/connection/websocket${canMove ? '?moves=true' : ''}`);
      const recover = epoch === '' ? {} : { recover: true, offset: client.offset, epoch };
      const commands = [
        { id: 1, connect: { token } },
        { id: 2, subscribe: { channel: group, ...recover } },
      ];
      socket.on('open', () => socket.send(commands.map((command) => JSON.stringify(command)).join('\n')));
      socket.on('error', () => {});
      const seen = new Set<number>();
      let wasSubscribed = false;
      socket.on('message', (text) => {
        for (const line of text.toString().split('\n')) {
          const message = JSON.parse(line);
          if (line === '{}') socket.send('{}');
          if (message.subscribe !== undefined) {
            const { subscribe } = message;
            if (epoch === '') client.offset = subscribe.offset ?? 0;
            else if (subscribe.recovered !== true) client.lost += 1;
            epoch = subscribe.epoch;
            for (const missed of subscribe.publications ?? []) publication(missed);
            wasSubscribed = true;
            const previous = current;
            current = socket;
            previous?.close(1_000, 'moved');
            resolve();
          }
          const pub = message.push?.pub;
          if (pub !== undefined) {
            if (seen.has(pub.offset)) client.doubled += 1;
            seen.add(pub.offset);
            publication(pub);
          }
          if (message.push?.disconnect?.code === SHUTDOWN) {
            client.moves += 1;
            void open();
          }
        }
      });
      socket.on('close', (code) => {
        if (isEnded) return;
        if (socket === current) {
          current = undefined;
          if (code !== SHUTDOWN) client.closes.push(code);
          else client.moves += 1;
        } else if (wasSubscribed || current !== undefined) {
          // Another socket has taken over, or the socket before is still open.
          return;
        }
        setTimeout(() => void open(), Math.random() * RECONNECT_MS);
      });
    });
  client.end = () => {
    isEnded = true;
    current?.terminate();
  };
  await open();
  return client;
};
