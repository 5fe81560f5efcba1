import type { ContestantName } from './contestants.ts';
import type { Scenario, ScenarioRun } from './run-scenarios.ts';

export interface ScenarioOptions {
  /** Seconds of load for each row. */
  readonly seconds: number;
  /** Leaves out what needs more than a thousand connections, and shortens the rest. */
  readonly isQuick: boolean;
}

type Load = Readonly<Record<string, number>>;

const ALL: readonly ContestantName[] = ['muster', 'centrifugo', 'socket.io', 'ws', 'bare sockets'];
const WITH_REPLICAS: readonly ContestantName[] = ['muster', 'centrifugo', 'socket.io', 'ws'];
const CENTRIFUGO_PROTOCOL: readonly ContestantName[] = ['muster', 'centrifugo'];
const QUICK_MEMBERS = 1_000;
/** The load reads at most so often where it would otherwise be the bottleneck: every 100 µs. */
const PAUSE = { pause: 100 };
const SETTLE_S = 0.5;

export const scenarios = (options: ScenarioOptions): Scenario[] =>
  [
    ...fanOut(options),
    ...publishing(options),
    handshakes(options),
    subscriptions,
    idle(options),
    ...(['sockets cut', 'gateway killed'] as const).map((what) => storm(what, options)),
  ].filter(({ members }) => !options.isQuick || members <= QUICK_MEMBERS);

/** Publishes for as long as needed to run optimized code, then measures. */
const measureDeliveries = async (run: ScenarioRun, row: string, load: Load, warmUpS: number): Promise<void> => {
  await run.send('run', { ...load, seconds: warmUpS });
  const { answer, serverUs } = await run.measure('run', { ...load, seconds: run.seconds });
  const { deliveries, seconds, p50, p99 } = answer;
  run.add(row, answer, {
    'CPU per delivery': [serverUs / deliveries, 'µs'],
    ...(load['rate'] === undefined ? { deliveries: [deliveries / seconds, '/s'] } : {}),
    ...{ p50: [p50, 'ms'], p99: [p99, 'ms'] },
  });
};

const fanOut = ({ isQuick }: ScenarioOptions): Scenario[] => {
  const warmUpS = isQuick ? 1 : 1.5;
  const shape = (
    [members, groups]: readonly [number, number],
    loads: Readonly<Record<string, Load>>,
    more: Partial<Scenario> = {},
  ): Scenario => ({
    ...{ bench: 'fanout', rows: Object.keys(loads), contestants: ALL, members, groups, ...more },
    async measure(run) {
      await run.connect();
      for (const [row, load] of Object.entries(loads))
        if (run.isWanted(row)) await measureDeliveries(run, row, load, warmUpS);
    },
  });
  return [
    shape([1_000, 1], {
      '1 × 1,000, one in flight': { window: 1, ...PAUSE },
      '1 × 1,000 at 50/s': { rate: 50 },
      '1 × 1,000, 16 in flight': { window: 16, ...PAUSE },
    }),
    // A million deliveries per second: no peer that writes each of them on its own reaches it.
    shape([1_000, 1], { '1 × 1,000 at 1,000/s': { rate: 1_000, ...PAUSE } }, { contestants: ['muster'] }),
    shape([1_000, 100], {
      '100 × 10, 100 in flight': { window: 100, ...PAUSE },
      '100 × 10 at 1,000/s': { rate: 1_000 },
    }),
    shape(
      [1_000, 100],
      { '100 × 10 at 1,000/s, published at another replica': { rate: 1_000 } },
      { contestants: WITH_REPLICAS, replica: 'publishes' },
    ),
    shape(
      [10, 1],
      { '1 × 10 at 1,000/s, published at another replica': { rate: 1_000 } },
      { contestants: WITH_REPLICAS, replica: 'publishes' },
    ),
    shape(
      [10_000, 1],
      { '1 × 10,000, one in flight': { window: 1, ...PAUSE }, '1 × 10,000 at 4/s': { rate: 4 } },
      { maxRounds: 2 },
    ),
  ];
};

const publishing = ({ isQuick }: ScenarioOptions): Scenario[] => {
  // Until V8 has compiled the path once, and until it has optimized it.
  const [coldS, warmS] = isQuick ? [1, 2] : [2, 8];
  const measure = async (run: ScenarioRun, row: string, load: Load): Promise<void> => {
    const { answer, serverUs, redisUs } = await run.measure('run', { ...load, seconds: run.seconds });
    const { publications, seconds, p50 } = answer;
    run.add(row, answer, {
      'CPU per publication': [serverUs / publications, 'µs'],
      'Redis per publication': [redisUs / publications, 'µs'],
      ...{ publications: [publications / seconds, '/s'], p50: [p50, 'ms'] },
    });
  };
  const coldAndWarm = (name: string, load: Load, more: Pick<Scenario, 'contestants' | 'members'>): Scenario => ({
    ...{ bench: 'publish', rows: [`${name}, cold`, `${name}, warm`], groups: more.members, ...more },
    async measure(run) {
      await run.connect();
      await run.send('run', { ...load, seconds: coldS });
      await measure(run, `${name}, cold`, load);
      await run.send('run', { ...load, seconds: warmS });
      await measure(run, `${name}, warm`, load);
    },
  });
  const rates = [50, 160, 400];
  return [
    {
      ...{ bench: 'publish', rows: ['echo, one in flight', ...rates.map((rate) => `lone publisher at ${rate}/s`)] },
      ...{ contestants: WITH_REPLICAS, members: 1, groups: 1 },
      async measure(run) {
        await run.connect();
        await run.send('run', { window: 1, seconds: coldS });
        const { answer } = await run.measure('run', { window: 1, seconds: run.seconds });
        run.add('echo, one in flight', answer, {
          ...{ p50: [answer.p50, 'ms'], p99: [answer.p99, 'ms'] },
          rate: [answer.publications / answer.seconds, '/s'],
        });
        for (const rate of rates.filter((each) => run.isWanted(`lone publisher at ${each}/s`))) {
          const { answer: lone } = await run.measure('run', { rate, seconds: run.seconds });
          run.add(`lone publisher at ${rate}/s`, lone, { p50: [lone.p50, 'ms'], p99: [lone.p99, 'ms'] });
        }
      },
    },
    coldAndWarm('client publish, 64 × 1', { window: 256 }, { contestants: WITH_REPLICAS, members: 64 }),
    coldAndWarm('HTTP publish, 32 connections', { http: 32 }, { contestants: CENTRIFUGO_PROTOCOL, members: 32 }),
    {
      ...{ bench: 'publish', rows: ['HTTP publish, one connection'], contestants: CENTRIFUGO_PROTOCOL },
      ...{ members: 1, groups: 1 },
      async measure(run) {
        await run.connect();
        await run.send('run', { http: 1, seconds: coldS });
        await measure(run, 'HTTP publish, one connection', { http: 1 });
      },
    },
  ];
};

const WAVES = 5;

/** Connections that open and close in waves, each with a session of its own. */
const handshakes = ({ isQuick }: ScenarioOptions): Scenario => ({
  ...{ bench: 'handshake', rows: ['first wave', 'last wave'], contestants: WITH_REPLICAS },
  ...{ members: isQuick ? 500 : 2_000, groups: 1, maxRounds: 2 },
  async measure(run) {
    for (let wave = 1; wave <= WAVES; wave += 1) {
      const { answer, serverUs, redisUs } = await run.measure('connect', {}, { settleS: 0.2 });
      if (wave === 1 || wave === WAVES) {
        run.add(wave === 1 ? 'first wave' : 'last wave', answer, {
          'CPU each': [serverUs / run.members, 'µs'],
          'Redis each': [redisUs / run.members, 'µs'],
          connections: [run.members / answer.seconds, '/s'],
        });
      }
      await run.send('drop');
      await run.send('wait', { seconds: 1.2 });
    }
  },
});

const CYCLES = 3;
const GROUPS_EACH = 100;

/** Members that subscribe to, and unsubscribe from, groups that no other member has. */
const subscriptions: Scenario = {
  ...{ bench: 'subscribe', rows: ['subscribe, 10,000 groups', 'unsubscribe, 10,000 groups'] },
  ...{ contestants: CENTRIFUGO_PROTOCOL, members: 100, groups: 1 },
  async measure(run) {
    await run.connect();
    const count = run.members * GROUPS_EACH;
    for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
      for (const command of ['subscribe', 'unsubscribe'] as const) {
        const { answer, serverUs, redisUs } = await run.measure(command, { groups: GROUPS_EACH, batch: 10 });
        // The first cycle warms up.
        if (cycle > 1) {
          run.add(`${command}, 10,000 groups`, answer, {
            ...{ 'CPU each': [serverUs / count, 'µs'], 'Redis each': [redisUs / count, 'µs'] },
            rate: [count / answer.seconds, '/s'],
          });
        }
        await run.send('wait', { seconds: SETTLE_S });
      }
    }
  },
};

/** Memory of connections with sessions of their own, the CPU of their handshakes, and the CPU of their rest. */
const idle = ({ isQuick }: ScenarioOptions): Scenario => {
  const sizes = isQuick ? [1_000] : [1_000, 5_000, 10_000];
  const nameOf = (size: number) => `${size.toLocaleString('en-US')} connections`;
  return {
    ...{ bench: 'idle', rows: sizes.map(nameOf), contestants: ALL, members: Math.max(...sizes), groups: 1 },
    maxRounds: 2,
    async measure(run) {
      const bytesBefore = run.bytes();
      let connectUs = 0;
      for (const size of sizes) {
        const { answer, serverUs } = await run.measure('connect', { members: size }, { settleS: 3 });
        connectUs += serverUs;
        run.add(nameOf(size), answer, {
          'memory each': [(run.bytes() - bytesBefore) / size / 1_024, 'KB'],
          'handshake CPU each': [connectUs / size, 'µs'],
        });
      }
      // Presence is renewed every 25 to 30 s.
      const restS = !isQuick && CENTRIFUGO_PROTOCOL.includes(run.contestant) ? 30 : 5;
      const { answer, serverUs, redisUs } = await run.measure('wait', { seconds: restS });
      const share = (us: number): [number, string] => [us / restS / 1e4, '%'];
      run.add(nameOf(run.members), answer, { 'CPU at rest': share(serverUs), 'Redis at rest': share(redisUs) });
    },
  };
};

const PER_CLIENT = 5;
const CLIENTS_PER_GROUP = 50;

/** All clients lose their connections at once, while publications continue, and return with their positions. */
const storm = (what: 'sockets cut' | 'gateway killed', { isQuick }: ScenarioOptions): Scenario => {
  const members = isQuick ? 500 : 5_000;
  const row = `${members.toLocaleString('en-US')} × ${PER_CLIENT} groups, ${what}`;
  return {
    ...{ bench: 'storm', rows: [row], contestants: CENTRIFUGO_PROTOCOL },
    ...{ members, groups: (members * PER_CLIENT) / CLIENTS_PER_GROUP, perMember: PER_CLIENT },
    ...(what === 'gateway killed' ? { replica: 'takes over' } : {}),
    async measure(run) {
      await run.connect();
      await run.send('background', { rate: 100 });
      await run.send('wait', { seconds: 2 });
      await run.send('cut', what === 'gateway killed' ? { kill: run.takeOver() } : {});
      await run.send('wait', { seconds: 0.3 });
      const { answer, serverUs, redisUs } = await run.measure('reconnect', { port: run.port() });
      await run.send('wait', { seconds: 2 });
      const end = await run.send('background', { rate: 0 });
      run.add(row, end, {
        ...{ 'half back': [answer.half, 'ms'], '99 % back': [answer.most, 'ms'], 'all back': [answer.all, 'ms'] },
        ...{ 'CPU each': [serverUs / members, 'µs'], 'Redis each': [redisUs / members, 'µs'] },
        ...{ retries: [end.retries / members, 'each'] },
      });
    },
  };
};
