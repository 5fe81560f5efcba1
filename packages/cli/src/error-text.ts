import { MusterError } from '@muster/client/http';

/** Error of the SDK: of a command, or the reason why a connection or subscription ended. */
interface WireError {
  readonly code: number;
  readonly message: string;
}

const SHARED_SECRETS = 'check that gateways and session services have the same SESSION_SECRETS and Redis';

/** Remedies by error code (below 1000) and close code. */
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

/** Subject, cause, code and remedy of an error of a gateway or the SDK. */
export const describeWireError = (subject: string, { code, message }: WireError): string => {
  const remedy = REMEDIES[code] ?? 'see the log of the gateways';
  return `${subject}: ${message} [${code}]; ${remedy}`;
};

const isWireError = (error: unknown): error is WireError =>
  typeof error === 'object' &&
  error !== null &&
  'code' in error &&
  typeof error.code === 'number' &&
  'message' in error &&
  typeof error.message === 'string';

/** Message of any thrown value, with code and request id where it has them; the SDK rejects with plain objects. */
export const errorText = (error: unknown): string => {
  if (error instanceof MusterError && error.requestId !== undefined) {
    return `${error.message} [${error.status} ${error.reason}] (request ${error.requestId})`;
  }
  if (error instanceof Error) return error.message;
  return isWireError(error) ? `${error.message} [${error.code}]` : String(error);
};

/** Message and remedy for the user of a command. */
export const describeError = (error: unknown): string => {
  if (isWireError(error) && !(error instanceof Error)) return describeWireError('the gateway refused', error);
  if (!(error instanceof MusterError)) return errorText(error);
  const request = error.requestId === undefined ? '' : ` (request ${error.requestId})`;
  if (error.status === 0) return `${error.message}: ${networkCause(error)}`;
  if (error.status === 401) return `the API key was refused${request}: check --key or MUSTER_API_KEY`;
  const remedy = error.status === 503 ? ': try again; if it persists, see GET /health of the fleet' : '';
  return `${error.message} [${error.status} ${error.reason}]${request}${remedy}`;
};

/** Innermost cause of a network failure, with a remedy. */
const networkCause = (error: Error): string => {
  let cause: unknown = error.cause;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  const { code, name, message } = (cause ?? {}) as { code?: string; name?: string; message?: string };
  if (name === 'TimeoutError') return 'no answer in time; check that --url is the load balancer';
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return `this port speaks http: use http:// instead of https:// [${code}]`;
  }
  if (code !== undefined && /CERT|SSL|TLS|SIGNED|VERIFY/.test(code)) {
    return `${message} [${code}]; set NODE_EXTRA_CA_CERTS to a file with your certificate authority`;
  }
  return `${code ?? message ?? 'no connection'}; is the fleet running there?`;
};
