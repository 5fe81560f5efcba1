import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** Bytes of the header of a DNS message. */
const HEADER = 12;
/** Flags of a response without an error. */
const RESPONSE = 0x8180;

/** A name server on loopback for A records, without expiry times. */
export const openNameServer = async (
  addressesOf: (name: string) => readonly string[],
): Promise<{ readonly port: number } & Disposable> => {
  const socket = createSocket('udp4');
  socket.on('message', (question, peer) => socket.send(answerTo(question, addressesOf), peer.port, peer.address));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return { port: socket.address().port, [Symbol.dispose]: () => void socket.close() };
};

const answerTo = (question: Buffer, addressesOf: (name: string) => readonly string[]): Buffer => {
  let at = HEADER;
  const labels: string[] = [];
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const isIpv4 = question.readUInt16BE(at + 1) === 1;
  const addresses = isIpv4 ? addressesOf(labels.join('.')) : [];
  const head = Buffer.from(question.subarray(0, HEADER));
  head.writeUInt16BE(RESPONSE, 2);
  head.writeUInt16BE(addresses.length, 6);
  head.writeUInt32BE(0, 8);
  const records = addresses.map((address) =>
    Buffer.from([0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ...address.split('.').map(Number)]),
  );
  return Buffer.concat([head, question.subarray(HEADER, at + 5), ...records]);
};
