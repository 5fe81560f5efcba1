import { readFileSync } from 'node:fs';
import { ConfigError } from '@muster/kit/config';
import { RE2JS } from 're2js';
import { z } from 'zod';
import { DEFAULT_OPTIONS, type GroupOptions, type NamespaceTable } from '../core/namespaces.ts';
import { unknownOption } from './renamed-options.ts';

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Life of offset and epoch, in lives of publications. */
const META_TTL_FACTOR = 10;
/** Characters of `channel_regex`. */
const MAX_REGEX_LENGTH = 1_000;
const DURATION = /^(\d+)(ms|s|m|h|d)$/;

/** `300s`, `5m`, `720h`, or milliseconds as a number. */
const duration = z.union([
  z.number().int().min(0),
  z
    .string()
    .regex(DURATION, 'must be a duration such as 300s, or milliseconds')
    .transform((text) => {
      const [, count, unit = 'ms'] = DURATION.exec(text) ?? [];
      return Number(count) * (UNITS[unit] ?? 1);
    }),
]);

/** RE2: names of clients are matched in linear time, whatever the pattern. */
const regex = z
  .string()
  .max(MAX_REGEX_LENGTH)
  .transform((text, context) => {
    try {
      return RE2JS.compile(text);
    } catch (error) {
      context.addIssue(`must be a regular expression of RE2: ${(error as Error).message}`);
      return z.NEVER;
    }
  });

/** The options of a namespace as the file has them. Names are those of Centrifugo; docs/migrating-from-centrifugo.md compares them. */
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
  /** The name in Centrifugo. */
  force_recovery_mode: z.enum(['stream', 'cache', '']).optional(),
  /** Names with `#` are always for their users only. */
  allow_user_limited_channels: z
    .literal(true, 'must be true: `#` in a name always limits a group to users')
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
  name: z.string().regex(/^[-\w.]{1,64}$/, 'must be 1 to 64 of a-z, 0-9, _, - and .'),
});

/** Everything that a namespace of the file may have. */
export const OPTION_NAMES: readonly string[] = Object.keys(namespaceSchema.shape);

const fileSchema = z.strictObject({
  without_namespace: optionsSchema.default({}),
  namespaces: z
    .array(namespaceSchema)
    .default([])
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'a name is there twice'),
});

/** Reads the file named by GROUPS_FILE. Throws {@link ConfigError} that names everything wrong with it. */
export const readGroupsFile = (path: string): NamespaceTable => {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`GROUPS_FILE: ${path} cannot be read: ${(error as Error).message}`);
  }
  return parseGroups(content);
};

/** The table in the content of such a file. Throws {@link ConfigError}. */
export const parseGroups = (content: unknown): NamespaceTable => {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => {
      const where = issue.path.join('.') || 'file';
      return issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => `  - ${where}: ${unknownOption(key)}`)
        : [`  - ${where}: ${issue.message}`];
    });
    throw new ConfigError(`Bad groups file:\n${problems.join('\n')}`);
  }
  const { without_namespace, namespaces } = parsed.data;
  return {
    withoutNamespace: toOptions(without_namespace),
    namespaces: new Map(namespaces.map(({ name, ...options }) => [name, toOptions(options)])),
  };
};

type FileOptions = z.output<typeof optionsSchema>;

/**
 * What the file does not say is as in {@link DEFAULT_OPTIONS}, but for rights: those that a namespace does not state are
 * closed, unless it is `permissive`.
 */
const toOptions = (file: FileOptions): GroupOptions => {
  const base = DEFAULT_OPTIONS;
  return {
    presence: file.presence ?? base.presence,
    joinLeave: file.join_leave ?? base.joinLeave,
    forcePushJoinLeave: file.force_push_join_leave ?? base.forcePushJoinLeave,
    retention: retentionOf(file),
    keepWithoutSubscribers: file.keep_without_subscribers ?? base.keepWithoutSubscribers,
    forceRecovery: file.force_recovery ?? base.forceRecovery,
    allowRecovery: file.allow_recovery ?? base.allowRecovery,
    forcePositioning: file.force_positioning ?? base.forcePositioning,
    allowPositioning: file.allow_positioning ?? base.allowPositioning,
    recoveryMode: file.recovery_mode ?? (file.force_recovery_mode || base.recoveryMode),
    ...permissionsOf(file),
    allowTagsFilter: file.allow_tags_filter ?? base.allowTagsFilter,
    subscribeCallback: file.subscribe_callback ?? base.subscribeCallback,
    publishCallback: file.publish_callback ?? base.publishCallback,
    ...formsOf(file),
    nameRegex: file.channel_regex ?? base.nameRegex,
    ...pressureOf(file),
  };
};

/** In what form publications come and go. */
const formsOf = (file: FileOptions) => {
  const base = DEFAULT_OPTIONS;
  return {
    allowedDeltaTypes: file.allowed_delta_types ?? base.allowedDeltaTypes,
    deltaPublish: file.delta_publish ?? base.deltaPublish,
    publicationDataFormat: file.publication_data_format ?? base.publicationDataFormat,
    channelCompaction: file.channel_compaction ?? base.channelCompaction,
  };
};

const retentionOf = (file: FileOptions): GroupOptions['retention'] => {
  const base = DEFAULT_OPTIONS.retention ?? { size: 0, ttlMs: 0 };
  const size = file.history_size ?? base.size;
  const ttlMs = file.history_ttl ?? base.ttlMs;
  if (size === 0 || ttlMs === 0) return undefined;
  return { size, ttlMs, metaTtlMs: Math.max(file.history_meta_ttl ?? META_TTL_FACTOR * ttlMs, ttlMs) };
};

const pressureOf = (file: FileOptions): Pick<GroupOptions, 'maxMembers' | 'publishRate' | 'slowPolicy'> => ({
  maxMembers: file.max_members ?? DEFAULT_OPTIONS.maxMembers,
  publishRate: file.publish_rate ?? DEFAULT_OPTIONS.publishRate,
  slowPolicy: file.slow_policy ?? DEFAULT_OPTIONS.slowPolicy,
});

const permissionsOf = (file: FileOptions): Rights => {
  const base = file.permissive ? DEFAULT_OPTIONS : NOTHING_OPEN;
  return {
    allowSubscribeForClient: file.allow_subscribe_for_client ?? base.allowSubscribeForClient,
    allowSubscribeForAnonymous: file.allow_subscribe_for_anonymous ?? base.allowSubscribeForAnonymous,
    allowPublishForClient: file.allow_publish_for_client ?? base.allowPublishForClient,
    allowPublishForSubscriber: file.allow_publish_for_subscriber ?? base.allowPublishForSubscriber,
    allowPublishForAnonymous: file.allow_publish_for_anonymous ?? base.allowPublishForAnonymous,
    allowPresenceForClient: file.allow_presence_for_client ?? base.allowPresenceForClient,
    allowPresenceForSubscriber: file.allow_presence_for_subscriber ?? base.allowPresenceForSubscriber,
    allowPresenceForAnonymous: file.allow_presence_for_anonymous ?? base.allowPresenceForAnonymous,
    allowHistoryForClient: file.allow_history_for_client ?? base.allowHistoryForClient,
    allowHistoryForSubscriber: file.allow_history_for_subscriber ?? base.allowHistoryForSubscriber,
    allowHistoryForAnonymous: file.allow_history_for_anonymous ?? base.allowHistoryForAnonymous,
  };
};

type Rights = Pick<GroupOptions, Extract<keyof GroupOptions, `allow${string}For${string}`>>;

const NOTHING_OPEN: Rights = {
  allowSubscribeForClient: false,
  allowSubscribeForAnonymous: false,
  allowPublishForClient: false,
  allowPublishForSubscriber: false,
  allowPublishForAnonymous: false,
  allowPresenceForClient: false,
  allowPresenceForSubscriber: false,
  allowPresenceForAnonymous: false,
  allowHistoryForClient: false,
  allowHistoryForSubscriber: false,
  allowHistoryForAnonymous: false,
};

/** Whether any client may do anything in a group with these options, by the options alone. */
export const opensNothing = (options: GroupOptions): boolean =>
  !options.subscribeCallback &&
  !options.publishCallback &&
  Object.keys(NOTHING_OPEN).every((right) => !options[right as keyof Rights]);
