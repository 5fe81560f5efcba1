import { type Case, closes, holds, same } from '../case.ts';

/** Handshake, malformed frames and limits. */
export const connectCases: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP5'],
    title: 'a valid credential is answered with client id, version and ping interval',
    run: async ({ open, credential }) => {
      using peer = await open();
      peer.send({ id: 1, connect: { ...credential, name: 'conformance' } });
      const { connect } = await peer.reply(1);
      holds('a client id', /^[0-9a-f-]{36}$/.test(connect.client), connect.client);
      holds('a version', connect.version?.length > 0);
      holds('a ping interval in seconds', Number.isInteger(connect.ping) && connect.ping > 0, connect.ping);
      same('pong', connect.pong, true);
    },
  },
  {
    kind: 'protocol',
    rules: ['FR1'],
    title: 'commands in one frame with connect are answered after it, in order',
    run: async ({ open, credential, group }) => {
      using peer = await open();
      const [first, second] = [group(), group()];
      peer.send(
        { id: 1, connect: credential },
        { id: 2, subscribe: { channel: first } },
        { id: 3, subscribe: { channel: second } },
      );
      holds('both are subscribed', (await peer.reply(2)).subscribe && (await peer.reply(3)).subscribe);
      same('the first reply', peer.messages[0].id, 1);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'an invalid token closes with 3500',
    run: async ({ open }) => {
      using peer = await open();
      peer.send({ id: 1, connect: { token: 'invalid-token' } });
      await closes(peer, 3500);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'any command before connect closes with 3501',
    run: async ({ open, group }) => {
      using peer = await open();
      peer.send({ id: 1, subscribe: { channel: group() } });
      await closes(peer, 3501);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'a second connect closes with 3501',
    run: async ({ connect, credential }) => {
      using peer = await connect();
      peer.send({ id: 2, connect: credential });
      await closes(peer, 3501);
    },
  },
  {
    kind: 'protocol',
    rules: ['FR5'],
    title: 'a pong without a ping closes with 3501',
    run: async ({ connect }) => {
      using peer = await connect();
      peer.send({});
      await closes(peer, 3501);
    },
  },
  {
    kind: 'protocol',
    rules: ['FR3'],
    title: 'id 0 closes with 3501',
    run: async ({ connect, group }) => {
      using peer = await connect();
      peer.send({ publish: { channel: group(), data: 1 } });
      await closes(peer, 3501);
    },
  },
  {
    kind: 'protocol',
    rules: ['FR2'],
    title: 'a command without a method closes with 3501',
    run: async ({ connect }) => {
      using peer = await connect();
      peer.send({ id: 2 });
      await closes(peer, 3501);
    },
  },
  ...['', '\n', '{', '[]', 'null', '1', '{"id":1}\n\n{"id":2}', '{"id":-1,"send":{}}'].map(
    (frame): Case => ({
      kind: 'protocol',
      rules: ['FR2'],
      title: `the frame ${JSON.stringify(frame)} closes with 3501`,
      formats: ['json'],
      run: async ({ connect }) => {
        using peer = await connect();
        peer.sendRaw(frame);
        await closes(peer, 3501);
      },
    }),
  ),
  ...[[], [5], [0], [0xff, 0xff, 0xff, 0xff, 0xff], [2, 8], [1, 8]].map(
    (bytes): Case => ({
      kind: 'protocol',
      rules: ['PB13'],
      title: `the frame of bytes [${bytes}] closes with 3501`,
      formats: ['protobuf'],
      run: async ({ connect }) => {
        using peer = await connect();
        peer.sendRaw(Uint8Array.from(bytes));
        await closes(peer, 3501);
      },
    }),
  ),
  {
    kind: 'protocol',
    rules: ['FR1'],
    title: 'one newline at the end of a frame is allowed',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      peer.sendRaw(`{"id":2,"publish":{"channel":"${group()}","data":1}}\n`);
      same('the reply', await peer.reply(2), { id: 2, publish: {} });
    },
  },
  {
    kind: 'protocol',
    rules: ['FR4', 'FR6'],
    title: 'unknown fields are ignored, and null counts as absent',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      peer.sendRaw(
        `{"id":2,"nonsense":1,"subscribe":null,"publish":{"channel":"${group()}","data":1,"__proto__":{"x":1},"extra":[]}}`,
      );
      same('the reply', await peer.reply(2), { id: 2, publish: {} });
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'a frame larger than the limit closes with 1009',
    run: async ({ connect, group }) => {
      using peer = await connect();
      peer.send({ id: 2, publish: { channel: group(), data: 'x'.repeat(66 * 1024) } });
      same('close code', (await peer.closed).code, 1009);
    },
  },
];
