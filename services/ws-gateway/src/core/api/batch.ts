import { ReplyError } from '@muster/protocol/codes';
import { ApiError, errorJson } from './api-errors.ts';
import type { ApiCall, ApiCallOptions, Params } from './params.ts';
import { MAX_BROADCAST } from './publishing.ts';
import { READING_METHODS } from './response-budget.ts';

const MAX_BATCH = 1_000;
const PARALLEL_AT_ONCE = 100;
/** Parallel calls of reading methods, whose results may be large. */
const PARALLEL_READS = 4;

/** Performs several calls, in order or in parallel. Each has its own result. */
export const batch = async (call: ApiCall, params: Params, tenant: string | undefined): Promise<string> => {
  if (!params.has('commands')) throw params.missing('commands');
  const commands = params.list('commands');
  if (commands.length > MAX_BATCH) {
    throw new ApiError(ReplyError.LimitExceeded, `\`commands\` has more than ${MAX_BATCH} calls`);
  }
  if (broadcastGroups(commands) > MAX_BROADCAST) {
    throw new ApiError(
      ReplyError.LimitExceeded,
      `the broadcasts of a batch have more than ${MAX_BROADCAST} groups together`,
    );
  }
  const by = { tenant };
  const replies = new Array<string>(commands.length);
  const perform = async (index: number): Promise<void> => {
    replies[index] = await oneOfBatch(call, commands[index], by);
  };
  const all = [...commands.keys()];
  if (!params.flag('parallel')) await inSlices(all, 1, perform);
  else {
    const isReading = (index: number): boolean => READING_METHODS.has(methodOf(commands[index]) ?? '');
    await Promise.all([
      inSlices(all.filter(isReading), PARALLEL_READS, perform),
      inSlices(
        all.filter((index) => !isReading(index)),
        PARALLEL_AT_ONCE,
        perform,
      ),
    ]);
  }
  return `{"replies":[${replies.join(',')}]}`;
};

const inSlices = async (
  indexes: readonly number[],
  width: number,
  perform: (index: number) => Promise<void>,
): Promise<void> => {
  for (let from = 0; from < indexes.length; from += width) {
    await Promise.all(indexes.slice(from, from + width).map(perform));
  }
};

/** The method of a command; undefined for an invalid one. */
const methodOf = (command: unknown): string | undefined =>
  Object.keys(typeof command === 'object' && command !== null ? command : {})[0];

/** Number of groups of all broadcasts in a batch. */
const broadcastGroups = (commands: readonly unknown[]): number =>
  commands.reduce<number>((sum, command) => {
    const channels = (command as { broadcast?: { channels?: unknown } } | null)?.broadcast?.channels;
    return sum + (Array.isArray(channels) ? channels.length : 0);
  }, 0);

const rejected = (reason: string): string => `{"error":${errorJson({ code: ReplyError.BadRequest, reason })}}`;

const oneOfBatch = async (call: ApiCall, command: unknown, by: ApiCallOptions): Promise<string> => {
  const [entry] = Object.entries(typeof command === 'object' && command !== null ? command : {});
  if (entry === undefined) return rejected('a command must be an object such as {"publish":{…}}');
  const [method, params] = entry;
  if (method === 'batch') return rejected('a batch cannot contain a batch');
  const outcome = await call(method, params, by);
  return outcome.ok ? `{${JSON.stringify(method)}:${outcome.json}}` : `{"error":${errorJson(outcome)}}`;
};
