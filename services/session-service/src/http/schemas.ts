import { GROUP_ACTIONS } from '@muster/session/grants';
import { z } from 'zod';
import { isIp } from '../core/ip-address.ts';
import { POLICY_NAMES } from '../core/session-policies.ts';
import { MAX_USER_AGENT } from '../core/user-agent.ts';

/** Largest `data` of a session, in bytes of JSON. */
export const MAX_DATA_BYTES = 16_384;
const MAX_DATA_KEYS = 10_000;
const MAX_GRANTS = 32;
const FUTURE_SKEW_MS = 60_000;
const SESSION_ID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$/;

/** Text of 1 to `max` characters. */
export const text = (max: number) => z.string().min(1).max(max);
/** A user id. Not `.` or `..`: clients remove dot segments from paths. */
export const userId = text(255).refine((id) => id !== '.' && id !== '..', 'A user id cannot be a dot segment');
/** The name of a tenant. */
export const tenant = z.string().regex(/^[\w.-]{1,64}$/);
/** The reason of a change, for the audit log. */
export const reasonSchema = text(500).regex(/\S/, 'A reason cannot be blank');
export const label = z.string().trim().min(1).max(100);

/** A session id in either case (RFC 9562); the output is lower case. */
export const sessionIdSchema = z
  .stringFormat('uuid', SESSION_ID)
  .toLowerCase()
  .meta({ format: 'uuid', pattern: SESSION_ID.source });

/** JSON of the application, or a merge patch of it. Numbers that JavaScript cannot represent exactly are refused. */
export const dataSchema = z.record(z.string(), z.unknown()).superRefine((data, context) => {
  const keys = checkValue(data, [], context.addIssue.bind(context));
  if (keys > MAX_DATA_KEYS) context.addIssue(`Data may have at most ${MAX_DATA_KEYS} keys`);
  if (Buffer.byteLength(JSON.stringify(data)) > MAX_DATA_BYTES) {
    context.addIssue(`Data may have at most ${MAX_DATA_BYTES} bytes`);
  }
});

type Report = (issue: { code: 'custom'; message: string; path: (string | number)[] }) => void;

/** Counts the keys and reports every number that cannot be represented exactly. */
const checkValue = (value: unknown, path: (string | number)[], report: Report): number => {
  if (typeof value === 'number') {
    const isExact =
      Number.isFinite(value) && !Object.is(value, -0) && (!Number.isInteger(value) || Number.isSafeInteger(value));
    if (!isExact) report({ code: 'custom', message: 'Number cannot be represented exactly; send it as text', path });
    return 0;
  }
  if (Array.isArray(value)) {
    return value.reduce<number>((sum, item, index) => sum + checkValue(item, [...path, index], report), 0);
  }
  if (typeof value !== 'object' || value === null) return 0;
  return Object.entries(value).reduce((sum, [key, member]) => sum + 1 + checkValue(member, [...path, key], report), 0);
};

const grantsSchema = z
  .array(
    z.strictObject({
      groups: text(255),
      allow: z.array(z.enum(GROUP_ACTIONS)).min(1).max(GROUP_ACTIONS.length),
    }),
  )
  .max(MAX_GRANTS);

export const transport = z.enum(['cookie', 'bearer']);

const pastInstant = z.iso
  .datetime({ offset: true })
  .transform((iso) => Date.parse(iso))
  .refine((ms) => ms <= Date.now() + FUTURE_SKEW_MS, 'The time of authentication is in the future');

const authSchema = z.strictObject({
  time: pastInstant.optional(),
  aal: z.int().min(0).max(3).default(1),
  amr: z.array(text(32)).max(16).default([]),
  idp: text(255).optional(),
  idp_sid: text(255).optional(),
  idp_sub: text(255).optional(),
});

/** The kind of a client, such as `web`. */
export const clientKind = z
  .string()
  .regex(/^[\w-]{1,32}$/)
  .default('web');
export const ipAddress = z.string().refine(isIp, 'Input should be an IP address');

/** Body of `POST /v1/sessions`. */
export const createSessionBody = z.strictObject({
  user_id: userId.optional(),
  tenant: tenant.optional(),
  policy: z.enum(POLICY_NAMES).optional(),
  remember: z.boolean().default(true),
  transport: transport.default('bearer'),
  label: label.optional(),
  client: z
    .strictObject({
      kind: clientKind,
      summary: text(120).optional(),
      device_id: text(128).optional(),
    })
    .prefault({}),
  ip: ipAddress.optional(),
  user_agent: text(MAX_USER_AGENT).optional(),
  country: z
    .string()
    .regex(/^[A-Z]{2}$/)
    .optional(),
  auth: authSchema.prefault({}),
  actor: z.strictObject({ id: text(255), reason: reasonSchema.optional() }).optional(),
  data: dataSchema.default({}),
  grants: grantsSchema.default([]),
});
export type CreateSessionBody = z.output<typeof createSessionBody>;

const patchable = { label: label.nullable().optional(), data: dataSchema.optional() };

/** Body of `PATCH /v1/session`. */
export const patchOwnBody = z.strictObject(patchable);

/** Body of `PATCH /v1/me/sessions/{id}`. */
export const patchLabelBody = z.strictObject({ label: label.nullable() });

/** Body of `PATCH /v1/sessions/{id}`. */
export const patchSessionBody = z.strictObject({
  ...patchable,
  grants: grantsSchema.optional(),
  reason: reasonSchema.optional(),
});

/** Body of `POST /v1/sessions/{id}/step-up`. */
export const stepUpBody = z.strictObject({
  aal: z.int().min(1).max(3),
  amr: z.array(text(32)).max(16).default([]),
  auth_time: pastInstant.optional(),
});

/** Body of `POST /v1/sessions/{id}/upgrade`. */
export const upgradeBody = z.strictObject({
  user_id: userId,
  remember: z.boolean().default(true),
  auth: authSchema.prefault({}),
});

/** Body of `POST /v1/guest-sessions`. */
export const guestSessionBody = z
  .strictObject({
    transport: transport.default('cookie'),
    label: label.optional(),
    data: dataSchema.default({}),
  })
  .prefault({});

/** Query of session lists. */
export const listQuery = z.strictObject({
  limit: z.coerce.number().pipe(z.int().min(1).max(100)).default(20),
  cursor: text(512).optional(),
  state: z.enum(['live', 'ended', 'all']).default('live'),
});

const nullable = <T extends z.ZodType>(type: T) => type.nullable();
const instant = z.iso.datetime();

/** The session object of every response. */
export const sessionSchema = z.object({
  id: z.uuid(),
  tenant: z.string(),
  user_id: nullable(z.string()),
  kind: z.enum(['user', 'guest', 'service']),
  current: z.boolean(),
  online: nullable(z.boolean()).describe('True if a socket is open; null when unknown'),
  sockets: nullable(z.int()).describe('Open sockets in the whole fleet; null when unknown'),
  label: nullable(z.string()),
  client: z.object({
    kind: z.string(),
    summary: nullable(z.string()),
    user_agent: nullable(z.string()),
    device_id: nullable(z.string()),
  }),
  ip: nullable(z.string()),
  last_ip: nullable(z.string()),
  country: nullable(z.string()),
  auth: z.object({
    time: nullable(instant),
    aal: z.int(),
    amr: z.array(z.string()),
    idp: nullable(z.string()),
  }),
  actor: nullable(z.object({ id: z.string(), reason: nullable(z.string()) })),
  created_at: instant,
  last_seen_at: instant,
  idle_expires_at: nullable(instant),
  expires_at: instant,
  ended_at: nullable(instant),
  end_reason: nullable(z.string()),
  data: z.record(z.string(), z.unknown()).optional(),
  grants: z.array(z.object({ groups: z.string(), allow: z.array(z.enum(GROUP_ACTIONS)) })),
  rev: z.int(),
});

/** A session with its new token, if the client stores the token itself. */
export const sessionCreatedSchema = sessionSchema.extend({ token: z.string().optional() });

export const pageSchema = z.object({ items: z.array(sessionSchema), next: nullable(z.string()) });

/** `pending` until Redis and the bus have the change. */
export const propagationSchema = z.enum(['done', 'pending']);
/** An end that is not propagated yet. */
export const pendingSchema = z.object({ propagation: z.literal('pending') });
/** The number of sessions that ended. */
export const endedSchema = z.object({ ended: z.int(), propagation: propagationSchema });
