import { signal } from '@preact/signals';
import type { GroupAddress } from '../../core/operator-ports.ts';
import { eventsOf } from './event-stream-parser.ts';
import { groupPath } from './group-store.ts';
import { errorTextOf, fetchAsOperator } from './operator-api.ts';

/** A line of the tail: a publication or a notice of the page. */
export type TailLine =
  | { readonly key: number; readonly at: number; readonly is: 'notice'; readonly text: string }
  | {
      readonly key: number;
      readonly at: number;
      readonly is: 'publication';
      readonly offset: number | undefined;
      readonly user: string;
      readonly data: unknown;
    };

/** State of the tail. */
export type TailStatus =
  | { readonly is: 'off' }
  | { readonly is: 'connecting' }
  | { readonly is: 'on'; readonly gateway: string };

const MAX_LINES = 200;
const RETRY_MS = 2_000;

export const tailStatus = signal<TailStatus>({ is: 'off' });
export const tailLines = signal<readonly TailLine[]>([]);

let serial = 0;
let activeTail: AbortController | undefined;

const addLine = (
  line: { is: 'notice'; text: string } | Omit<TailLine & { is: 'publication' }, 'key' | 'at'>,
): void => {
  serial += 1;
  tailLines.value = [...tailLines.value, { ...line, key: serial, at: Date.now() } as TailLine].slice(
    -MAX_LINES,
  );
};

/** Stops the tail. */
export const stopTail = (): void => {
  activeTail?.abort();
  activeTail = undefined;
  tailStatus.value = { is: 'off' };
};

/** Removes all lines. */
export const clearTail = (): void => {
  tailLines.value = [];
};

/** Streams the publications of a group until stopped; reconnects when the connection is lost. */
export const startTail = (group: GroupAddress): void => {
  stopTail();
  const controller = new AbortController();
  activeTail = controller;
  void (async () => {
    while (!controller.signal.aborted) {
      tailStatus.value = { is: 'connecting' };
      const why = await streamTail(group, controller.signal).catch(() => 'The connection was lost.');
      if (controller.signal.aborted) return;
      if (why === undefined) return stopTail();
      addLine({ is: 'notice', text: `${why} Reconnecting; publications may be missing.` });
      tailStatus.value = { is: 'connecting' };
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  })();
};

/** Resolves with the reason of the end; undefined when the request was rejected and a retry cannot help. */
const streamTail = async (group: GroupAddress, signal: AbortSignal): Promise<string | undefined> => {
  const response = await fetchAsOperator(groupPath(group, '/tail'), { signal });
  if (!response.ok || !response.body) {
    const why = await errorTextOf(response);
    if (response.status >= 500) return why;
    addLine({ is: 'notice', text: why });
    return undefined;
  }
  let end = 'The connection was lost.';
  for await (const { event, data } of eventsOf(response.body)) {
    const body = JSON.parse(data) as Record<string, unknown>;
    if (event === 'joined') tailStatus.value = { is: 'on', gateway: String(body['gateway']) };
    else if (event === 'publication') addLine(publicationOf(body));
    else if (event === 'end') end = `The tail ended: ${String(body['why'])}.`;
  }
  return end;
};

const publicationOf = (body: Record<string, unknown>) => {
  const info = body['info'] as { user?: unknown } | undefined;
  return {
    is: 'publication' as const,
    offset: typeof body['offset'] === 'number' ? body['offset'] : undefined,
    user: typeof info?.user === 'string' ? info.user : '',
    data: body['data'],
  };
};
