import type { BusMessage } from '@muster/bus/envelope';

/** Length of the queue; what does not fit is read from the stream later. */
const MAX_QUEUED = 1_000;

/** Messages received while the stream is read, in order of arrival, bounded in number and bytes. */
export class MessageQueue {
  readonly #maxBytes: number;
  #messages: BusMessage[] = [];
  #bytes = 0;
  /** A message did not fit. */
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
    // The body is a view into a receive buffer, which a reference would keep alive.
    this.#messages.push({ ...message, body: Buffer.from(message.body) });
    this.#bytes = bytes;
  }

  /** Empties the queue. `isCut`: messages are missing from it. */
  take(): { readonly messages: readonly BusMessage[]; readonly isCut: boolean } {
    const taken = { messages: this.#messages, isCut: this.#isCut };
    this.#messages = [];
    this.#bytes = 0;
    this.#isCut = false;
    return taken;
  }
}
