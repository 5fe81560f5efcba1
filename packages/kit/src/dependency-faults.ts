import type { LabelsOfMetric } from '@muster/telemetry/metric-catalogue';
import { TimeoutError } from './clock.ts';

/** Reason of a failed dependency check, derived from its error. */
export type DependencyFault = LabelsOfMetric<'service_dependency_failures_total'>['reason'];

interface Rule {
  readonly reason: DependencyFault;
  /** SQLSTATE, the code of the operating system or of TLS, or that of an error of our own. */
  readonly code?: RegExp;
  /** Texts of stores and of the operating system; an error of our own carries a code. */
  readonly text?: RegExp;
}

/**
 * The first match decides. Specific texts come before `timeout`: a server that refuses the start-up parameter
 * `statement_timeout` has not timed out. PgBouncer sends most of its errors as 08P01, so codes do not suffice.
 */
const RULES: readonly Rule[] = [
  {
    reason: 'startup_parameter',
    text: /unsupported startup parameter|unrecognized configuration parameter/i,
  },
  {
    reason: 'auth',
    code: /^(28|INVALID_INTERNAL_API_KEY$)/,
    text: /WRONGPASS|NOAUTH|authentication|no pg_hba\.conf entry/i,
  },
  {
    reason: 'permission',
    code: /^42501$/,
    text: /NOPERM|permission denied|executing the script can't|ACL failure in script/i,
  },
  { reason: 'full', code: /^(53100|53200|ENOSPC)$/, text: /^(OOM|MISCONF)\b|no space left on device/i },
  {
    reason: 'wrong_database',
    code: /^3D000$/,
    text: /no such database|database "[^"]*" does not exist|DB index is out of range|invalid DB index/i,
  },
  {
    reason: 'too_many_connections',
    code: /^53300$/,
    text: /too many (clients|connections)|no more connections allowed|max number of clients|connection slots/i,
  },
  { reason: 'read_only', code: /^25006$/, text: /read.?only/i },
  { reason: 'schema', code: /^42P01$/ },
  {
    reason: 'tls',
    code: /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/,
    text: /certificate|does not support SSL/i,
  },
  { reason: 'unknown_host', code: /^(ENOTFOUND|EAI_AGAIN)$/, text: /getaddrinfo/ },
  {
    reason: 'refused',
    code: /^(ECONNREFUSED|57P0[123])$/,
    text: /ECONNREFUSED|isn't writeable|Connection is closed|server login has been failing|cannot connect to server/i,
  },
  { reason: 'timeout', code: /^(ETIMEDOUT|57014|55P03)$/, text: /time(d )?out/i },
];

/** Reason of an error, for `/health`, metrics and log; that of its cause if it has one. */
export const dependencyFaultOf = (error: unknown): DependencyFault => {
  if (error instanceof TimeoutError) return 'timeout';
  if (error instanceof Error && error.cause instanceof Error) return dependencyFaultOf(error.cause);
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const hasCode = typeof code === 'string' ? code : '';
  const text = typeof message === 'string' ? message : '';
  return RULES.find((rule) => rule.code?.test(hasCode) || rule.text?.test(text))?.reason ?? 'other';
};
