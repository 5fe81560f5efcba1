import type { BusMessage } from '@muster/bus/envelope';

/** Messages that wait while the stream is read; beyond this, or the bytes of one reading, they are read from it instead. */
const MAX_QUEUED = 1_000;

/** Messages of the bus that wait in the order of their arrival, as far as there is room. */
export class MessageQueue {
  readonly #maxBytes: number;
  #messages: BusMessage[] = [];
  #bytes = 0;
  /** Something was heard that did not fit. */
  #isCut = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(message: BusMessage): void {
    const bytes = this.#bytes + message.body.length;
    if (this.#messages.length >= MAX_QUEUED || bytes > this.#maxBytes) {
      this.#isCut = true;
      return;
    }
    // The bytes are a view into what the connection received; the queue must not keep all of that alive.
    this.#messages.push({ ...message, body: Buffer.from(message.body) });
    this.#bytes = bytes;
  }

  /** Empties the queue. `isCut` is true when messages are missing from it. */
  take(): { readonly messages: readonly BusMessage[]; readonly isCut: boolean } {
    const taken = { messages: this.#messages, isCut: this.#isCut };
    this.#messages = [];
    this.#bytes = 0;
    this.#isCut = false;
    return taken;
  }
}
