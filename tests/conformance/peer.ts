import { WebSocket } from 'ws';
import type { Message, WireCodec } from './wire.ts';

/** Close frame of a connection. */
export interface PeerClose {
  readonly code: number;
  readonly reason: string;
}

/** Client socket of the suite. */
export interface Peer extends Disposable {
  /** Received messages in order, without pings. */
  readonly messages: readonly Message[];
  /** Sends all commands in one frame. */
  send(...commands: readonly object[]): void;
  /** Sends a frame as it is. */
  sendRaw(frame: string | Uint8Array): void;
  /** Resolves with the reply with this id. */
  reply(id: number): Promise<Message>;
  /** Sends one command; resolves with its reply. */
  request(command: object): Promise<Message>;
  /** Resolves with the pushes of one kind in one group, once there are at least `count`. */
  pushes(group: string, kind: string, count: number): Promise<Message[]>;
  readonly closed: Promise<PeerClose>;
  readonly isClosed: boolean;
}

const TIMEOUT_MS = 5_000;

/** Opens a socket that answers pings. Rejects when the upgrade is rejected. */
export const openPeer = async (url: string, wire: WireCodec): Promise<Peer> => {
  const socket = new WebSocket(url, [...wire.subprotocols]);
  const messages: Message[] = [];
  const listeners = new Set<() => void>();
  const closed = Promise.withResolvers<PeerClose>();
  let requests = 0;
  let isClosed = false;
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
    isClosed = true;
    closed.resolve({ code, reason: reason.toString() });
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
      () => found.reject(new Error(`expected ${what} within ${TIMEOUT_MS} ms, got ${summary(messages)}`)),
      TIMEOUT_MS,
    );
    const check = () => {
      const result = look();
      if (result !== undefined) found.resolve(result);
      else if (isClosed) found.reject(new Error(`the connection was closed before ${what}`));
    };
    listeners.add(check);
    check();
    return found.promise.finally(() => {
      clearTimeout(timer);
      listeners.delete(check);
    });
  };
  const send = (...commands: readonly object[]) => socket.send(wire.encode(commands));
  const reply = (id: number) => find(`a reply to ${id}`, () => messages.find((message) => message.id === id));
  return {
    messages,
    send,
    sendRaw: (frame) => socket.send(frame),
    reply,
    request: (command) => {
      requests += 1;
      const id = 1_000_000 + requests;
      send({ id, ...command });
      return reply(id);
    },
    pushes: (group, kind, count) => {
      const wanted = () => messages.flatMap(({ push }) => (push?.channel === group && push[kind] ? [push[kind]] : []));
      return find(`${count} ${kind} of ${group}`, () => (wanted().length >= count ? wanted() : undefined));
    },
    closed: closed.promise,
    get isClosed() {
      return isClosed;
    },
    [Symbol.dispose]: () => socket.terminate(),
  };
};

const summary = (messages: readonly Message[]): string =>
  messages.length === 0 ? 'no messages' : JSON.stringify(messages.slice(-5));
