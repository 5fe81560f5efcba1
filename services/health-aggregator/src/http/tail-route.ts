import { type Route, route } from '@muster/http/route';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import { createTailToken } from '@muster/session/tail-token';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import type { Request } from 'express';
import type { GatewayClient, GroupAddress } from '../core/operator-ports.ts';
import { groupParams, groupQuery, operatorRefusals, required, tenantOfQuery } from './operator-routes.ts';

const WEBSOCKET_PATH = '/connection/websocket';
const PORT = /:\d{1,5}$/;

interface TailTokensDeps {
  readonly clock: Clock;
  /** The key that gateways know as well. */
  readonly serverApiKey: string;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
}

/** Issues tail tokens, each with the address at which gateways accept it. No I/O. */
export const createTailTokens = ({ clock, serverApiKey, tenantHosts }: TailTokensDeps) => ({
  /** `at` is the host, with a port if any, at which the operator opened the console. */
  issue: ({ group, tenant }: GroupAddress, at: string) => {
    const { token, expiresAt } = createTailToken(serverApiKey, { tenant, group, now: clock.now() });
    const host = tenantHosts.hostOf(tenant);
    const origin = host === undefined ? '' : `//${host}${PORT.exec(at)?.[0] ?? ''}`;
    return { url: origin + WEBSOCKET_PATH, token, expires_at: new Date(expiresAt).toISOString() };
  },
});

/** Issuer of tail tokens. */
export type TailTokens = ReturnType<typeof createTailTokens>;

interface TailRouteDeps {
  readonly groups: GatewayClient | undefined;
  readonly tailTokens: TailTokens | undefined;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

/**
 * `POST /v1/operator/groups/:group/tail`: a token with which the browser connects to a gateway by itself and receives one group.
 * It creates no session; the page fetches another token each minute.
 */
export const tailRoute = ({ groups, tailTokens, guard, log }: TailRouteDeps): Route =>
  route({
    method: 'post',
    path: '/v1/operator/groups/:group/tail',
    summary: 'Issue a token to receive the publications of a group for 60 s',
    params: groupParams,
    query: groupQuery,
    guard,
    responses: {
      201: {
        description:
          '`token` for `connect`, valid until `expires_at`, and the `url` of the gateways, relative to the address of the page',
      },
      ...operatorRefusals,
    },
    handle: async ({ params: { group }, query, req }) => {
      const client = required(groups, 'SERVER_API_KEYS');
      const tenant = await tenantOfQuery(client, query.tenant);
      const onlyTenant = await client.onlyTenant();
      if (onlyTenant !== undefined && onlyTenant !== tenant) {
        throw new AppError('FORBIDDEN', {
          detail: `The server API key of this aggregator is valid for the tenant ${onlyTenant} only. Name that tenant, or set SERVER_API_KEYS to a key for all tenants.`,
        });
      }
      log.warn({ group, tenant }, 'operator.tail_token_issued');
      const body = required(tailTokens, 'SERVER_API_KEYS').issue({ group, tenant }, req.headers.host ?? '');
      return { status: 201, headers: { 'Cache-Control': 'no-store' }, body };
    },
  });
