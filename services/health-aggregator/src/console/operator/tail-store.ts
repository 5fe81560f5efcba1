import { signal } from '@preact/signals';
import type { GroupAddress } from '../../core/operator-ports.ts';
import { eventsOf } from './event-stream-parser.ts';
import { groupPath } from './group-store.ts';
import { fetchAsOperator, refusalOf } from './operator-api.ts';

/** A line of the tail: a publication, or a remark of the page itself. */
export type TailLine =
  | { readonly key: number; readonly at: number; readonly is: 'remark'; readonly text: string }
  | {
      readonly key: number;
      readonly at: number;
      readonly is: 'publication';
      readonly offset: number | undefined;
      readonly user: string;
      readonly data: unknown;
    };

/** How the listening goes. */
export type TailStatus =
  | { readonly is: 'off' }
  | { readonly is: 'joining' }
  | { readonly is: 'on'; readonly gateway: string };

const KEPT_LINES = 200;
const AGAIN_MS = 2_000;

export const tailStatus = signal<TailStatus>({ is: 'off' });
export const lines = signal<readonly TailLine[]>([]);

let serial = 0;
let current: AbortController | undefined;

const add = (
  line: { is: 'remark'; text: string } | Omit<TailLine & { is: 'publication' }, 'key' | 'at'>,
): void => {
  serial += 1;
  lines.value = [...lines.value, { ...line, key: serial, at: Date.now() } as TailLine].slice(-KEPT_LINES);
};

/** Stops listening. */
export const stopTail = (): void => {
  current?.abort();
  current = undefined;
  tailStatus.value = { is: 'off' };
};

/** Forgets what was heard. */
export const clearTail = (): void => {
  lines.value = [];
};

/** Listens to a group until it is stopped; a connection that is lost is tried again. */
export const startTail = (group: GroupAddress): void => {
  stopTail();
  const mine = new AbortController();
  current = mine;
  void (async () => {
    while (!mine.signal.aborted) {
      tailStatus.value = { is: 'joining' };
      const why = await listen(group, mine.signal).catch(() => 'The connection was lost.');
      if (mine.signal.aborted) return;
      if (why === undefined) return stopTail();
      add({ is: 'remark', text: `${why} Trying again; something may be missing here.` });
      tailStatus.value = { is: 'joining' };
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  })();
};

/** Answers why it ended; undefined when trying again is in vain. */
const listen = async (group: GroupAddress, signal: AbortSignal): Promise<string | undefined> => {
  const response = await fetchAsOperator(groupPath(group, '/tail'), { signal });
  if (!response.ok || !response.body) {
    const why = await refusalOf(response);
    if (response.status >= 500) return why;
    add({ is: 'remark', text: why });
    return undefined;
  }
  let end = 'The connection was lost.';
  for await (const { event, data } of eventsOf(response.body)) {
    const body = JSON.parse(data) as Record<string, unknown>;
    if (event === 'joined') tailStatus.value = { is: 'on', gateway: String(body['gateway']) };
    else if (event === 'publication') add(publicationOf(body));
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
