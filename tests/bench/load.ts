import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** One request of a workload. */
export interface Shot {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Work of a load process, bounded in count and in time. */
export interface Job {
  readonly origin: string;
  /** Sent in order, from the start again when all are sent, unless `single use`. */
  readonly shots: readonly Shot[];
  readonly once?: boolean;
  readonly connections: number;
  readonly seconds: number;
  /** Requests per second; absent: as fast as the answers come. */
  readonly rate?: number;
  readonly expectedStatus: number;
}

/** Latencies in milliseconds. */
export interface Outcome {
  readonly done: number;
  readonly unexpected: number;
  /** Of the unexpected, the first. */
  readonly example?: string;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  /** CPU seconds that the load process itself used. */
  readonly ownCpuS: number;
}

/** Runs a job in a process of its own, so that the load does not share the event loop of anything measured. */
export const runLoad = async (job: Job): Promise<Outcome> => {
  const child = fork(fileURLToPath(new URL('./load-process.ts', import.meta.url)));
  child.send(job);
  const [outcome] = (await once(child, 'message')) as [Outcome];
  child.kill();
  return outcome;
};
