import { groupKeyOf } from '@muster/bus/group-key';
import { ReplyError } from '@muster/protocol/codes';
import { encodeReply } from '@muster/protocol/json-codec';
import { readHistory } from '../handlers/history.ts';
import { presenceStats } from '../handlers/presence.ts';
import { ApiError, faultOf, notAvailable } from './api-errors.ts';
import { batch } from './batch.ts';
import type { ControlCommand } from './control-commands.ts';
import { fleetMethods } from './fleet-methods.ts';
import {
  type ApiCall,
  type ApiDeps,
  type ApiMethod,
  type ApiObserver,
  EVERY_TENANT,
  Params,
  requireOptions,
} from './params.ts';
import { publishingMethods } from './publishing.ts';
import { createResponseBudget, type ResponseBudget } from './response-budget.ts';

/** The server API: back ends publish, read groups, and control connections. */
export interface ServerApi {
  readonly call: ApiCall;
  /** A budget for the calls of one request. */
  newBudget(): ResponseBudget;
  /** Names of the methods. */
  readonly methods: readonly string[];
}

/** Methods that can cover all tenants in one call. */
const OVER_TENANTS = new Set(['channels', 'connections', 'info']);

const BATCH = 'batch';
/** Bytes of publications in one `history` result; above it the result is cut, and the caller continues from its end. */
const MAX_HISTORY_BYTES = 8_388_608;
/** Time for the gateways to confirm a removal. */
const REMOVE_TIMEOUT_MS = 1_000;

export const createServerApi = (deps: ApiDeps, onFault: (error: unknown) => void): ServerApi => {
  const methods = new Map<string, ApiMethod>([
    ...Object.entries(publishingMethods(deps, onFault)),
    ...Object.entries(readMethods(deps)),
    ...Object.entries(fleetMethods(deps)),
    ['rpc', (params, tenant) => rpc(deps, params, tenant)],
  ]);

  const newBudget = () =>
    createResponseBudget(deps.limits.maxBatchAnswerBytes, () => deps.metrics.rateLimited('batch_answer'));
  const performBatch = (params: Params, tenant: string | undefined, observe: ApiObserver | undefined) => {
    const budget = newBudget();
    return batch((name, its, by) => call(name, its, { ...by, observe, budget }), params, tenant);
  };
  const attempt: ApiCall = async (method, values, { text, tenant: ofKey, observe } = {}) => {
    const run = methods.get(method);
    if (run === undefined && method !== BATCH) return { ok: false, code: ReplyError.MethodNotFound };
    try {
      const params = new Params(values, text);
      const tenant = params.tenant(ofKey);
      if (tenant === EVERY_TENANT && !OVER_TENANTS.has(method)) throw params.bad('tenant', 'must name one tenant');
      // Calls of a batch may name their tenants, unless the key or the batch names one.
      const isNamed = ofKey !== undefined || params.text('tenant') !== '';
      const json =
        run?.(params, tenant, isNamed ? tenant : EVERY_TENANT) ??
        performBatch(params, isNamed ? tenant : undefined, observe);
      return { ok: true, json: await json };
    } catch (error) {
      return { ok: false, ...faultOf(error, onFault) };
    }
  };
  const call: ApiCall = async (method, values, by) => {
    const perform = () => attempt(method, values, by);
    const outcome = await (by?.budget?.within(method, perform) ?? perform());
    by?.observe?.(method, outcome);
    return outcome;
  };
  return { call, newBudget, methods: [...methods.keys(), BATCH] };
};

/** Calls the RPC callback of the application. */
const rpc = async ({ callbacks }: ApiDeps, params: Params, tenant: string): Promise<string> => {
  const method = params.text('method');
  if (method === '') throw params.missing('method');
  if (!callbacks.has('rpc')) throw new ApiError(ReplyError.MethodNotFound);
  const data = params.has('params') ? { data: params.payload('params') } : {};
  const answer = await callbacks.rpc({ tenant }, { method, ...data });
  if (answer.is === 'error') throw new ApiError(answer.code, undefined, answer.message);
  if (answer.is !== 'result') throw new ApiError(ReplyError.Internal);
  const { data: result, isBinary = false } = answer.result;
  return result === undefined ? '{}' : `{"${isBinary ? 'b64data' : 'data'}":${result}}`;
};

const readMethods = (deps: ApiDeps): Record<string, ApiMethod> => {
  const readPresence = async (params: Params, tenant: string): Promise<ReadonlyMap<string, string>> => {
    const group = params.group();
    if (!requireOptions(deps, group).presence) throw notAvailable('presence is off in this group');
    const clients = await deps.presence.read(groupKeyOf(tenant, group), deps.limits.maxPresenceClients);
    if (clients !== undefined) return clients;
    throw new ApiError(ReplyError.LimitExceeded, 'more clients than `MAX_PRESENCE_CLIENTS`');
  };
  const retained = (params: Params, tenant: string) => {
    const group = params.group();
    const { retention } = requireOptions(deps, group);
    if (retention === undefined) throw notAvailable('this group keeps no history');
    return { key: groupKeyOf(tenant, group), retention };
  };
  return {
    presence: async (params, tenant) =>
      resultIn(encodeReply({ id: 0, is: 'presence', result: await readPresence(params, tenant) })),
    presence_stats: async (params, tenant) => {
      const result = presenceStats(await readPresence(params, tenant));
      return resultIn(encodeReply({ id: 0, is: 'presence_stats', result }));
    },
    history: async (params, tenant) => {
      const stream = retained(params, tenant);
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
      const result = await readHistory(deps.bus, stream, query, {
        count: stream.retention.size,
        maxBytes: MAX_HISTORY_BYTES,
      });
      if (typeof result === 'number') throw new ApiError(result);
      return resultIn(encodeReply({ id: 0, is: 'history', result }));
    },
    history_remove: async (params, tenant) => {
      const { key } = retained(params, tenant);
      const { offset, epoch } = await deps.bus.clear(key);
      // The removal is on its way over the bus; the answers confirm its arrival.
      await deps.bus.query({ do: 'forget', group: key, offset, epoch } satisfies ControlCommand, REMOVE_TIMEOUT_MS);
      return '{}';
    },
  };
};

/** `{"presence":{…}}` → `{…}`: the results are those of the client protocol. */
const resultIn = (reply: string): string => reply.slice(reply.indexOf(':') + 1, -1);
