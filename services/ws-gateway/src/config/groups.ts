import { readFileSync } from 'node:fs';
import { ConfigError } from '@muster/kit/config';
import { RE2JS } from 're2js';
import { z } from 'zod';
import { DEFAULT_OPTIONS, type GroupOptions, type NamespaceTable } from '../core/namespaces.ts';

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Default of `history_meta_ttl`, as a multiple of `history_ttl`. */
const META_TTL_FACTOR = 10;
/** Longest `channel_regex`, in characters. */
const MAX_REGEX_LENGTH = 1_000;
const DURATION = /^(\d+)(ms|s|m|h|d)$/;

/** `300s`, `5m`, `720h`, or milliseconds as a number. */
const duration = z.union([
  z.number().int().min(0),
  z
    .string()
    .regex(DURATION, 'expected a duration such as 300s, or milliseconds')
    .transform((text) => {
      const [, count, unit = 'ms'] = DURATION.exec(text) ?? [];
      return Number(count) * (UNITS[unit] ?? 1);
    }),
]);

/** RE2: names that clients send are matched in linear time, for any pattern. */
const regex = z
  .string()
  .max(MAX_REGEX_LENGTH)
  .transform((text, context) => {
    try {
      return RE2JS.compile(text);
    } catch (error) {
      context.addIssue(`expected a regular expression in RE2 syntax: ${(error as Error).message}`);
      return z.NEVER;
    }
  });

/** Options of a namespace in the file. The names are Centrifugo's; docs/migrating-from-centrifugo.md compares them. */
const optionsSchema = z.strictObject({
  permissive: z.boolean().optional(),
  presence: z.boolean().optional(),
  join_leave: z.boolean().optional(),
  force_push_join_leave: z.boolean().optional(),
  history_size: z.number().int().min(0).max(100_000).optional(),
  history_ttl: duration.optional(),
  history_meta_ttl: duration.optional(),
  keep_without_subscribers: z.boolean().optional(),
  force_recovery: z.boolean().optional(),
  allow_recovery: z.boolean().optional(),
  force_positioning: z.boolean().optional(),
  allow_positioning: z.boolean().optional(),
  recovery_mode: z.enum(['stream', 'cache']).optional(),
  /** Centrifugo's name of `recovery_mode`. */
  force_recovery_mode: z.enum(['stream', 'cache', '']).optional(),
  /** A `#` in a name always limits the group to users. */
  allow_user_limited_channels: z
    .literal(true, 'expected true: `#` in a name always limits a group to users')
    .optional(),
  allow_subscribe_for_client: z.boolean().optional(),
  allow_subscribe_for_anonymous: z.boolean().optional(),
  allow_publish_for_client: z.boolean().optional(),
  allow_publish_for_subscriber: z.boolean().optional(),
  allow_publish_for_anonymous: z.boolean().optional(),
  allow_presence_for_client: z.boolean().optional(),
  allow_presence_for_subscriber: z.boolean().optional(),
  allow_presence_for_anonymous: z.boolean().optional(),
  allow_history_for_client: z.boolean().optional(),
  allow_history_for_subscriber: z.boolean().optional(),
  allow_history_for_anonymous: z.boolean().optional(),
  allow_tags_filter: z.boolean().optional(),
  subscribe_callback: z.boolean().optional(),
  publish_callback: z.boolean().optional(),
  allowed_delta_types: z.array(z.enum(['fossil'])).optional(),
  delta_publish: z.boolean().optional(),
  publication_data_format: z.enum(['any', 'json', 'json_object']).optional(),
  channel_compaction: z.enum(['json', 'all', 'none']).optional(),
  channel_regex: regex.optional(),
  max_members: z.number().int().min(0).optional(),
  publish_rate: z.number().int().min(0).max(1_000_000).optional(),
  slow_policy: z.enum(['disconnect', 'lag']).optional(),
});

const namespaceSchema = optionsSchema.extend({
  name: z.string().regex(/^[-\w.]{1,64}$/, 'expected 1 to 64 of a-z, A-Z, 0-9, _, - and .'),
});

export const OPTION_NAMES: readonly string[] = Object.keys(namespaceSchema.shape);

const fileSchema = z.strictObject({
  without_namespace: optionsSchema.default({}),
  namespaces: z
    .array(namespaceSchema)
    .default([])
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'expected unique names'),
});

/** Reads the file named by GROUPS_FILE. Throws a {@link ConfigError} that lists all problems. */
export const readGroupsFile = (path: string): NamespaceTable => {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`GROUPS_FILE: could not read ${path}: ${(error as Error).message}`);
  }
  return parseGroups(content);
};

/** Parses the content of a groups file. Throws {@link ConfigError}. */
export const parseGroups = (content: unknown): NamespaceTable => {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => {
      const where = issue.path.join('.') || 'file';
      return issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => `  - ${where}: ${unknownOption(key)}`)
        : [`  - ${where}: ${issue.message}`];
    });
    throw new ConfigError(`Invalid groups file:\n${problems.join('\n')}`);
  }
  const { without_namespace, namespaces } = parsed.data;
  return {
    withoutNamespace: toOptions(without_namespace),
    namespaces: new Map(namespaces.map(({ name, ...options }) => [name, toOptions(options)])),
  };
};

type FileOptions = z.output<typeof optionsSchema>;

/**
 * Options that the file omits have the values of {@link DEFAULT_OPTIONS}. Permissions that a namespace omits are denied, unless it
 * is `permissive`.
 */
const toOptions = (file: FileOptions): GroupOptions => {
  const { permissive, force_recovery_mode, channel_regex, ...options } = file;
  const { history_size, history_ttl, history_meta_ttl, allow_user_limited_channels, ...rest } = options;
  return {
    ...DEFAULT_OPTIONS,
    ...(permissive ? {} : NO_PERMISSIONS),
    ...(force_recovery_mode ? { recoveryMode: force_recovery_mode } : {}),
    ...inCamelCase(rest),
    retention: retentionOf(file),
    nameRegex: channel_regex ?? DEFAULT_OPTIONS.nameRegex,
  };
};

type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

const camelCase = (name: string): string => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** JSON has no undefined members, so an omitted option is absent. */
const inCamelCase = <T extends object>(options: T) =>
  Object.fromEntries(Object.entries(options).map(([name, value]) => [camelCase(name), value])) as {
    [K in keyof T as CamelCase<K & string>]?: Exclude<T[K], undefined>;
  };

const retentionOf = (file: FileOptions): GroupOptions['retention'] => {
  const defaults = DEFAULT_OPTIONS.retention ?? { size: 0, ttlMs: 0 };
  const size = file.history_size ?? defaults.size;
  const ttlMs = file.history_ttl ?? defaults.ttlMs;
  if (size === 0 || ttlMs === 0) return undefined;
  return { size, ttlMs, metaTtlMs: Math.max(file.history_meta_ttl ?? META_TTL_FACTOR * ttlMs, ttlMs) };
};

type Permissions = Pick<GroupOptions, Extract<keyof GroupOptions, `allow${string}For${string}`>>;

/** Every permission, denied. */
const NO_PERMISSIONS = Object.fromEntries(
  Object.keys(optionsSchema.shape)
    .filter((name) => /^allow_.*_for_/.test(name))
    .map((name) => [camelCase(name), false]),
) as unknown as Permissions;

/** True when these options alone permit no client anything. */
export const opensNothing = (options: GroupOptions): boolean =>
  !options.subscribeCallback &&
  !options.publishCallback &&
  Object.keys(NO_PERMISSIONS).every((permission) => !options[permission as keyof Permissions]);

/** Options of Centrifugo's namespaces that are renamed or not supported here, and the replacement. */
const REPLACEMENTS: Readonly<Record<string, string>> = {
  subscribe_proxy_enabled: 'use `subscribe_callback`, with CALLBACK_SUBSCRIBE_URL',
  subscribe_proxy_name: 'is not supported: all groups use CALLBACK_SUBSCRIBE_URL',
  publish_proxy_enabled: 'use `publish_callback`, with CALLBACK_PUBLISH_URL',
  publish_proxy_name: 'is not supported: all groups use CALLBACK_PUBLISH_URL',
  sub_refresh_proxy_enabled: 'is not supported: renew subscriptions by token (`sub_refresh`)',
  sub_refresh_proxy_name: 'is not supported: renew subscriptions by token (`sub_refresh`)',
  subscribe_stream_proxy_enabled: 'is not supported: publish by the server API',
  subscribe_stream_proxy_name: 'is not supported: publish by the server API',
  subscribe_stream_proxy_bidirectional: 'is not supported: publish by the server API',
  shared_poll: 'is not supported: publish by the server API',
};

/** Names of the options in {@link REPLACEMENTS}. */
export const RENAMED_OPTIONS: readonly string[] = Object.keys(REPLACEMENTS);

const GUIDE = 'see docs/migrating-from-centrifugo.md';

/** The problem text for an unknown key of a groups file. */
const unknownOption = (key: string): string => {
  if (key === 'channel') return `channel: move its content, \`without_namespace\` and \`namespaces\`, to the top level`;
  const replacement = REPLACEMENTS[key];
  return replacement === undefined ? `${key}: unknown option (${GUIDE})` : `${key}: ${replacement} (${GUIDE})`;
};
