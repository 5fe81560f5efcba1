import { setTimeout as sleep } from 'node:timers/promises';

/** Probe of a container by HTTP. */
export interface HttpProbe {
  readonly httpGet: { readonly path: string; readonly port: string | number };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
  readonly successThreshold?: number;
  readonly initialDelaySeconds?: number;
}

/** Probes `url` until the signal aborts, and reports each change between success and failure by the thresholds. */
export const runProbe = async (
  probe: HttpProbe,
  url: string,
  signal: AbortSignal,
  onChange: (isSuccess: boolean) => void,
): Promise<void> => {
  const { periodSeconds = 10, timeoutSeconds = 1, failureThreshold = 3, successThreshold = 1 } = probe;
  let state: boolean | undefined;
  let successes = 0;
  let failures = 0;
  if (probe.initialDelaySeconds !== undefined) await pause(probe.initialDelaySeconds, signal);
  while (!signal.aborted) {
    const isSuccess = await isAnswered(url, timeoutSeconds, signal);
    if (signal.aborted) return;
    successes = isSuccess ? successes + 1 : 0;
    failures = isSuccess ? 0 : failures + 1;
    const next = successes >= successThreshold ? true : failures >= failureThreshold ? false : state;
    if (next !== undefined && next !== state) {
      state = next;
      onChange(next);
    }
    await pause(periodSeconds, signal);
  }
};

/** Status 200 to 399 within the timeout, as the kubelet decides. */
const isAnswered = async (url: string, timeoutSeconds: number, signal: AbortSignal): Promise<boolean> => {
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutSeconds * 1_000)]);
    const answer = await fetch(url, { signal: limit, redirect: 'manual', headers: { connection: 'close' } });
    await answer.body?.cancel();
    return answer.status >= 200 && answer.status < 400;
  } catch {
    return false;
  }
};

const pause = (seconds: number, signal: AbortSignal): Promise<unknown> =>
  sleep(seconds * 1_000, undefined, { signal }).catch(() => {});
