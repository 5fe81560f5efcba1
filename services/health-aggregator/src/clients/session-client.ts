import { AppError } from '@muster/protocol/errors';
import { isOwnUser } from '@muster/protocol/ids';
import type { DeviceInfo, SessionClient } from '../core/operator-ports.ts';
import type { UpstreamClient } from './upstream.ts';

const NEWEST = 20;
/** Sessions to read, so that enough remain without those of tools. */
const READ_FOR_NEWEST = '100';
const OF_A_USER = '50';

/** A session in a response of the session service. */
interface SessionBody {
  readonly id: string;
  readonly tenant: string;
  readonly user_id: string | null;
  readonly kind: string;
  readonly label: string | null;
  readonly client: { readonly summary: string | null; readonly kind: string };
  readonly ip: string | null;
  readonly last_ip: string | null;
  readonly created_at: string;
  readonly last_seen_at: string;
  readonly expires_at: string;
  readonly ended_at: string | null;
  readonly end_reason: string | null;
}

interface Page {
  readonly items: readonly SessionBody[];
  readonly next: string | null;
}

/** Client of the session services. */
export const createSessionClient = ({ request }: UpstreamClient): SessionClient => {
  const page = async (query: Record<string, string>, tenant: string | undefined) => {
    // In the query every text is safe; in the path `..` would address another resource.
    const parameters = new URLSearchParams({
      ...query,
      state: 'live',
      ...(tenant === undefined ? {} : { tenant }),
    });
    const { items, next } = await request<Page>({ method: 'GET', path: `/v1/sessions?${parameters}` });
    return { devices: items.map(deviceOf), more: next !== null };
  };
  /** Without sessions of the tools of the fleet. */
  const newest = async (tenant: string | undefined) => {
    const { devices, more } = await page({ limit: READ_FOR_NEWEST }, tenant);
    const others = devices.filter(({ user }) => !isOwnUser(user));
    return { devices: others.slice(0, NEWEST), more: more || others.length > NEWEST };
  };
  const sessionById = (id: string): Promise<SessionBody | undefined> =>
    request<SessionBody>({ method: 'GET', path: `/v1/sessions/${encodeURIComponent(id)}` }).catch((error: unknown) => {
      if (error instanceof AppError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    });
  return {
    find: async (query) => {
      switch (query.by) {
        case 'newest':
          return newest(query.tenant);
        case 'user':
          return page({ user_id: query.user, limit: OF_A_USER }, query.tenant);
        case 'ids': {
          const found = await Promise.all(query.ids.map(sessionById));
          return { devices: found.filter((session) => session !== undefined).map(deviceOf), more: false };
        }
        default:
          return query satisfies never;
      }
    },
    end: async (id) => {
      const path = `/v1/sessions/${encodeURIComponent(id)}`;
      const pending = await request<object | undefined>({ method: 'DELETE', path });
      return pending === undefined;
    },
  };
};

const deviceOf = (session: SessionBody): DeviceInfo => ({
  id: session.id,
  tenant: session.tenant,
  user: session.user_id,
  kind: session.kind,
  label: session.label,
  client: session.client.summary ?? session.client.kind,
  ip: session.last_ip ?? session.ip,
  createdAt: session.created_at,
  lastSeenAt: session.last_seen_at,
  expiresAt: session.expires_at,
  endedAt: session.ended_at,
  endReason: session.end_reason,
});
