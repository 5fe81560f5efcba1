import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { commonHeaders, createRefuser, createRequestMeter, readRequestId } from '@muster/http/app';
import { createAddressReader } from '@muster/http/client-address';
import type { RouteReply } from '@muster/http/route';
import { isReservedName } from '@muster/http/validation';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { readBearer } from '@muster/session/credential';
import { GROUP_ACTIONS, type SessionGrant } from '@muster/session/grants';
import type { KeyHolder } from '../core/api-keys.ts';
import { isIp } from '../core/ip-address.ts';
import { POLICIES, type PolicyName } from '../core/session-policies.ts';
import { MAX_USER_AGENT } from '../core/user-agent.ts';
import type { HttpContext } from './context.ts';
import type { CreateSessionBody } from './schemas.ts';
import { CREATE_SESSION_PATH, CREATE_SESSION_SCOPE, openSession } from './service-routes.ts';

/**
 * `POST /v1/sessions` before Express. A login is the most expensive request of the service, and logins come in waves;
 * Express, its body parser and zod were a third of its CPU time (`npm run bench -- sessions --workload create`). Nothing
 * else bypasses them.
 *
 * This file only recognises the usual login: a key that needs no look-up, a JSON body that arrived with the headers, and
 * members in their usual form. Everything else, and with it every refusal of a key, a header or a body, goes to Express
 * unread: a missing case costs time, never a different answer. `tests/session/create-session-fast-path.test.ts` sends one
 * table of requests both ways and compares the answers.
 */
interface FastPathDeps {
  readonly context: HttpContext;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly trustedProxies: readonly string[];
  /** The Express app. */
  readonly otherwise: RequestListener;
}

/** JSON of a number can be four times as long in canonical form (`1e15`), so `data` stays below its limit of 16 KiB. */
const MAX_BODY_BYTES = 4_096;
const JSON_TYPES: ReadonlySet<string | undefined> = new Set([
  'application/json',
  'application/json; charset=utf-8',
  'application/json;charset=utf-8',
]);

export const createSessionFastPath = (deps: FastPathDeps): RequestListener => {
  const { context, otherwise } = deps;
  const answer = createAnswer(deps);
  return (req, res) => {
    const length = req.method === 'POST' && req.url === CREATE_SESSION_PATH ? bodyLengthOf(req) : 0;
    if (length === 0) return otherwise(req, res);
    const holder = context.apiKeys.holderInMemory(readBearer(req.headers.authorization) ?? '');
    if (holder === undefined || !holder.scopes.includes(CREATE_SESSION_SCOPE)) return otherwise(req, res);
    // Node parses a body that arrived with the headers before the next tick.
    process.nextTick(() => {
      const body = readBody(req, length);
      if (body === undefined) otherwise(req, res);
      else void answer(req, res, { holder, body });
    });
  };
};

/** A login with the key and the body that were recognised. */
interface UsualLogin {
  readonly holder: KeyHolder;
  readonly body: CreateSessionBody;
}

const createAnswer = ({ context, log, metrics, trustedProxies }: FastPathDeps) => {
  const addressOf = createAddressReader(trustedProxies);
  const meter = createRequestMeter(metrics);
  const refuse = createRefuser(log, metrics);
  /** Never rejects. */
  return async (req: IncomingMessage, res: ServerResponse, { holder, body }: UsualLogin): Promise<void> => {
    meter(req, res, () => CREATE_SESSION_PATH);
    const requestId = readRequestId(req.headers);
    for (const [name, value] of Object.entries(commonHeaders(requestId))) res.setHeader(name, value);
    try {
      context.limits.caller('key', holder.id, res);
      const ip = addressOf({ remote: req.socket.remoteAddress, forwardedFor: req.headers['x-forwarded-for'] });
      const actor = { name: `key:${holder.id}`, ip: context.addresses.anonymize(ip), requestId };
      const { scopes, tenant, groups } = holder;
      write(res, await openSession(context, { actor, scopes, tenant, groups }, body, req));
    } catch (error) {
      const problem = refuse(error, { requestId, method: req.method, path: CREATE_SESSION_PATH });
      res.writeHead(problem.status, { ...problem.headers }).end(problem.body);
    }
  };
};

/** The length of a body that this file reads, else 0. */
const bodyLengthOf = ({ headers }: IncomingMessage): number => {
  const length = Number(headers['content-length']);
  const isReadable =
    length <= MAX_BODY_BYTES &&
    headers['transfer-encoding'] === undefined &&
    headers['content-encoding'] === undefined &&
    JSON_TYPES.has(headers['content-type']);
  return isReadable ? length : 0;
};

/** The body in its usual form; undefined leaves the request as if it were unread. */
const readBody = (req: IncomingMessage, length: number): CreateSessionBody | undefined => {
  const bytes: Buffer | null = req.readableLength === length ? req.read(length) : null;
  if (bytes === null) return undefined;
  const body = isUtf8(bytes) ? usualBody(parsed(bytes.toString())) : undefined;
  if (body === undefined) req.unshift(bytes);
  return body;
};

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** As `res.json` of Express writes it. */
const write = (res: ServerResponse, { status, headers = {}, body }: RouteReply): void => {
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
  const text = JSON.stringify(body);
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  res.setHeader('Content-Length', Buffer.byteLength(text));
  res.statusCode = status;
  res.end(text);
};

/** Checks of one member: its output, or NOT_USUAL. The order of members in the output is that of `createSessionBody`. */
const NOT_USUAL = Symbol('not usual');
type Checked<T> = T | typeof NOT_USUAL;
type Fields = Readonly<Record<string, unknown>>;

const MEMBERS = new Set([
  ...['user_id', 'tenant', 'policy', 'remember', 'transport', 'label', 'client', 'ip', 'user_agent', 'country'],
  ...['auth', 'data', 'grants'],
]);
const CLIENT_MEMBERS = new Set(['kind', 'summary', 'device_id']);
const AUTH_MEMBERS = new Set(['aal', 'amr', 'idp', 'idp_sid', 'idp_sub']);
const GRANT_MEMBERS = new Set(['groups', 'allow']);
const TENANT = /^[\w.-]{1,64}$/;
const CLIENT_KIND = /^[\w-]{1,32}$/;
const COUNTRY = /^[A-Z]{2}$/;
const MAX_DEPTH = 20;

/**
 * The output of `createSessionBody` for a body in its usual form; undefined for every other body, valid or not. Sessions
 * with an actor and times of authentication are left to zod.
 */
export const usualBody = (body: unknown): CreateSessionBody | undefined => {
  if (!isRecordOf(body, MEMBERS)) return undefined;
  const output = {
    user_id: optional(body['user_id'], (id) => (id === '.' || id === '..' ? NOT_USUAL : textOf(id, 255))),
    tenant: optional(body['tenant'], (tenant) => matching(tenant, TENANT)),
    policy: optional(body['policy'], policyOf),
    remember: withDefault(body['remember'], true, (value) => (typeof value === 'boolean' ? value : NOT_USUAL)),
    transport: withDefault(body['transport'], 'bearer' as const, (value) =>
      value === 'bearer' || value === 'cookie' ? value : NOT_USUAL,
    ),
    label: optional(body['label'], labelOf),
    client: clientOf(body['client'] ?? {}),
    ip: optional(body['ip'], (ip) => (typeof ip === 'string' && isIp(ip) ? ip : NOT_USUAL)),
    user_agent: optional(body['user_agent'], (text) => textOf(text, MAX_USER_AGENT)),
    country: optional(body['country'], (country) => matching(country, COUNTRY)),
    auth: authOf(body['auth'] ?? {}),
    data: withDefault(body['data'], {}, (data) => (isObject(data) && isUsualJson(data, 0) ? data : NOT_USUAL)),
    grants: withDefault(body['grants'], [], (grants) => listOf(grants, 32, grantOf)),
  };
  if (body['client'] === null || body['auth'] === null || Object.values(output).includes(NOT_USUAL)) return undefined;
  return output as CreateSessionBody;
};

const optional = <T>(value: unknown, check: (value: unknown) => Checked<T>): Checked<T> | undefined =>
  value === undefined ? undefined : check(value);

const withDefault = <T>(value: unknown, otherwise: T, check: (value: unknown) => Checked<T>): Checked<T> =>
  value === undefined ? otherwise : check(value);

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isRecordOf = (value: unknown, members: ReadonlySet<string>): value is Fields =>
  isObject(value) && Object.keys(value).every((name) => members.has(name));

const isStorable = (text: string): boolean => text.isWellFormed() && !text.includes('\0');

const textOf = (value: unknown, max: number): Checked<string> =>
  typeof value === 'string' && value.length >= 1 && value.length <= max && isStorable(value) ? value : NOT_USUAL;

const labelOf = (value: unknown): Checked<string> =>
  typeof value === 'string' && value === value.trim() ? textOf(value, 100) : NOT_USUAL;

const matching = (value: unknown, pattern: RegExp): Checked<string> =>
  typeof value === 'string' && pattern.test(value) ? value : NOT_USUAL;

const policyOf = (value: unknown): Checked<PolicyName> =>
  typeof value === 'string' && value !== 'impersonation' && Object.hasOwn(POLICIES, value)
    ? (value as PolicyName)
    : NOT_USUAL;

const listOf = <T>(value: unknown, max: number, check: (item: unknown) => Checked<T>): Checked<T[]> => {
  if (!Array.isArray(value) || value.length > max) return NOT_USUAL;
  const checked = value.map(check);
  return checked.includes(NOT_USUAL) ? NOT_USUAL : (checked as T[]);
};

/** An object without the members that are undefined, as zod leaves them out. */
const compact = <T extends object>(output: T): Checked<T> => {
  for (const [name, value] of Object.entries(output)) {
    if (value === NOT_USUAL) return NOT_USUAL;
    if (value === undefined) delete (output as Record<string, unknown>)[name];
  }
  return output;
};

const clientOf = (value: unknown): unknown =>
  isRecordOf(value, CLIENT_MEMBERS)
    ? compact({
        kind: withDefault(value['kind'], 'web', (kind) => matching(kind, CLIENT_KIND)),
        summary: optional(value['summary'], (text) => textOf(text, 120)),
        device_id: optional(value['device_id'], (text) => textOf(text, 128)),
      })
    : NOT_USUAL;

const authOf = (value: unknown): unknown =>
  isRecordOf(value, AUTH_MEMBERS)
    ? compact({
        aal: withDefault(value['aal'], 1, (aal) => (aal === 1 || aal === 2 || aal === 3 ? aal : NOT_USUAL)),
        amr: withDefault(value['amr'], [], (amr) => listOf(amr, 16, (text) => textOf(text, 32))),
        idp: optional(value['idp'], (text) => textOf(text, 255)),
        idp_sid: optional(value['idp_sid'], (text) => textOf(text, 255)),
        idp_sub: optional(value['idp_sub'], (text) => textOf(text, 255)),
      })
    : NOT_USUAL;

const ACTIONS: ReadonlySet<unknown> = new Set(GROUP_ACTIONS);

const grantOf = (value: unknown): Checked<SessionGrant> => {
  if (!isRecordOf(value, GRANT_MEMBERS)) return NOT_USUAL;
  const groups = textOf(value['groups'], 255);
  const allow = listOf(value['allow'], GROUP_ACTIONS.length, (action) =>
    ACTIONS.has(action) ? (action as SessionGrant['allow'][number]) : NOT_USUAL,
  );
  return groups === NOT_USUAL || allow === NOT_USUAL || allow.length === 0 ? NOT_USUAL : { groups, allow };
};

/** True for JSON that every store keeps exactly. */
const isUsualJson = (value: unknown, depth: number): boolean => {
  if (depth > MAX_DEPTH) return false;
  if (typeof value === 'string') return isStorable(value);
  if (typeof value === 'number') return isExact(value);
  if (Array.isArray(value)) return value.every((item) => isUsualJson(item, depth + 1));
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(
    ([name, member]) => isStorable(name) && !isReservedName(name) && isUsualJson(member, depth + 1),
  );
};

const isExact = (value: number): boolean =>
  Number.isFinite(value) && !Object.is(value, -0) && (!Number.isInteger(value) || Number.isSafeInteger(value));
