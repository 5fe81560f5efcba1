import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { createRejectedTokens, type SessionDecision } from '@muster/session/session-decision';
import { createSessionListener } from '@muster/session/session-events-listener';
import { createSnapshotStore } from '@muster/session/session-snapshot';
import { createSessionSource } from '@muster/session/session-source';
import { createTicketStore } from '@muster/session/tickets';
import { createTokenSigner } from '@muster/session/token';
import { type Authenticator, createAuthenticator, identityOfSession } from './auth/authenticator.ts';
import { createSessionActivity } from './auth/session-activity.ts';
import type { SessionRegistry } from './auth/session-registry.ts';
import { createSessionRevalidation, isPrivilegeChange } from './auth/session-revalidation.ts';
import type { GatewayConfig } from './config/index.ts';
import type { ClientIdentity } from './core/ports.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { Access } from './wiring-access.ts';

/** The gate, and what it follows of sessions. */
export interface SessionPart extends Authenticator, AsyncDisposable {
  /** Whether this client's tenant exists at the host that it came to. */
  isAtHome(host: string | undefined, identity: ClientIdentity | undefined): boolean;
  /** Resolves when a session service answers and accepts our key. */
  checkSource(): Promise<void>;
  reload(config: GatewayConfig): void;
}

/** Who may come in, and who must go. */
export const wireSessions = (
  config: GatewayConfig,
  { clock, random, log }: Runtime,
  redis: RedisConnections,
  metrics: Metrics,
  parts: { registry: SessionRegistry; instruments: GatewayMetrics; access: Access },
): SessionPart => {
  const { registry, instruments, access } = parts;
  let signer = createTokenSigner(config.sessionSecrets);
  let { tenantHosts } = config;
  const stack = new AsyncDisposableStack();
  const snapshots = createSnapshotStore({ redis, clock });
  const source = createSessionSource({ urls: config.sessionServiceUrls, apiKey: config.internalApiKey });
  const listener = stack.use(
    createSessionListener({
      redis,
      clock,
      log,
      metrics,
      onEnded: registry.end,
      onChanged: (change) => {
        if (change.k === 'upd') void sweep.checkChanged(change.ids);
        else if (isPrivilegeChange(change.why)) for (const id of change.ids) registry.renew(id, change.why);
      },
      onLost: () => {
        // Redis may have lost what it knew of sockets, too.
        registry.markChanged(registry.ids());
        void sweep.checkAll();
      },
    }),
  );
  const sweep = stack.use(
    createSessionRevalidation({
      ...{ registry, snapshots, source, log, isBusHealthy: listener.healthy },
      onLive: createSessionActivity({ redis, clock, log }),
      identityOf: (snapshot) => identityOfSession(snapshot, config.access.isInsecure),
    }),
  );
  const gate = createAuthenticator({
    signer: { issue: (id, secret) => signer.issue(id, secret), verify: (token) => signer.verify(token) },
    jwtAuthenticator: access.strangers,
    tenantHosts: {
      tenantOf: (host) => tenantHosts.tenantOf(host),
      admits: (host, tenant) => tenantHosts.admits(host, tenant),
    },
    isInsecure: config.access.isInsecure,
    registry,
    tickets: createTicketStore({ redis, random }),
    snapshots,
    source,
    rejected: createRejectedTokens<SessionDecision>(),
    clock,
    log,
    onResult: instruments.verdict,
  });
  return {
    ...gate,
    checkSource: source.ping,
    isAtHome: (host, identity) => identity === undefined || tenantHosts.admits(host, identity.tenant),
    reload: (next) => {
      signer = createTokenSigner(next.sessionSecrets);
      tenantHosts = next.tenantHosts;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};
