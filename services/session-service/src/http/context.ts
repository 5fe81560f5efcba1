import type { Clock } from '@muster/kit/clock';
import type { Random } from '@muster/kit/runtime';
import type { SessionPresence } from '@muster/session/session-presence';
import type { TicketStore } from '@muster/session/tickets';
import type { SessionId, TokenSigner } from '@muster/session/token';
import type { SessionServiceConfig } from '../config.ts';
import type { ApiKeys } from '../core/api-keys.ts';
import type { Authenticated } from '../core/authenticate.ts';
import type { BackchannelLogout } from '../core/backchannel-logout.ts';
import type { IpAnonymizer } from '../core/ip-anonymization.ts';
import type { ReuseDetector } from '../core/secret-reuse-detection.ts';
import type { SessionAdmin } from '../core/session-admin.ts';
import type { SessionChanges } from '../core/session-changes.ts';
import type { SessionService } from '../core/session-service.ts';
import type { DerivedKeys } from '../core/signing-keys.ts';
import type { IdTokenExchange } from '../core/token-exchange.ts';
import type { LegacyImport } from '../legacy-import.ts';
import type { ConnectionReport } from '../postgres/connection-report.ts';
import type { RateLimits } from './rate-limits.ts';

/** The dependencies of the routes. */
export interface HttpContext {
  readonly config: Pick<
    SessionServiceConfig,
    'cookie' | 'allowedOrigins' | 'serviceApiKeys' | 'internalApiKey' | 'guests' | 'tenantHosts'
  >;
  readonly clock: Clock;
  readonly random: Random;
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  readonly addresses: IpAnonymizer;
  readonly apiKeys: ApiKeys;
  readonly sessions: SessionService;
  readonly changes: SessionChanges;
  readonly admin: SessionAdmin;
  readonly reuse: ReuseDetector;
  /** Undefined unless LEGACY_EXPRESS_SESSION is set. */
  readonly legacy: LegacyImport | undefined;
  readonly authenticate: (token: string) => Promise<Authenticated>;
  /** Records that a session is in use. Without I/O. */
  readonly recordActivity: (session: { readonly id: SessionId; readonly idleSeconds: number }) => void;
  readonly presence: SessionPresence;
  readonly tickets: TicketStore;
  readonly limits: RateLimits;
  /** Undefined unless OIDC_ISSUERS is set. */
  readonly identity: IdentityContext | undefined;
  readonly connections: { report(): Promise<ConnectionReport> };
}

/** Token exchange and back-channel logout. */
export interface IdentityContext {
  readonly exchange: IdTokenExchange;
  readonly logout: BackchannelLogout;
}
