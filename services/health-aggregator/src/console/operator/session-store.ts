import { signal } from '@preact/signals';
import type { DeviceInfo, SocketInfo } from '../../core/operator-ports.ts';
import { pathWith, requestAsOperator } from '../operator-api.ts';
import { InteractionTracker, keepOrder } from '../stable-order.ts';

/** Session with its connections; null when unknown. */
export type Device = DeviceInfo & { readonly sockets: readonly SocketInfo[] | null };

/** Result of a search. */
export interface SessionSearchResult {
  readonly items: readonly Device[];
  readonly others: readonly SocketInfo[] | null;
  readonly more: boolean;
  readonly gateways: number | null;
  /** Gateways that did not respond; null when none could be queried. */
  readonly silent: readonly string[] | null;
  readonly onlyTenant: string | null;
}

/** Progress of a sign-out. */
export type SignOutResult =
  | { readonly is: 'closing'; readonly sockets: number | null }
  | { readonly is: 'closed'; readonly sockets: number | null; readonly tookMs: number }
  | { readonly is: 'waiting'; readonly why: string };

const POLL_MS = 250;
const POLL_TIMEOUT_MS = 10_000;

const idOf = ({ id }: Device): string => id;
/** Keeps the order of the list while it is in use. */
export const sessionAttention = new InteractionTracker();

export const searchResult = signal<SessionSearchResult | undefined>(undefined);
export const sessionError = signal('');
/** Devices that were signed out here; they stay listed until the next search. */
export const signOutResults = signal<ReadonlyMap<string, SignOutResult>>(new Map());

const pathOf = (find: string, tenant = ''): string => pathWith('/v1/operator/sessions', { find, tenant });

/** Clears the last search. */
export const resetSearch = (): void => {
  searchResult.value = undefined;
  signOutResults.value = new Map();
  sessionError.value = '';
};

/** Searches for a user or guest of a tenant, a session id or, without `find`, the newest sessions. */
export const loadDevices = async (
  { find, tenant }: { readonly find: string; readonly tenant: string },
  isCurrent: () => boolean,
): Promise<void> => {
  const answer = await requestAsOperator<SessionSearchResult>(pathOf(find, tenant));
  if (!isCurrent()) return;
  sessionError.value = answer.ok ? '' : answer.why;
  if (answer.ok) searchResult.value = keepSignedOut(answer.data);
};

/** Adds the devices that were signed out here, without connections. The order is kept while the list is in use. */
const keepSignedOut = (next: SessionSearchResult): SessionSearchResult => {
  const before = searchResult.value?.items ?? [];
  const listed = new Set(next.items.map(idOf));
  const signedOut = before
    .filter(({ id }) => signOutResults.value.has(id) && !listed.has(id))
    .map((device) => ({ ...device, sockets: [] }));
  const items = [...next.items, ...signedOut];
  return { ...next, items: sessionAttention.isActive ? keepOrder(before, items, idOf) : items };
};

const setSignOutResult = (id: string, result: SignOutResult): void => {
  signOutResults.value = new Map([...signOutResults.value, [id, result]]);
};

/** Ends a session and polls until its last connection is closed, at most 10 s. */
export const signOutDevice = async ({ id, sockets }: Device, reason: string): Promise<void> => {
  const startedAt = performance.now();
  const open = sockets?.length ?? null;
  setSignOutResult(id, { is: 'closing', sockets: open });
  const answer = await requestAsOperator<{ everywhere: boolean }>(
    `/v1/operator/sessions/${id}?reason=${encodeURIComponent(reason)}`,
    { method: 'DELETE' },
  );
  if (!answer.ok) {
    signOutResults.value = new Map([...signOutResults.value].filter(([key]) => key !== id));
    sessionError.value = answer.why;
    return;
  }
  while (performance.now() - startedAt < POLL_TIMEOUT_MS) {
    const now = await requestAsOperator<SessionSearchResult>(pathOf(id));
    if (now.ok && now.data.items.every((device) => device.sockets?.length === 0)) {
      return setSignOutResult(id, { is: 'closed', sockets: open, tookMs: performance.now() - startedAt });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  setSignOutResult(id, {
    is: 'waiting',
    why: 'The session has ended. Not every gateway has confirmed that its connections are closed.',
  });
};
