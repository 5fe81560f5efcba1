import type { Bus } from '@muster/bus/bus';
import { groupKeyOf } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import { ReplyError } from '@muster/protocol/codes';
import { encodeReply } from '@muster/protocol/json-codec';
import type { AppCallbacks } from '../callbacks.ts';
import type { Hub } from '../group/hub.ts';
import { readHistory } from '../handlers/history.ts';
import { presenceStats } from '../handlers/presence.ts';
import type { Namespaces } from '../namespaces.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import { type ApiFault, faultOf } from './api-errors.ts';
import { batch } from './batch.ts';
import type { ControlCommand } from './control-commands.ts';
import { fleetMethods } from './fleet-methods.ts';
import { ApiError, EVERY_TENANT, notAvailable, Params, requireOptions } from './params.ts';
import { publishingMethods } from './publishing.ts';
import { createResponseBudget, type ResponseBudget } from './response-budget.ts';

export interface ApiDeps {
  readonly hub: Hub;
  readonly bus: Pick<Bus, 'read' | 'clear' | 'ask'>;
  readonly presence: Pick<Presence, 'read'>;
  readonly limits: Pick<ConnectionLimits, 'maxPresenceClients' | 'maxBatchAnswerBytes'>;
  readonly namespaces: Namespaces;
  readonly callbacks: Pick<AppCallbacks, 'has' | 'rpc'>;
  readonly metrics: Pick<EngineMetrics, 'refused' | 'rateLimited'>;
  /** Bytes of data for clients. */
  readonly maxDataBytes: number;
}

/** JSON text of a result, or the code of an error. */
export type ApiOutcome =
  | { readonly ok: true; readonly json: string }
  /** `told`: the application's own words for a code of its own. */
  | ({ readonly ok: false } & ApiFault);

/** Hears of the outcome of each call, of those in a batch one by one. */
export type ApiObserver = (method: string, outcome: ApiOutcome) => void;

export interface CallOptions {
  /** The JSON text of the parameters, so that payloads pass as they came. */
  readonly text?: string | undefined;
  /** The only tenant that the caller's key is good for; undefined: any. */
  readonly tenant?: string | undefined;
  readonly observe?: ApiObserver | undefined;
  /** Shared by the calls of one request. */
  readonly budget?: ResponseBudget | undefined;
}

/** What back ends can do: publish, look, and order connections about. */
export interface ServerApi {
  /** Never rejects. */
  call(method: string, params: unknown, by?: CallOptions): Promise<ApiOutcome>;
  /** For a request of several calls. */
  newBudget(): ResponseBudget;
  /** Error texts by code, as the wire has them. */
  readonly methods: readonly string[];
}

/**
 * A method: its checked parameters and the tenant that it is about in, the JSON text of its result out. `reach` is the
 * tenant that the key or the call names, else `*`: what the caller may reach by an id, which is unique in all tenants.
 */
export type ApiMethod = (params: Params, tenant: string, reach: string) => Promise<string>;

/** Methods that can answer for all tenants at once. */
const OVER_TENANTS = new Set(['channels', 'connections', 'info']);

const BATCH = 'batch';
/** Bytes of publications in one answer of `history`; it holds fewer then, and the caller asks on from the last. */
const MAX_HISTORY_BYTES = 8_388_608;
/** How long gateways may take to say that they have forgotten what was removed. */
const FORGET_PATIENCE_MS = 1_000;

export const createServerApi = (deps: ApiDeps, onFault: (error: unknown) => void): ServerApi => {
  const methods = new Map<string, ApiMethod>([
    ...Object.entries(publishingMethods(deps, onFault)),
    ...Object.entries(looking(deps)),
    ...Object.entries(fleetMethods(deps)),
    ['rpc', (params, tenant) => rpc(deps, params, tenant)],
  ]);

  const newBudget = () =>
    createResponseBudget(deps.limits.maxBatchAnswerBytes, () => deps.metrics.rateLimited('batch_answer'));
  const performBatch = (params: Params, tenant: string | undefined, observe: ApiObserver | undefined) => {
    const budget = newBudget();
    return batch((name, its, by) => call(name, its, { ...by, observe, budget }), params, tenant);
  };
  const attempt: ServerApi['call'] = async (method, values, { text, tenant: ofKey, observe } = {}) => {
    const run = methods.get(method);
    if (run === undefined && method !== BATCH) return { ok: false, code: ReplyError.MethodNotFound };
    try {
      const params = new Params(values, text);
      const tenant = params.tenant(ofKey);
      if (tenant === EVERY_TENANT && !OVER_TENANTS.has(method))
        throw params.bad('tenant', 'must name one tenant');
      // Calls of a batch may name tenants of their own, unless the key or the batch names one.
      const isNamed = ofKey !== undefined || params.text('tenant') !== '';
      const json =
        run?.(params, tenant, isNamed ? tenant : EVERY_TENANT) ??
        performBatch(params, isNamed ? tenant : undefined, observe);
      return { ok: true, json: await json };
    } catch (error) {
      return { ok: false, ...faultOf(error, onFault) };
    }
  };
  const call: ServerApi['call'] = async (method, values, by) => {
    const perform = () => attempt(method, values, by);
    const outcome = await (by?.budget?.within(method, perform) ?? perform());
    by?.observe?.(method, outcome);
    return outcome;
  };
  return { call, newBudget, methods: [...methods.keys(), BATCH] };
};

/** The application answers, as it answers clients. */
const rpc = async ({ callbacks }: ApiDeps, params: Params, tenant: string): Promise<string> => {
  const method = params.text('method');
  if (method === '') throw params.missing('method');
  if (!callbacks.has('rpc')) throw new ApiError(ReplyError.MethodNotFound);
  const data = params.has('params') ? { data: params.payload('params') } : {};
  const answer = await callbacks.rpc({ tenant }, { method, ...data });
  if (answer.is === 'error') throw new ApiError(answer.code, answer.message);
  if (answer.is !== 'result') throw new ApiError(ReplyError.Internal);
  const { data: result, isBinary = false } = answer.result;
  return result === undefined ? '{}' : `{"${isBinary ? 'b64data' : 'data'}":${result}}`;
};

const looking = (deps: ApiDeps): Record<string, ApiMethod> => {
  const present = async (params: Params, tenant: string): Promise<ReadonlyMap<string, string>> => {
    const group = params.group();
    if (!requireOptions(deps, group).presence) throw notAvailable('presence is off in this group');
    const clients = await deps.presence.read(groupKeyOf(tenant, group), deps.limits.maxPresenceClients);
    if (clients !== undefined) return clients;
    throw new ApiError(ReplyError.LimitExceeded, undefined, 'more clients than `MAX_PRESENCE_CLIENTS`');
  };
  const kept = (params: Params, tenant: string) => {
    const group = params.group();
    const { retention } = requireOptions(deps, group);
    if (retention === undefined) throw notAvailable('this group keeps no history');
    return { key: groupKeyOf(tenant, group), retention };
  };
  return {
    presence: async (params, tenant) =>
      resultIn(encodeReply({ id: 0, is: 'presence', result: await present(params, tenant) })),
    presence_stats: async (params, tenant) => {
      const result = presenceStats(await present(params, tenant));
      return resultIn(encodeReply({ id: 0, is: 'presence_stats', result }));
    },
    history: async (params, tenant) => {
      const place = kept(params, tenant);
      const since = params.object('since');
      const position = since && { offset: since.integer('offset'), epoch: since.text('epoch') };
      const reverse = params.flag('reverse');
      if (reverse && position?.offset === 0)
        throw params.bad('since', 'must have an offset above 0 when reverse is true');
      const query = {
        limit: params.integer('limit'),
        reverse,
        ...(position === undefined ? {} : { since: position }),
      };
      const result = await readHistory(deps.bus, place, query, {
        count: place.retention.size,
        maxBytes: MAX_HISTORY_BYTES,
      });
      if (typeof result === 'number') throw new ApiError(result);
      return resultIn(encodeReply({ id: 0, is: 'history', result }));
    },
    history_remove: async (params, tenant) => {
      const { key } = kept(params, tenant);
      const { offset, epoch } = await deps.bus.clear(key);
      // The gateways have heard it, too; their answers say that it has arrived.
      await deps.bus.ask(
        { do: 'forget', group: key, offset, epoch } satisfies ControlCommand,
        FORGET_PATIENCE_MS,
      );
      return '{}';
    },
  };
};

/** `{"presence":{…}}` → `{…}`: results here are those of the client protocol. */
const resultIn = (reply: string): string => reply.slice(reply.indexOf(':') + 1, -1);
