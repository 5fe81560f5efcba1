import type { RawData, WebSocket } from 'ws';

/** Whoever speaks with the client at the other end of a socket. */
export interface Receiver {
  onText(text: string): void;
  onBinary(frame: Buffer): void;
  /** A pong frame came. */
  onPong?(): void;
  /** The socket is gone, with the code that the peer gave; 1006 if none. */
  onClosed(code: number): void;
}

const RECEIVER = Symbol('receiver');
type Attached = WebSocket & { [RECEIVER]?: Receiver };

/** Connects a socket with its receiver. The listeners are shared by all sockets: no closures per connection. */
export const attach = (socket: WebSocket, receiver: Receiver): void => {
  (socket as Attached)[RECEIVER] = receiver;
  socket.on('message', onMessage);
  socket.on('close', onClose);
  socket.on('ping', onPing);
  socket.on('pong', onPong);
  socket.on('error', onError);
};

function onMessage(this: Attached, data: RawData, isBinary: boolean): void {
  const receiver = this[RECEIVER];
  // ws hands over one Buffer unless told otherwise.
  if (isBinary) receiver?.onBinary(data as Buffer);
  else receiver?.onText(data.toString());
}

function onClose(this: Attached, code: number): void {
  this[RECEIVER]?.onClosed(code === 0 ? 1006 : code);
  delete this[RECEIVER];
}

function onPong(this: Attached): void {
  this[RECEIVER]?.onPong?.();
}

function onPing(this: WebSocket, data: Buffer): void {
  if (this.readyState === this.OPEN) this.pong(data);
}

/**
 * What a peer sent cannot be read any more: `ws` has sent the close frame with the right code. The connection ends here,
 * for nothing that follows on this socket will be understood, and `close` may take its time.
 */
function onError(this: Attached, error: Error & { readonly code?: string }): void {
  if (error.code?.startsWith('WS_ERR_'))
    this[RECEIVER]?.onClosed(CLOSE_CODES.get(error.code) ?? PROTOCOL_ERROR);
}

const PROTOCOL_ERROR = 1002;
const CLOSE_CODES: ReadonlyMap<string, number> = new Map([
  ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 1009],
  ['WS_ERR_INVALID_UTF8', 1007],
]);
