import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

/** One group of one client: its stream position, and the number of the last publication received. */
interface Place {
  readonly group: string;
  offset: number;
  epoch: string;
  /** Publications carry 1, 2, 3 … by group; undefined before the first subscription. */
  heard: number | undefined;
}

/** Callbacks of a client. */
export interface ClientEvents {
  onJoined(client: StormClient): void;
  onLost(count: number): void;
  onDuplicate(): void;
  onUnrecovered(): void;
  onRetry(): void;
  /** Where to connect now. */
  port(): number;
}

interface Publication {
  readonly data: { readonly s: number };
  readonly offset: number;
}

interface Message {
  readonly id?: number;
  readonly error?: { readonly code: number };
  readonly connect?: object;
  readonly subscribe?: {
    readonly epoch?: string;
    readonly offset?: number;
    readonly recovered?: boolean;
    readonly was_recovering?: boolean;
    readonly publications?: readonly Publication[];
  };
  readonly push?: { readonly channel: string; readonly pub?: Publication };
}

const RETRY_MS = 100;
const SUBSCRIBE_RETRY_MS = 500;
const FIRST_SUBSCRIBE_ID = 2;

/**
 * A client of the protocol that remembers its positions, and reconnects with them as soon as its connection is closed.
 */
export class StormClient {
  readonly #token: string;
  readonly #places: readonly Place[];
  readonly #events: ClientEvents;
  #socket: Socket | undefined;
  #bytes: Buffer = Buffer.alloc(0);
  #isOpen = false;
  #awaited = 0;

  constructor(token: string, groups: readonly string[], events: ClientEvents) {
    this.#token = token;
    this.#places = groups.map((group) => ({ group, offset: 0, epoch: '', heard: undefined }));
    this.#events = events;
  }

  connect(): void {
    this.#bytes = Buffer.alloc(0);
    this.#isOpen = false;
    const socket = connect({ host: '127.0.0.1', port: this.#events.port(), noDelay: true });
    this.#socket = socket;
    socket.on('data', (part: Buffer) => this.#onData(part));
    socket.on('error', () => {});
    socket.on('close', () => this.#onGone(socket));
    socket.write(
      'GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    );
  }

  /** Ends the connection as a broken network does; the client is back at once. */
  cut(): void {
    this.#socket?.resetAndDestroy();
  }

  /** State for the message of a failed reconnect. */
  get state(): string {
    if (this.#socket === undefined || this.#socket.destroyed) return 'between two tries';
    if (this.#socket.connecting) return 'connecting';
    if (!this.#isOpen) return 'waiting for the upgrade';
    return this.#awaited === 0 ? 'back' : `waiting for ${this.#awaited} groups`;
  }

  /** Number of the publications of its groups that it has not received. */
  missing(counts: ReadonlyMap<string, number>): number {
    return this.#places.reduce((sum, { group, heard = 0 }) => sum + (counts.get(group) ?? 0) - heard, 0);
  }

  #onGone(socket: Socket): void {
    if (socket !== this.#socket) return;
    if (this.#awaited === 0) this.connect();
    else {
      this.#events.onRetry();
      setTimeout(() => this.connect(), RETRY_MS * (1 + Math.random()));
    }
    this.#awaited = this.#places.length;
  }

  #onData(part: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? part : Buffer.concat([this.#bytes, part]);
    if (!this.#isOpen && !this.#greet()) return;
    for (let frame = this.#takeFrame(); frame !== undefined; frame = this.#takeFrame()) {
      for (const line of frame.split('\n')) this.#onMessage(JSON.parse(line) as Message);
    }
  }

  /** True when the upgrade has succeeded. A refused upgrade is retried after its Retry-After. */
  #greet(): boolean {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#bytes.toString('latin1', 0, end);
    this.#bytes = this.#bytes.subarray(end + 4);
    if (!head.startsWith('HTTP/1.1 101')) {
      const seconds = Number(/retry-after: (\d+)/i.exec(head)?.[1] ?? 0);
      const socket = this.#socket;
      this.#socket = undefined;
      socket?.destroy();
      this.#events.onRetry();
      setTimeout(() => this.connect(), seconds * 1_000 + RETRY_MS * Math.random());
      return false;
    }
    this.#isOpen = true;
    this.#awaited = this.#places.length;
    const subscribes = this.#places.map(subscribeCommand);
    this.#log([`{"id":1,"connect":{"token":"${this.#token}"}}`, ...subscribes].join('\n'));
    return true;
  }

  #takeFrame(): string | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    const short = bytes.readUInt8(1);
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < head) return undefined;
    const size = head === 2 ? short : head === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < head + size) return undefined;
    this.#bytes = bytes.subarray(head + size);
    // Anything but text is a close frame: the end of the connection follows.
    return bytes[0] === 0x81 ? bytes.toString('utf8', head, head + size) : undefined;
  }

  #onMessage(message: Message): void {
    if (message.push !== undefined) {
      const place = this.#places.find(({ group }) => group === message.push?.channel);
      if (place !== undefined && message.push.pub !== undefined) this.#hear(place, message.push.pub);
      return;
    }
    const at = (message.id ?? 0) - FIRST_SUBSCRIBE_ID;
    const place = this.#places[at];
    if (message.error !== undefined) {
      this.#onError(place, at);
      return;
    }
    if (message.subscribe !== undefined && place !== undefined) this.#onSubscribed(place, message.subscribe);
    else if (message.id === undefined) this.#log('{}');
  }

  /** Retries a subscribe that failed with a temporary error, as SDKs do; a connection that failed starts anew. */
  #onError(place: Place | undefined, at: number): void {
    this.#events.onRetry();
    const socket = this.#socket;
    if (place === undefined) socket?.destroy();
    else {
      setTimeout(
        () => {
          if (socket === this.#socket && this.#isOpen) this.#log(subscribeCommand(place, at));
        },
        SUBSCRIBE_RETRY_MS * (0.5 + Math.random()),
      );
    }
  }

  #onSubscribed(place: Place, result: NonNullable<Message['subscribe']>): void {
    const isFirst = place.heard === undefined;
    place.heard ??= 0;
    place.epoch = result.epoch ?? '';
    if (!isFirst && result.recovered !== true) this.#events.onUnrecovered();
    for (const publication of result.publications ?? []) this.#hear(place, publication);
    if (isFirst) place.offset = result.offset ?? 0;
    this.#awaited -= 1;
    if (this.#awaited === 0) this.#events.onJoined(this);
  }

  #hear(place: Place, { data, offset }: Publication): void {
    const heard = place.heard ?? 0;
    place.offset = offset;
    if (data.s <= heard) this.#events.onDuplicate();
    else {
      if (data.s > heard + 1) this.#events.onLost(data.s - heard - 1);
      place.heard = data.s;
    }
  }

  #log(text: string): void {
    const payload = Buffer.from(text);
    const head = Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]);
    this.#socket?.write(Buffer.concat([head, payload]));
  }
}

/** With the position, when there is one. */
const subscribeCommand = ({ group, offset, epoch, heard }: Place, at: number): string => {
  const recover = heard === undefined ? '' : `,"recover":true,"offset":${offset},"epoch":"${epoch}"`;
  return `{"id":${at + FIRST_SUBSCRIBE_ID},"subscribe":{"channel":"${group}"${recover}}}`;
};
