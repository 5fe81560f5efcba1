import { signal } from '@preact/signals';
import type { DeviceInfo, SocketInfo } from '../../core/operator-ports.ts';
import { InteractionTracker, keepOrder } from '../stable-order.ts';
import { pathWith, requestAsOperator } from './operator-api.ts';

/** A session with its sockets; null while no gateway can tell. */
export type Device = DeviceInfo & { readonly sockets: readonly SocketInfo[] | null };

/** What a search found. */
export interface SessionSearchResult {
  readonly items: readonly Device[];
  readonly others: readonly SocketInfo[] | null;
  readonly more: boolean;
  readonly gateways: number | null;
  /** Gateways that did not answer; null when none can tell. */
  readonly silent: readonly string[] | null;
  readonly onlyTenant: string | null;
}

/** How signing out goes. */
export type SignOutResult =
  | { readonly is: 'closing'; readonly sockets: number | null }
  | { readonly is: 'closed'; readonly sockets: number | null; readonly tookMs: number }
  | { readonly is: 'waiting'; readonly why: string };

const POLL_MS = 250;
const POLL_TIMEOUT_MS = 10_000;

const idOf = ({ id }: Device): string => id;
/** While it is there the list keeps its order. */
export const sessionAttention = new InteractionTracker();

export const searchResult = signal<SessionSearchResult | undefined>(undefined);
export const sessionError = signal('');
/** Devices that were signed out here; they stay in sight until the next search. */
export const signOutResults = signal<ReadonlyMap<string, SignOutResult>>(new Map());

const pathOf = (find: string, tenant = ''): string => pathWith('/v1/operator/sessions', { find, tenant });

/** Forgets what the last search found. */
export const resetSearch = (): void => {
  searchResult.value = undefined;
  signOutResults.value = new Map();
  sessionError.value = '';
};

/** Asks for a user or a guest of a tenant, a session by its id, or the newest. */
export const loadDevices = async (
  { find, tenant }: { readonly find: string; readonly tenant: string },
  isCurrent: () => boolean,
): Promise<void> => {
  const answer = await requestAsOperator<SessionSearchResult>(pathOf(find, tenant));
  if (!isCurrent()) return;
  sessionError.value = answer.ok ? '' : answer.why;
  if (answer.ok) searchResult.value = keepSignedOut(answer.data);
};

/** Keeps those that were signed out here, without sockets. While somebody points at the list nothing in it moves. */
const keepSignedOut = (next: SessionSearchResult): SessionSearchResult => {
  const before = searchResult.value?.items ?? [];
  const listed = new Set(next.items.map(idOf));
  const gone = before
    .filter(({ id }) => signOutResults.value.has(id) && !listed.has(id))
    .map((device) => ({ ...device, sockets: [] }));
  const items = [...next.items, ...gone];
  return { ...next, items: sessionAttention.isActive ? keepOrder(before, items, idOf) : items };
};

const setSignOutResult = (id: string, farewell: SignOutResult): void => {
  signOutResults.value = new Map([...signOutResults.value, [id, farewell]]);
};

/** Ends a session, and watches until its last socket is closed. */
export const signOutDevice = async ({ id, sockets }: Device, reason: string): Promise<void> => {
  const begun = performance.now();
  const open = sockets?.length ?? null;
  setSignOutResult(id, { is: 'closing', sockets: open });
  const answer = await requestAsOperator<{ everywhere: boolean }>(
    `/v1/operator/sessions/${id}?reason=${encodeURIComponent(reason)}`,
    { method: 'DELETE' },
  );
  if (!answer.ok) {
    signOutResults.value = new Map([...signOutResults.value].filter(([one]) => one !== id));
    sessionError.value = answer.why;
    return;
  }
  while (performance.now() - begun < POLL_TIMEOUT_MS) {
    const now = await requestAsOperator<SessionSearchResult>(pathOf(id));
    if (now.ok && now.data.items.every((device) => device.sockets?.length === 0)) {
      return setSignOutResult(id, { is: 'closed', sockets: open, tookMs: performance.now() - begun });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  setSignOutResult(id, {
    is: 'waiting',
    why: 'Its session has ended; not every gateway has said yet that the sockets are closed.',
  });
};
