/**
 * One hostile client as a process of its own, so that its work is not measured as the delay of others.
 * `node attacker.ts <attack> <seconds>`, with PUBLIC_URL, TOKEN and STALE_TOKEN in the environment. It attacks from 127.0.0.2.
 * Prints how many requests or commands it sent and how many of them were refused, as JSON.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import type { Attack } from './attacks.ts';

const [attack = '', seconds = '10'] = process.argv.slice(2);
const { PUBLIC_URL = '', TOKEN = '', STALE_TOKEN = '' } = process.env;
const SOURCE_ADDRESS = '127.0.0.2';
/** More commands than a connection may send in a second come in one turn. */
const COMMANDS_PER_FRAME = 100;
const RECONNECT_PAUSE_MS = 50;
const REQUESTS_AT_ONCE = 16;
const MAX_IDLE_SOCKETS = 2_000;
const HISTORY_READERS = 200;
const endsAt = performance.now() + Number(seconds) * 1000;
const isRunning = (): boolean => performance.now() < endsAt;
const count = { sent: 0, refused: 0 };
const randomName = (): string => `hostile:${randomBytes(12).toString('hex')}`;

const openSocket = async (path = '/connection/websocket'): Promise<WebSocket | undefined> => {
  const socket = new WebSocket(PUBLIC_URL.replace(/^http/, 'ws') + path, { localAddress: SOURCE_ADDRESS });
  socket.on('error', () => {});
  const opened = await Promise.race([
    once(socket, 'open').then(() => true),
    once(socket, 'close').then(() => false),
  ]).catch(() => false);
  if (opened) return socket;
  count.refused += 1;
  return undefined;
};

/** Sends frames of commands as fast as they are answered, and connects again whenever it is closed. */
const floodCommands = async (commandsOf: (id: number) => string[], prepare: string[] = []): Promise<void> => {
  while (isRunning()) {
    const socket = await openSocket();
    if (socket === undefined) {
      await sleep(RECONNECT_PAUSE_MS);
      continue;
    }
    let id = 1;
    socket.send([`{"id":1,"connect":{"token":"${TOKEN}"}}`, ...prepare].join('\n'));
    const deadline = setTimeout(() => socket.terminate(), endsAt - performance.now());
    const sendNext = (): void => {
      const commands: string[] = [];
      while (commands.length < COMMANDS_PER_FRAME) {
        id += 1;
        commands.push(...commandsOf(1_000 + id));
      }
      count.sent += commands.length;
      socket.send(commands.join('\n'));
    };
    socket.on('message', (data) => {
      const text = String(data);
      if (text === '{}') socket.send('{}');
      count.refused += text.split('"error":').length - 1;
      if (text.includes('"id":')) setImmediate(sendNext);
    });
    await once(socket, 'close').catch(() => {});
    clearTimeout(deadline);
    count.refused += 1;
    await sleep(RECONNECT_PAUSE_MS);
  }
};

const agent = new Agent({ keepAlive: true, maxSockets: REQUESTS_AT_ONCE, localAddress: SOURCE_ADDRESS });

const call = (method: string, path: string, headers: Record<string, string>, body = ''): Promise<void> =>
  new Promise((resolve) => {
    const headersWithType = { 'content-type': 'application/json', ...headers };
    const sent = request(PUBLIC_URL + path, { method, agent, headers: headersWithType }, (answer) => {
      count.sent += 1;
      if ((answer.statusCode ?? 0) >= 400) count.refused += 1;
      answer.resume();
      answer.once('close', resolve);
    });
    sent.once('error', () => resolve());
    sent.end(body);
  });

const floodRequests = async (send: () => Promise<void>): Promise<void> => {
  const worker = async (): Promise<void> => {
    while (isRunning()) await send();
  };
  await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker));
};

/** Reads nothing while it has 64 KB messages delivered to itself. */
const floodBigFrames = async (): Promise<void> => {
  const data = 'x'.repeat(60_000);
  while (isRunning()) {
    const socket = await openSocket();
    if (socket === undefined) continue;
    socket.send(`{"id":1,"connect":{"token":"${TOKEN}"}}\n{"id":2,"subscribe":{"channel":"hostile:large"}}`);
    await Promise.race([once(socket, 'message'), once(socket, 'close')]).catch(() => {});
    socket.pause();
    for (let id = 3; id < 40 && isRunning(); id += 1) {
      socket.send(`{"id":${id},"publish":{"channel":"hostile:large","data":"${data}"}}`);
      count.sent += 1;
      await sleep(5);
    }
    socket.terminate();
  }
};

const LARGE = `"channel":"hostile:history","data":"${'x'.repeat(60_000)}"`;
/** Publications of the group are forgotten after three seconds without another. */
const REFILL_MS = 500;
const CONNECT = `{"id":1,"connect":{"token":"${TOKEN}"}}\n{"id":2,"subscribe":{"channel":"hostile:history"}}`;

/** Fills a group of its own with as much history as one answer may hold. */
const fill = async (socket: WebSocket | undefined): Promise<void> => {
  socket?.send(CONNECT);
  for (let id = 3; id < 18; id += 1) {
    socket?.send(`{"id":${id},"publish":{${LARGE}}}`);
    await sleep(20);
  }
};

/**
 * Sends the next command as soon as a command is answered. `next` receives the id of the next command, which must be
 * the last of its frame.
 */
const askInLoop = async (socket: WebSocket, next: (id: number) => string): Promise<void> => {
  const deadline = setTimeout(() => socket.terminate(), endsAt - performance.now());
  let id = 1_000;
  const ask = (): void => {
    id += 1;
    count.sent += 1;
    socket.send(next(id));
  };
  socket.on('message', (message) => {
    const text = String(message);
    if (text === '{}') socket.send('{}');
    if (text.includes('"error":')) count.refused += 1;
    if (text.includes(`"id":${id}`)) ask();
  });
  ask();
  await once(socket, 'close').catch(() => {});
  clearTimeout(deadline);
};

/** Reads the whole history of a large group again and again, on so many sockets at once. */
const readLargeHistories = async (sockets: number): Promise<void> => {
  const filler = await openSocket();
  await fill(filler);
  const reader = async (): Promise<void> => {
    while (isRunning()) {
      const socket = await openSocket();
      socket?.send(CONNECT);
      if (socket !== undefined)
        await askInLoop(socket, (id) => `{"id":${id},"history":{"channel":"hostile:history","limit":300}}`);
      await sleep(RECONNECT_PAUSE_MS);
    }
  };
  const refill = setInterval(() => filler?.send(`{"id":19,"publish":{${LARGE}}}`), REFILL_MS);
  await Promise.all(Array.from({ length: sockets }, reader));
  clearInterval(refill);
  filler?.terminate();
};

/**
 * Recovers many missed publications of a group without other members again and again, so the stream is read each time.
 */
const recoverInLoop = async (): Promise<void> => {
  let filledAt = performance.now();
  let offset = 15;
  while (isRunning()) {
    const socket = await openSocket();
    await fill(socket);
    if (socket !== undefined)
      await askInLoop(socket, (id) => {
        const isDue = performance.now() - filledAt > REFILL_MS;
        if (isDue) {
          filledAt = performance.now();
          offset += 1;
        }
        const refill = isDue ? `{"id":${id + 2_000_000},"publish":{${LARGE}}}\n` : '';
        const recover = `"recoverable":true,"recover":true,"offset":${offset - 15},"epoch":""`;
        return `${refill}{"id":${id + 1_000_000},"unsubscribe":{"channel":"hostile:history"}}\n{"id":${id},"subscribe":{"channel":"hostile:history",${recover}}}`;
      });
    await sleep(RECONNECT_PAUSE_MS);
  }
};

/** Opens sockets that never connect. */
const openIdleSockets = async (): Promise<void> => {
  const open: WebSocket[] = [];
  while (isRunning()) {
    count.sent += 1;
    const socket = open.length < MAX_IDLE_SOCKETS ? await openSocket() : undefined;
    if (socket === undefined) await sleep(RECONNECT_PAUSE_MS);
    else open.push(socket);
  }
  for (const socket of open) socket.terminate();
};

const ATTACKS: Record<Attack, () => Promise<void>> = {
  'new groups': () => floodCommands((id) => [`{"id":${id},"publish":{"channel":"${randomName()}","data":"x"}}`]),
  subscriptions: () =>
    floodCommands((id) => {
      const channel = randomName();
      return [
        `{"id":${id},"subscribe":{"channel":"${channel}"}}`,
        `{"id":${id},"publish":{"channel":"${channel}","data":"x"}}`,
        `{"id":${id},"unsubscribe":{"channel":"${channel}"}}`,
      ];
    }),
  presence: () =>
    floodCommands(
      (id) => [`{"id":${id},"presence":{"channel":"hostile:presence"}}`],
      [`{"id":2,"subscribe":{"channel":"hostile:presence","join_leave":true}}`],
    ),
  'big frames': floodBigFrames,
  'large histories': () => readLargeHistories(HISTORY_READERS),
  'one history in a loop': () => readLargeHistories(1),
  'recoveries in a loop': recoverInLoop,
  'idle sockets': openIdleSockets,
  'guest logins': () =>
    floodRequests(() =>
      call('POST', '/v1/guest-sessions', {}, JSON.stringify({ transport: 'bearer', data: { x: 'x'.repeat(8_000) } })),
    ),
  'stale secrets': () => floodRequests(() => call('GET', '/v1/session', { authorization: `Bearer ${STALE_TOKEN}` })),
  'wrong keys': () => floodRequests(() => call('POST', '/api/publish', { 'x-api-key': 'wrong-key-wrong-key' }, '{}')),
};

await ATTACKS[attack as Attack]();
agent.destroy();
process.stdout.write(JSON.stringify(count));
