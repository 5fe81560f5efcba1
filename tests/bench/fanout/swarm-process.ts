import { Member, type MemberCallbacks, payloadOf } from './member.ts';
import type { Load, SwarmAnswer, SwarmJob, SwarmOrder, SwarmOutcome } from './swarm.ts';

/** Connections opened at once. */
const CONNECT_BATCH = 100;
/** Every so many members one whose latencies are taken. */
const LATENCY_SAMPLE = 16;
/** Longest wait for what is missing at the end. */
const DRAIN_MS = 15_000;
const MAX_LATENCIES = 2_000_000;

interface Group {
  readonly name: string;
  readonly members: Member[];
  publisher: Member | undefined;
  /** Deliveries still to come of what was published. */
  missing: number;
}

/** Counts of the present run. */
const counts = { delivered: 0, duplicates: 0, published: 0 };
let latencies: number[] = [];
let groups: Group[] = [];
let job: SwarmJob | undefined;
let onDelivered: (group: Group) => void = () => {};

process.on('message', (order: SwarmOrder) => {
  obey(order).then(
    (outcome) => answer({ is: 'done', ...(outcome === undefined ? {} : { outcome }) }),
    (error: unknown) => answer({ is: 'failed', why: String(error) }),
  );
});

const answer = (word: SwarmAnswer): void => void process.send?.(word);

const obey = async (order: SwarmOrder): Promise<SwarmOutcome | undefined> => {
  switch (order.is) {
    case 'job':
      job = order.job;
      groups = Array.from({ length: job.groups }, (_, at) => ({
        ...{ name: `bench${at}`, members: [], publisher: undefined, missing: 0 },
      }));
      return undefined;
    case 'connect':
      await connectUpTo(order.membersPerGroup);
      return undefined;
    case 'run':
      return run(order.load);
    default:
      return order satisfies never;
  }
};

const connectUpTo = async (membersPerGroup: number): Promise<void> => {
  const wanted = groups.flatMap((group) => Array.from({ length: membersPerGroup - group.members.length }, () => group));
  for (let from = 0; from < wanted.length; from += CONNECT_BATCH) {
    const batch = wanted.slice(from, from + CONNECT_BATCH);
    const members = await Promise.all(
      batch.map((group, at) => join(group, { isSample: (from + at) % LATENCY_SAMPLE === 0 })),
    );
    batch.forEach((group, at) => {
      const member = members[at];
      if (member !== undefined) group.members.push(member);
    });
  }
  for (const group of groups) {
    if (job?.publishPort === undefined) group.publisher ??= group.members[0];
    else group.publisher ??= await join(group, { isSample: false, port: job.publishPort });
  }
};

/** Opens one member; resolves when the server has put it into its group. */
const join = (group: Group, { isSample, port }: { isSample: boolean; port?: number }): Promise<Member> =>
  new Promise((resolve, reject) => {
    if (job === undefined) return reject(new Error('no job'));
    const place = { port: port ?? job.port, group: group.name, isSample };
    const listener: MemberCallbacks = port === undefined ? listenerOf(group, reject) : { ...DEAF, onClosed: reject };
    const member: Member = new Member(place, job.dialect, listener, () => resolve(member));
  });

const listenerOf = (group: Group, onClosed: (why: string) => void): MemberCallbacks => ({
  onDelivered: (count) => {
    counts.delivered += count;
    group.missing -= count;
    onDelivered(group);
  },
  onDuplicate: () => {
    counts.duplicates += 1;
  },
  onLatency: (ms) => {
    if (latencies.length < MAX_LATENCIES) latencies.push(ms);
  },
  onClosed,
});

/** A publisher at another replica does not count as a member. */
const DEAF: Omit<MemberCallbacks, 'onClosed'> = {
  onDelivered: () => {},
  onDuplicate: () => {},
  onLatency: () => {},
};

let sequence = 0;
const publish = (group: Group): void => {
  sequence += 1;
  counts.published += 1;
  group.missing += group.members.length;
  const text = (job?.dialect.publish ?? '')
    .replace('GROUP', group.name)
    .replace('PAYLOAD', payloadOf(sequence))
    .replace('SEQUENCE', String(sequence + 10));
  group.publisher?.log(text);
};

const run = async (load: Load): Promise<SwarmOutcome> => {
  Object.assign(counts, { delivered: 0, duplicates: 0, published: 0 });
  latencies = [];
  const perGroup = groups[0]?.members.length ?? 0;
  const cpuBefore = process.cpuUsage();
  const begun = performance.now();
  const end = begun + load.seconds * 1_000;
  if (load.inFlight > 0) await publishInFlight(load.inFlight, end);
  else await publishAtRate(load.rate, begun, end);
  onDelivered = () => {};
  const expected = () => counts.published * perGroup;
  const giveUp = performance.now() + DRAIN_MS;
  while (counts.delivered < expected() && performance.now() < giveUp) await pause(5);
  const seconds = (performance.now() - begun) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  // A duplicate that is still on its way is a duplicate too.
  await pause(50);
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return {
    ...{ ...counts, seconds, expected: expected() },
    ...{ p50: quantile(0.5), p99: quantile(0.99), ownCpuS: (cpu.user + cpu.system) / 1e6 },
  };
};

const publishInFlight = async (inFlight: number, end: number): Promise<void> => {
  const publishAll = (group: Group): void => {
    for (let count = 0; count < inFlight; count += 1) publish(group);
  };
  onDelivered = (group) => {
    if (group.missing === 0 && performance.now() < end) publishAll(group);
  };
  for (const group of groups) publishAll(group);
  await pause(end - performance.now());
};

const publishAtRate = async (rate: number, begun: number, end: number): Promise<void> => {
  for (let count = 0; ; count += 1) {
    const due = begun + (count * 1_000) / rate;
    if (due >= end) return;
    const wait = due - performance.now();
    if (wait > 0.5) await pause(wait);
    const group = groups[count % groups.length];
    if (group !== undefined) publish(group);
  }
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
