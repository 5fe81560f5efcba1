/*
 * WebSocket framing of messages from the gateway (RFC 6455 §5.2): unmasked, never fragmented. A frame is encoded once
 * and written to every socket.
 */

const FINAL_TEXT = 0x81;
const FINAL_BINARY = 0x82;

/** A text frame of UTF-8 bytes. */
export const textFrame = (payload: Uint8Array): Buffer => frameOf(FINAL_TEXT, payload);

export const binaryFrame = (payload: Uint8Array): Buffer => frameOf(FINAL_BINARY, payload);

/** An empty ping frame (RFC 6455 §5.5.2). */
export const PING_FRAME: Buffer = Buffer.of(0x89, 0);

const frameOf = (opcode: number, payload: Uint8Array): Buffer => {
  const size = payload.length;
  const head = size < 126 ? 2 : size < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(head + size);
  frame[0] = opcode;
  if (head === 2) frame[1] = size;
  else if (head === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(size, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(size), 2);
  }
  frame.set(payload, head);
  return frame;
};
