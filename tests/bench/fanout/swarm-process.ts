import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { SwarmJob, SwarmOutcome } from './swarm.ts';

/*
 * Members on bare sockets: a real WebSocket client per member would make this process, and not the server, the
 * bottleneck. Deliveries are counted by a marker in the payload, wherever frames begin and end.
 */
const MARKER = Buffer.from('"t":');
const PAYLOAD_BYTES = 100;
const CONNECT_BATCH = 100;
const LATENCY_SAMPLE = 16;
const DRAIN_MS = 10_000;

process.once('message', (job: SwarmJob) => {
  run(job).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    process.exit(1);
  });
});

interface Group {
  readonly name: string;
  publisher: Socket | undefined;
  /** Deliveries of the publication in flight that are still missing. */
  missing: number;
}

const run = async (job: SwarmJob): Promise<void> => {
  const state = {
    delivered: 0,
    latencies: [] as number[],
    onDelivered: (_group: Group, _count: number) => {},
  };
  const groups: Group[] = Array.from({ length: job.groups }, (_, at) => ({
    name: `bench${at}`,
    publisher: undefined,
    missing: 0,
  }));
  const wanted = groups.flatMap((group) => Array.from({ length: job.membersPerGroup }, () => group));
  for (let from = 0; from < wanted.length; from += CONNECT_BATCH) {
    const batch = wanted.slice(from, from + CONNECT_BATCH);
    const sockets = await Promise.all(batch.map((group, at) => join(job, group, from + at, state)));
    batch.forEach((group, at) => {
      group.publisher ??= sockets[at];
    });
  }
  process.send?.('ready');
  await new Promise((resolve) => process.once('message', resolve));
  process.send?.(await publishAll(job, groups, state), () => process.exit(0));
};

interface State {
  delivered: number;
  latencies: number[];
  onDelivered: (group: Group, count: number) => void;
}

/** Opens one member; resolves when the server has put it into its group. */
const join = (job: SwarmJob, group: Group, index: number, state: State): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const { dialect } = job;
    const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true });
    const headers = Object.entries(dialect.headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(
      `GET ${dialect.path.replace('GROUP', group.name)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${headers.join('')}\r\n`,
    );
    const hello = [...dialect.hello];
    let greeting = '';
    const greet = (part: Buffer) => {
      greeting += part.toString('latin1');
      for (let step = hello[0]; step !== undefined && greeting.includes(step.after); step = hello[0]) {
        socket.write(clientFrame(step.send.replaceAll('GROUP', group.name)));
        hello.shift();
      }
      if (!greeting.includes(dialect.welcome)) return;
      socket.off('data', greet);
      socket.on('data', createCounter(group, index % LATENCY_SAMPLE === 0, state));
      resolve(socket);
    };
    socket.on('data', greet);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed in greeting: ${greeting.slice(0, 300)}`)));
  });

const createCounter = (group: Group, isSample: boolean, state: State) => {
  let tail: Buffer = Buffer.alloc(0);
  return (part: Buffer): void => {
    const bytes = tail.length > 0 ? Buffer.concat([tail, part]) : part;
    let count = 0;
    let end = 0;
    for (let at = bytes.indexOf(MARKER); at >= 0; at = bytes.indexOf(MARKER, at + MARKER.length)) {
      count += 1;
      end = at + MARKER.length;
      if (isSample) {
        const sentAt = Number.parseFloat(bytes.toString('latin1', end, end + 16));
        if (Number.isFinite(sentAt)) state.latencies.push(performance.now() - sentAt);
      }
    }
    // A marker may be cut in two by the network.
    tail = bytes.subarray(Math.max(end, bytes.length - MARKER.length + 1));
    if (count === 0) return;
    state.delivered += count;
    state.onDelivered(group, count);
  };
};

const publishAll = async (job: SwarmJob, groups: readonly Group[], state: State): Promise<SwarmOutcome> => {
  let published = 0;
  const publish = (group: Group): void => {
    const stamp = performance.now().toFixed(3);
    const payload = `{"t":${stamp},"p":"`;
    const text = job.dialect.publish
      .replace('GROUP', group.name)
      .replace('PAYLOAD', `${payload}${'x'.repeat(PAYLOAD_BYTES - payload.length - 2)}"}`)
      .replace('SEQUENCE', String(published + 10));
    published += 1;
    group.missing += job.membersPerGroup;
    group.publisher?.write(clientFrame(text));
  };
  const cpuBefore = process.cpuUsage();
  const begun = performance.now();
  const end = begun + job.seconds * 1_000;
  state.onDelivered = (group, count) => {
    group.missing -= count;
    if (job.rate === 0 && group.missing === 0 && performance.now() < end) publish(group);
  };
  if (job.rate === 0) {
    for (const group of groups) publish(group);
    await pause(job.seconds * 1_000);
  } else await publishAtRate(job, groups, begun, end, publish);
  const expected = () => published * job.membersPerGroup;
  const giveUp = performance.now() + DRAIN_MS;
  while (state.delivered < expected() && performance.now() < giveUp) await pause(10);
  const seconds = (performance.now() - begun) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  const latencies = state.latencies.sort((a, b) => a - b);
  const quantile = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return {
    ...{ published, seconds, delivered: state.delivered, expected: expected() },
    ...{ p50: quantile(0.5), p99: quantile(0.99), ownCpuS: (cpu.user + cpu.system) / 1e6 },
  };
};

const publishAtRate = async (
  job: SwarmJob,
  groups: readonly Group[],
  begun: number,
  end: number,
  publish: (group: Group) => void,
) => {
  for (let count = 0; ; count += 1) {
    const due = begun + (count * 1_000) / job.rate;
    if (due >= end) return;
    const wait = due - performance.now();
    if (wait > 0.5) await pause(wait);
    const group = groups[count % groups.length];
    if (group !== undefined) publish(group);
  }
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A masked text frame (RFC 6455 §5.2). A mask of zeros is a mask. */
const clientFrame = (text: string): Buffer => {
  const payload = Buffer.from(text);
  const length =
    payload.length < 126
      ? Buffer.from([0x81, 0x80 | payload.length])
      : Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([length, Buffer.alloc(4), payload]);
};
