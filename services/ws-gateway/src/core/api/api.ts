import type { Bus } from '@muster/bus/bus';
import type { Presence } from '@muster/bus/presence';
import type { Appended } from '@muster/bus/streams';
import { REPLY_ERRORS, ReplyError } from '@muster/protocol/codes';
import { AppError } from '@muster/protocol/errors';
import type { GroupName } from '@muster/protocol/ids';
import { encodeReply } from '@muster/protocol/json-codec';
import type { AppCallbacks } from '../callbacks.ts';
import { takesPayload } from '../data-format.ts';
import { DELTA_NOTE } from '../delta-audience.ts';
import { readHistory } from '../handlers/history.ts';
import { presenceStats } from '../handlers/presence.ts';
import type { Hub } from '../hub.ts';
import type { Namespaces } from '../namespaces.ts';
import { fleetMethods } from './fleet-methods.ts';
import { ApiError, Params, requireOptions } from './params.ts';

export interface ApiDeps {
  readonly hub: Hub;
  readonly bus: Pick<Bus, 'read' | 'clear' | 'ask'>;
  readonly presence: Pick<Presence, 'read'>;
  readonly namespaces: Namespaces;
  readonly callbacks: Pick<AppCallbacks, 'has' | 'rpc'>;
}

/** JSON text of a result, or the code of an error. */
export type ApiOutcome =
  | { readonly ok: true; readonly json: string }
  /** `told`: the application's own words for a code of its own. */
  | ({ readonly ok: false } & ApiFault);

/** Why a call failed. */
export interface ApiFault {
  readonly code: number;
  readonly told?: string | undefined;
}

/** What back ends can do: publish, look, and order connections about. */
export interface ServerApi {
  /** `text` is the JSON text of `params`, so that payloads pass as they came. Never rejects. */
  call(method: string, params: unknown, text?: string): Promise<ApiOutcome>;
  /** Error texts by code, as the wire has them. */
  readonly methods: readonly string[];
}

/** A method: its checked parameters in, the JSON text of its result out. */
export type ApiMethod = (params: Params) => Promise<string>;

const MAX_BATCH = 1_000;
const PARALLEL_AT_ONCE = 100;
const MAX_BROADCAST = 10_000;

export const createServerApi = (deps: ApiDeps, onFault: (error: unknown) => void): ServerApi => {
  const methods = new Map<string, ApiMethod>([
    ...Object.entries(publishing(deps)),
    ...Object.entries(looking(deps)),
    ...Object.entries(fleetMethods(deps)),
    ['rpc', (params) => rpc(deps, params)],
  ]);

  const call = async (method: string, params: unknown, text?: string): Promise<ApiOutcome> => {
    const run = methods.get(method);
    if (run === undefined) return { ok: false, code: ReplyError.MethodNotFound };
    try {
      return { ok: true, json: await run(new Params(params, text)) };
    } catch (error) {
      if (error instanceof ApiError) return { ok: false, code: error.code, told: error.told };
      if (!(error instanceof AppError)) onFault(error);
      return { ok: false, code: ReplyError.Internal };
    }
  };
  methods.set('batch', (params) => batch(call, params));
  return { call, methods: [...methods.keys()] };
};

/** The application answers, as it answers clients. */
const rpc = async ({ callbacks }: ApiDeps, params: Params): Promise<string> => {
  const method = params.text('method');
  if (method === '') throw new ApiError(ReplyError.BadRequest);
  if (!callbacks.has('rpc')) throw new ApiError(ReplyError.MethodNotFound);
  const data = params.has('params') ? { data: params.payload('params') } : {};
  const answer = await callbacks.rpc(undefined, { method, ...data });
  if (answer.is === 'error') throw new ApiError(answer.code, answer.message);
  if (answer.is !== 'result') throw new ApiError(ReplyError.Internal);
  const { data: result, isBinary = false } = answer.result;
  return result === undefined ? '{}' : `{"${isBinary ? 'b64data' : 'data'}":${result}}`;
};

/** The error object of an answer. */
export const errorJson = ({ code, told }: ApiFault): string =>
  JSON.stringify({ code, message: told ?? REPLY_ERRORS[code as ReplyError].message });

const publishing = (deps: ApiDeps): Record<string, ApiMethod> => {
  const publishTo = async (group: GroupName, params: Params): Promise<string> => {
    const options = requireOptions(deps, group);
    const data = params.payload('data');
    if (!takesPayload(options, data, false)) throw new ApiError(ReplyError.BadRequest);
    const tags = params.tags('tags');
    const exclude = params.object('exclude');
    const key = params.text('idempotency_key');
    const version = params.integer('version');
    const appended = await deps.hub.publish({
      name: group,
      publication: { data, ...(tags === undefined ? {} : { tags }) },
      retention: params.flag('skip_history') ? undefined : options.retention,
      notes: [...notesOf(exclude), ...(params.flag('delta') ? [DELTA_NOTE] : [])],
      ...(key === '' ? {} : { idempotencyKey: key }),
      ...(version === 0 ? {} : { version: { number: version, epoch: params.text('version_epoch') } }),
    });
    return publishResult(appended);
  };
  return {
    publish: (params) => publishTo(params.group(), params),
    broadcast: async (params) => {
      const channels = params.texts('channels');
      if (channels.length === 0 || channels.length > MAX_BROADCAST) throw new ApiError(ReplyError.BadRequest);
      params.payload('data');
      const responses = await Promise.all(
        channels.map((channel) => {
          const publish = async () => publishTo(new Params({ channel }).group(), params);
          return publish().then(
            (result) => `{"result":${result}}`,
            (error: unknown) => `{"error":${errorJson({ code: codeOf(error) })}}`,
          );
        }),
      );
      return `{"responses":[${responses.join(',')}]}`;
    },
  };
};

const codeOf = (error: unknown): number => (error instanceof ApiError ? error.code : ReplyError.Internal);

const publishResult = (appended: Appended | undefined): string => {
  if (appended === undefined || appended.outcome === 'outdated') return '{}';
  return JSON.stringify({ offset: appended.offset, epoch: appended.epoch });
};

/** Who is left out of a publication, as gateways read it. Ids hold no spaces. */
const notesOf = (exclude: Params | undefined): string[] => {
  if (exclude === undefined) return [];
  const parts = (['client', 'session'] as const).flatMap((name) => {
    const id = exclude.text(name);
    if (/[^\w-]/.test(id)) throw new ApiError(ReplyError.BadRequest);
    return id === '' ? [] : [`not-${name}=${id}`];
  });
  return parts;
};

const looking = (deps: ApiDeps): Record<string, ApiMethod> => {
  const present = async (params: Params): Promise<ReadonlyMap<string, string>> => {
    const group = params.group();
    if (!requireOptions(deps, group).presence) throw new ApiError(ReplyError.NotAvailable);
    return deps.presence.read(group);
  };
  const kept = (params: Params) => {
    const group = params.group();
    const { retention } = requireOptions(deps, group);
    if (retention === undefined) throw new ApiError(ReplyError.NotAvailable);
    return { group, retention };
  };
  return {
    presence: async (params) =>
      resultIn(encodeReply({ id: 0, is: 'presence', result: await present(params) })),
    presence_stats: async (params) =>
      resultIn(encodeReply({ id: 0, is: 'presence_stats', result: presenceStats(await present(params)) })),
    history: async (params) => {
      const place = kept(params);
      const since = params.object('since');
      const position = since && { offset: since.integer('offset'), epoch: since.text('epoch') };
      const reverse = params.flag('reverse');
      if (reverse && position?.offset === 0) throw new ApiError(ReplyError.BadRequest);
      const query = {
        limit: params.integer('limit'),
        reverse,
        ...(position === undefined ? {} : { since: position }),
      };
      const result = await readHistory(deps.bus, place, query, place.retention.size);
      if (typeof result === 'number') throw new ApiError(result);
      return resultIn(encodeReply({ id: 0, is: 'history', result }));
    },
    history_remove: async (params) => {
      await deps.bus.clear(kept(params).group);
      return '{}';
    },
  };
};

/** `{"presence":{…}}` → `{…}`: results here are those of the client protocol. */
const resultIn = (reply: string): string => reply.slice(reply.indexOf(':') + 1, -1);

type Call = ServerApi['call'];

/** Several calls in one: in order, or with `parallel` many at once. Each has its own outcome. */
const batch = async (call: Call, params: Params): Promise<string> => {
  const commands = params.list('commands');
  if (commands.length > MAX_BATCH) throw new ApiError(ReplyError.LimitExceeded);
  const width = params.flag('parallel') ? PARALLEL_AT_ONCE : 1;
  const replies: string[] = [];
  for (let from = 0; from < commands.length; from += width) {
    const slice = commands.slice(from, from + width);
    replies.push(...(await Promise.all(slice.map((command) => oneOfBatch(call, command)))));
  }
  return `{"replies":[${replies.join(',')}]}`;
};

const oneOfBatch = async (call: Call, command: unknown): Promise<string> => {
  const [entry] = Object.entries(typeof command === 'object' && command !== null ? command : {});
  if (entry === undefined) return `{"error":${errorJson({ code: ReplyError.BadRequest })}}`;
  const [method, params] = entry;
  if (method === 'batch') return `{"error":${errorJson({ code: ReplyError.BadRequest })}}`;
  const outcome = await call(method, params);
  return outcome.ok ? `{${JSON.stringify(method)}:${outcome.json}}` : `{"error":${errorJson(outcome)}}`;
};
