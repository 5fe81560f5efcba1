import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Wire, WireOwner } from '../core/ports.ts';
import { type WriteOwner, writeDirectly } from './direct-write.ts';

/** The wire over a `ws` socket: complete frames are written to the TCP socket below it. */
export class SocketWire implements Wire, WriteOwner {
  owner: WireOwner | undefined = undefined;
  readonly #socket: WebSocket;
  readonly #tcp: Socket | undefined;
  readonly #isDirect: boolean;
  /** Bytes of a direct write that the kernel has not taken in full. */
  #pendingBytes = 0;

  /** `isDirect`: {@link writeDirectly} may be used. */
  constructor(socket: WebSocket, isDirect: boolean) {
    this.#socket = socket;
    this.#tcp = tcpSocketOf(socket);
    this.#isDirect = isDirect;
  }

  get bufferedBytes(): number {
    return (this.#tcp?.writableLength ?? 0) + this.#pendingBytes;
  }

  get progress(): number {
    const tcp = this.#tcp;
    if (tcp === undefined) return 0;
    // The kernel accepts a large write in parts; only the handle counts the rest.
    const { _handle: handle } = tcp as unknown as { readonly _handle: { writeQueueSize?: number } | null };
    return tcp.bytesWritten - this.bufferedBytes - (handle?.writeQueueSize ?? 0);
  }

  write(frame: Buffer): void {
    const tcp = this.#tcp;
    // Without compression ws writes its own frames to the same socket synchronously, so the order is kept.
    if (tcp === undefined || this.#socket.readyState !== this.#socket.OPEN) return;
    // While bytes are pending, only the stream keeps the order.
    if (!this.#isDirect || this.#pendingBytes > 0 || tcp.writableLength > 0) this.#writeToStream(tcp, frame);
    else this.#writeDirectly(tcp, frame);
  }

  #writeToStream(tcp: Socket, frame: Buffer): void {
    tcp.write(frame);
    if (tcp.writableLength > 0) this.owner?.onWriteDelayed();
  }

  #writeDirectly(tcp: Socket, frame: Buffer): void {
    const outcome = writeDirectly(tcp, frame, this);
    if (outcome === 'refused') this.#writeToStream(tcp, frame);
    else if (outcome === 'pending') {
      this.#pendingBytes = frame.length;
      this.owner?.onWriteDelayed();
    }
  }

  onWritten(): void {
    this.#pendingBytes = 0;
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    // Resumed to read the close frame; other input is discarded.
    if (this.#socket.isPaused) this.#socket.resume();
  }

  terminate(): void {
    this.#socket.terminate();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}

/** The TCP socket of a WebSocket; `ws` has no public name for it. */
const tcpSocketOf = (socket: WebSocket): Socket | undefined =>
  (socket as unknown as { readonly _socket?: Socket | null })._socket ?? undefined;
