import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '@muster/testkit/wait';

/** One change of an instance, as an aggregator reported it. */
export interface StateChange {
  /** ms after the start of the timeline. */
  readonly at: number;
  readonly name: string;
  readonly state: string;
  readonly why: string;
}

/** All reports of an aggregator about instances, in order. Disposing stops the polling. */
export interface StateRecorder extends AsyncDisposable {
  readonly changes: readonly StateChange[];
  /** Waits until an instance is in one of these states; answers how long after `since` (by `performance.now()`) that was. */
  untilState(name: string, states: readonly string[], since: number, timeoutMs?: number): Promise<number>;
  /** Names of those that were ever in this state. */
  namesEverIn(state: string): string[];
  /** For the message of a failure. */
  text(): string;
}

const POLL_MS = 50;

interface FleetBody {
  readonly services: readonly {
    readonly instances: readonly { readonly name: string; readonly state: string; readonly why: string }[];
  }[];
}

/** Polls `/v1/fleet` and records every change. */
export const recordStates = (url: string): StateRecorder => {
  const startedAt = performance.now();
  const sightings: StateChange[] = [];
  const last = new Map<string, string>();
  let isOver = false;

  const note = ({ services }: FleetBody): void => {
    const listed = new Set<string>();
    for (const { name, state, why } of services.flatMap(({ instances }) => instances)) {
      listed.add(name);
      change(name, state, why);
    }
    for (const name of last.keys()) if (!listed.has(name)) change(name, 'gone', '');
  };
  const change = (name: string, state: string, why: string): void => {
    if (last.get(name) === state) return;
    last.set(name, state);
    sightings.push({ at: performance.now() - startedAt, name, state, why });
  };
  const running = (async () => {
    while (!isOver) {
      const response = await fetch(`${url}/v1/fleet`).catch(() => undefined);
      if (response?.ok) note((await response.json()) as FleetBody);
      await sleep(POLL_MS);
    }
  })();
  const text = (): string =>
    sightings.map(({ at, name, state, why }) => `${Math.round(at)} ms ${name} ${state} ${why}`).join('\n');
  return {
    changes: sightings,
    namesEverIn: (state) => [...new Set(sightings.filter((one) => one.state === state).map(({ name }) => name))],
    text,
    untilState: async (name, states, since, timeoutMs = 30_000) => {
      const from = since - startedAt;
      const find = () => {
        // The state at the start of the wait counts too.
        const before = sightings.findLast((one) => one.name === name && one.at <= from);
        if (before && states.includes(before.state)) return before;
        return sightings.find((one) => one.name === name && one.at >= from && states.includes(one.state));
      };
      const found = await until(find, {
        what: `${name} to be ${states.join(' or ')}; seen so far:\n${text()}\n`,
        timeoutMs,
      });
      return Math.max(0, (found?.at ?? 0) - from);
    },
    [Symbol.asyncDispose]: async () => {
      isOver = true;
      await running;
    },
  };
};
