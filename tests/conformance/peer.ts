import { WebSocket } from 'ws';
import type { Message, WireCodec } from './wire.ts';

/** How a connection ended. */
export interface Ending {
  readonly code: number;
  readonly reason: string;
}

/** A socket of the suite: everything that came, in order. */
export interface Peer extends Disposable {
  readonly messages: readonly Message[];
  /** Several commands travel in one frame. */
  send(...commands: readonly object[]): void;
  /** A frame that is none of ours. */
  sendRaw(frame: string | Uint8Array): void;
  /** The reply with this id. */
  reply(id: number): Promise<Message>;
  /** Sends one command and waits for its reply. */
  ask(command: object): Promise<Message>;
  /** Pushes of one kind in one group, once there are at least `count`. */
  pushes(group: string, kind: string, count: number): Promise<Message[]>;
  readonly ended: Promise<Ending>;
  readonly isOver: boolean;
}

const PATIENCE_MS = 5_000;

/** Opens a socket. Pings are answered; rejects when the upgrade is refused. */
export const openPeer = async (url: string, wire: WireCodec): Promise<Peer> => {
  const socket = new WebSocket(url, [...wire.subprotocols]);
  const messages: Message[] = [];
  const listeners = new Set<() => void>();
  const ending = Promise.withResolvers<Ending>();
  let asked = 0;
  let isOver = false;
  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  socket.on('message', (frame: Buffer, isBinary) => {
    for (const message of wire.decode(frame, isBinary)) {
      if (Object.keys(message).length === 0) socket.send(wire.encode([{}]));
      else messages.push(message);
    }
    changed();
  });
  socket.on('close', (code, reason) => {
    isOver = true;
    ending.resolve({ code, reason: reason.toString() });
    changed();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => {});

  const find = <T>(what: string, look: () => T | undefined): Promise<T> => {
    const found = Promise.withResolvers<T>();
    const timer = setTimeout(
      () => found.reject(new Error(`${what} did not come; there were ${told(messages)}`)),
      PATIENCE_MS,
    );
    const check = () => {
      const result = look();
      if (result !== undefined) found.resolve(result);
      else if (isOver) found.reject(new Error(`the connection was closed before ${what}`));
    };
    listeners.add(check);
    check();
    return found.promise.finally(() => {
      clearTimeout(timer);
      listeners.delete(check);
    });
  };
  const send = (...commands: readonly object[]) => socket.send(wire.encode(commands));
  const reply = (id: number) => find(`a reply to ${id}`, () => messages.find((one) => one.id === id));
  return {
    messages,
    send,
    sendRaw: (frame) => socket.send(frame),
    reply,
    ask: (command) => {
      asked += 1;
      const id = 1_000_000 + asked;
      send({ id, ...command });
      return reply(id);
    },
    pushes: (group, kind, count) => {
      const wanted = () =>
        messages.flatMap(({ push }) => (push?.channel === group && push[kind] ? [push[kind]] : []));
      return find(`${count} ${kind} of ${group}`, () => (wanted().length >= count ? wanted() : undefined));
    },
    ended: ending.promise,
    get isOver() {
      return isOver;
    },
    [Symbol.dispose]: () => socket.terminate(),
  };
};

const told = (messages: readonly Message[]): string =>
  messages.length === 0 ? 'no messages' : JSON.stringify(messages.slice(-5));
