import { type WireMessage, WireState } from './wire-state.ts';

/** The part of the WebSocket API that the SDK uses. */
interface SocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** A WebSocket class, of a browser or of a library. */
export type SocketClass = new (url: string) => SocketLike;

/** The connection after a move. */
export interface Move {
  /** Id of the client, different for each connection. */
  readonly client: string;
  /** Name of the replica. */
  readonly gateway: string;
}

/** Shorter than the time that a gateway gives (5 s), and than the timeout of the SDK for commands, which wait meanwhile. */
const MOVE_TIMEOUT_MS = 4_000;
const SHUTDOWN_CODE = 3_001;
const PONG = '{}';

/** A move in progress: the next socket, and everything that waits for it. */
interface NextSocket {
  readonly socket: SocketLike;
  readonly timer: ReturnType<typeof setTimeout>;
  isOpen: boolean;
  request: ReturnType<WireState['resume']> | undefined;
  readonly replies: Map<number, WireMessage>;
  readonly pushes: WireMessage[];
  /** Commands of the SDK since it is open. */
  readonly held: string[];
}

/**
 * A WebSocket for the SDK that can continue on another gateway without the SDK noticing. When a gateway requests a move, it opens the
 * next socket, connects and subscribes there with the positions of the present one, delivers what was missed, and closes the previous socket:
 * no event, no gap, and no publication twice, compared by offset. Between the two, commands wait for some round trips. When anything
 * does not fit, it stays where it is; the gateway closes the socket in time and the SDK reconnects as usual.
 */
class MovableSocket implements SocketLike {
  onopen: SocketLike['onopen'] = null;
  onmessage: SocketLike['onmessage'] = null;
  onerror: SocketLike['onerror'] = null;
  onclose: SocketLike['onclose'] = null;
  readonly #open: () => SocketLike;
  readonly #onMoved: (move: Move) => void;
  readonly #state = new WireState();
  #socket: SocketLike;
  #next: NextSocket | undefined;

  constructor(open: () => SocketLike, onMoved: (move: Move) => void) {
    this.#open = open;
    this.#onMoved = onMoved;
    this.#socket = open();
    this.#socket.onopen = (event) => this.onopen?.(event);
    this.#attach(this.#socket);
  }

  send(data: string): void {
    // Pings are answered at once, by the socket that was pinged.
    if (data === PONG) return;
    if (this.#next?.isOpen) this.#next.held.push(data);
    else this.#sendNow(data);
  }

  close(code?: number, reason?: string): void {
    this.#cancelMove();
    if (code === undefined) this.#socket.close();
    else this.#socket.close(code, reason);
  }

  #sendNow(data: string): void {
    for (const command of parse(data) ?? []) this.#state.sent(command);
    this.#socket.send(data);
  }

  #attach(socket: SocketLike): void {
    socket.onerror = (event) => this.onerror?.(event);
    socket.onclose = (event) => {
      this.#cancelMove();
      this.onclose?.(event);
    };
    socket.onmessage = (event: { readonly data: unknown }) => this.#receive(socket, event);
  }

  #receive(socket: SocketLike, event: { readonly data: unknown }): void {
    const messages = parse(event.data);
    if (messages === undefined) {
      this.onmessage?.(event as never);
      return;
    }
    const isMoveRequested = messages.some(({ push }) => push?.disconnect?.code === SHUTDOWN_CODE);
    const kept = messages.filter((message) => {
      if (this.#state.pongs && isPing(message)) socket.send(PONG);
      return message.push?.disconnect?.code !== SHUTDOWN_CODE && this.#state.received(message);
    });
    if (kept.length === messages.length) this.onmessage?.(event as never);
    else this.#deliver(kept);
    if (isMoveRequested) this.#startMove();
    this.#requestState();
  }

  #deliver(messages: readonly WireMessage[]): void {
    if (messages.length > 0) this.onmessage?.({ data: messages.map((one) => JSON.stringify(one)).join('\n') } as never);
  }

  #startMove(): void {
    if (this.#next !== undefined) return;
    const socket = this.#open();
    const timer = setTimeout(() => this.#cancelMove(), MOVE_TIMEOUT_MS);
    const next = { socket, timer, isOpen: false, request: undefined, replies: new Map(), pushes: [], held: [] };
    this.#next = next;
    socket.onopen = () => {
      if (this.#next !== next) return;
      this.#next.isOpen = true;
      this.#requestState();
    };
    socket.onclose = () => this.#cancelMove(next);
    socket.onerror = () => this.#cancelMove(next);
    socket.onmessage = (event: { readonly data: unknown }) => {
      if (this.#next === next) this.#receiveNext(next, parse(event.data) ?? []);
    };
  }

  /** Sends the state to the next socket as soon as no reply is outstanding on the present one. */
  #requestState(): void {
    const next = this.#next;
    if (next === undefined || !next.isOpen || next.request !== undefined || this.#state.hasPending) return;
    next.request = this.#state.resume();
    next.socket.send(next.request.commands.map((command) => JSON.stringify(command)).join('\n'));
  }

  #receiveNext(next: NextSocket, messages: readonly WireMessage[]): void {
    for (const message of messages) {
      if (message.id !== undefined) next.replies.set(message.id, message);
      else if (message.push !== undefined) next.pushes.push(message);
    }
    const { request, replies } = next;
    if ([...replies.values()].some(({ error }) => error !== undefined)) this.#cancelMove(next);
    else if (request !== undefined && replies.size === request.commands.length) this.#finishMove(next, request);
  }

  #finishMove(next: NextSocket, request: ReturnType<WireState['resume']>): void {
    const missed = this.#state.adopt(request, next.replies);
    if (missed === undefined) {
      this.#cancelMove(next);
      return;
    }
    clearTimeout(next.timer);
    this.#next = undefined;
    detach(this.#socket);
    this.#socket.close(1_000, 'moved');
    this.#socket = next.socket;
    this.#attach(next.socket);
    const { client = '', data } = next.replies.get(1)?.connect ?? {};
    this.#onMoved({ client, gateway: (data as { gateway?: string } | undefined)?.gateway ?? '' });
    this.#deliver([...missed, ...next.pushes].filter((message) => this.#state.received(message)));
    for (const commands of next.held) this.#sendNow(commands);
  }

  /** Stays on the present socket. */
  #cancelMove(next: NextSocket | undefined = this.#next): void {
    if (next === undefined || next !== this.#next) return;
    this.#next = undefined;
    clearTimeout(next.timer);
    detach(next.socket);
    next.socket.close();
    for (const commands of next.held) this.#sendNow(commands);
  }
}

const isPing = (message: WireMessage): boolean => Object.keys(message).length === 0;

/** The messages of a frame; undefined when they are not those of the protocol in JSON. */
const parse = (frame: unknown): WireMessage[] | undefined => {
  if (typeof frame !== 'string') return undefined;
  try {
    const lines = frame.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as WireMessage);
  } catch {
    return undefined;
  }
};

/** An error without a handler would end a Node process. */
const detach = (socket: SocketLike): void => {
  const ignore = (): void => {};
  Object.assign(socket, { onopen: ignore, onmessage: ignore, onerror: ignore, onclose: ignore });
};

/** The class that the SDK uses in place of `Socket`. */
export const movableSocketClass = (Socket: SocketClass, onMoved: (move: Move) => void): SocketClass =>
  class extends MovableSocket {
    constructor(url: string) {
      super(() => new Socket(url), onMoved);
    }
  };
