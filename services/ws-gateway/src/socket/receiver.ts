import type { RawData, WebSocket } from 'ws';

/** Receives the events of one socket. */
export interface Receiver {
  /** Called with the text of a text frame, or the bytes of a binary one. */
  onFrame(frame: string | Buffer): void;
  /** Called when a ping frame has been answered. */
  onPing?(): void;
  /** Called for a pong frame. */
  onPong?(): void;
  /** Called once the socket is closed, with the code of the peer; 1006 without one. */
  onClosed(code: number): void;
}

const RECEIVER = Symbol('receiver');
type Attached = WebSocket & { [RECEIVER]?: Receiver };

/** Attaches a receiver to a socket. The listeners are shared by all sockets: no closure per connection. */
export const attachReceiver = (socket: WebSocket, receiver: Receiver): void => {
  (socket as Attached)[RECEIVER] = receiver;
  socket.on('message', onMessage);
  socket.on('close', onClose);
  socket.on('ping', onPing);
  socket.on('pong', onPong);
  socket.on('error', onError);
};

function onMessage(this: Attached, data: RawData, isBinary: boolean): void {
  const receiver = this[RECEIVER];
  // ws delivers one Buffer by default.
  receiver?.onFrame(isBinary ? (data as Buffer) : data.toString());
}

function onClose(this: Attached, code: number): void {
  this[RECEIVER]?.onClosed(code === 0 ? 1006 : code);
  delete this[RECEIVER];
}

function onPong(this: Attached): void {
  this[RECEIVER]?.onPong?.();
}

function onPing(this: Attached, data: Buffer): void {
  if (this.readyState === this.OPEN) this.pong(data);
  this[RECEIVER]?.onPing?.();
}

/**
 * Handles unreadable input: `ws` has sent the close frame with the right code. The connection ends here, because nothing that
 * follows on this socket can be parsed, and the `close` event may follow five seconds later.
 */
function onError(this: Attached, error: Error & { readonly code?: string }): void {
  if (error.code?.startsWith('WS_ERR_')) this[RECEIVER]?.onClosed(CLOSE_CODES.get(error.code) ?? PROTOCOL_ERROR);
}

const PROTOCOL_ERROR = 1002;
const CLOSE_CODES: ReadonlyMap<string, number> = new Map([
  ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 1009],
  ['WS_ERR_INVALID_UTF8', 1007],
]);
