/** Required figure of Muster: a ratio to a peer, or an absolute value without one. */
export interface ContractLine {
  readonly peer?: string;
  readonly must: number;
  readonly reach?: number;
  /** For figures where more is better. */
  readonly isLeast?: boolean;
}

const centrifugo = (must: number, reach?: number): ContractLine => ({
  ...{ peer: 'centrifugo', must },
  ...(reach === undefined ? {} : { reach }),
});
const CPU = 'CPU per delivery';

/** Lines of the performance contract, by benchmark, workload and figure. */
const CONTRACT: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, ContractLine>>>>>> = {
  fanout: {
    '1 × 1,000, one in flight': { [CPU]: centrifugo(0.75, 0.68) },
    '1 × 1,000 at 50/s': { [CPU]: centrifugo(0.62, 0.55), p99: { peer: 'socket.io', must: 0.75 } },
    '1 × 1,000, 16 in flight': { [CPU]: centrifugo(0.18, 0.13) },
    '100 × 10, 100 in flight': { [CPU]: centrifugo(0.85, 0.55) },
    '1 × 10 at 1,000/s, published at another replica': { p50: { must: 0.8, reach: 0.4 } },
    '1 × 10,000, one in flight': { [CPU]: centrifugo(0.5, 0.42) },
  },
  publish: {
    'echo, one in flight': { p50: { must: 0.3 }, rate: { must: 3_500, isLeast: true } },
    'lone publisher at 50/s': { p50: { must: 1 } },
    'lone publisher at 160/s': { p50: { must: 1 } },
    'lone publisher at 400/s': { p50: { must: 1 } },
    'client publish, 64 × 1, cold': { 'CPU per publication': centrifugo(1.5) },
    'client publish, 64 × 1, warm': {
      'CPU per publication': centrifugo(1.1, 0.9),
      'Redis per publication': { must: 25, reach: 20 },
    },
    'HTTP publish, 32 connections, warm': { 'CPU per publication': centrifugo(1.7, 1.2) },
    'HTTP publish, one connection': { p50: { must: 0.35 } },
  },
  handshake: {
    'first wave': { 'CPU each': centrifugo(2) },
    'last wave': { 'CPU each': centrifugo(1.3, 1) },
  },
  subscribe: { 'subscribe, 10,000 groups': { 'CPU each': centrifugo(1.3, 1) } },
  storm: {
    '5,000 × 5 groups, sockets cut': { 'all back': centrifugo(1), 'CPU each': centrifugo(1, 0.5) },
  },
  idle: {
    '10,000 connections': {
      'memory each': { must: 8, reach: 6 },
      'handshake CPU each': centrifugo(1.3, 1),
      'CPU at rest': { must: 0.5, reach: 0.2 },
    },
  },
  sessions: {
    check: { 'CPU each': { peer: 'express-session', must: 0.45, reach: 0.35 } },
    'check, without Express': { 'CPU each': { peer: 'express-session', must: 0.45, reach: 0.35 } },
    create: { 'CPU each': { peer: 'express-session', must: 4, reach: 3 } },
  },
};

/** The line of a figure; undefined where the contract has none. */
export const contractOf = (figure: { bench: string; row: string; metric: string }): ContractLine | undefined =>
  CONTRACT[figure.bench]?.[figure.row]?.[figure.metric];

/** Workloads of a benchmark that have lines. */
export const contractRows = (bench: string): string[] => Object.keys(CONTRACT[bench] ?? {});
