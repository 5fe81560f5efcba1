/** What the SDK reports: an error of a command, or why a connection or subscription ended. */
interface WireError {
  readonly code: number;
  readonly message: string;
}

const SHARED_SECRETS = 'check that gateways and session services have the same SESSION_SECRETS and Redis';

/** What to do, by the codes of errors (below 1000) and of closes. */
const REMEDIES: Readonly<Record<number, string>> = {
  1: 'the gateway did not answer in time: check GET /health of the fleet',
  2: 'check that the load balancer routes /connection/websocket to the gateways and lets upgrades pass',
  100: 'check Redis, then the log of the gateways',
  101: SHARED_SECRETS,
  102: 'its namespace is not in GROUPS_FILE of the gateways: check the name',
  103: 'check the options of its namespace in GROUPS_FILE of the gateways',
  106: 'the gateway has a limit for this: see docs/operations/sizing.md',
  107: 'check the name of the group',
  108: 'its namespace keeps no history: set history_size and history_ttl in GROUPS_FILE',
  109: 'run the command again',
  111: 'wait a moment, then run the command again',
  3500: SHARED_SECRETS,
  3503: 'an operator or the application disconnected it: run the command again',
  3504: 'too many connections: see MAX_CONNECTIONS in docs/operations/sizing.md',
  4501: 'its session was ended or has expired: run the command again',
};

/** Thing, cause, code and remedy of what a gateway or the SDK reports. */
export const describeWireError = (thing: string, { code, message }: WireError): string => {
  const remedy = REMEDIES[code] ?? 'see the log of the gateways';
  return `${thing}: ${message} [${code}]; ${remedy}`;
};

const isWireError = (error: unknown): error is WireError =>
  typeof error === 'object' &&
  error !== null &&
  'code' in error &&
  typeof error.code === 'number' &&
  'message' in error &&
  typeof error.message === 'string';

/** The text of whatever was thrown; the SDK rejects with plain objects. */
export const textOf = (error: unknown): string => {
  if (error instanceof Error) return error.message;
  return isWireError(error) ? describeWireError('the gateway refused', error) : String(error);
};
