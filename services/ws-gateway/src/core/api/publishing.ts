import { groupKeyOf } from '@muster/bus/group-key';
import { encodePublicationFields } from '@muster/bus/publication-encoding';
import { ReplyError } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';
import { DELTA_ATTRIBUTE } from '../group/delta-subscribers.ts';
import type { PublishRequest } from '../group/publisher.ts';
import { acceptsPayload } from '../namespaces.ts';
import { createSerializer } from '../time-slicing.ts';
import { type ApiFault, badRequest, errorJson, faultOf } from './api-errors.ts';
import { type ApiDeps, type ApiMethod, Params, requireOptions } from './params.ts';

/** Groups of one broadcast. */
export const MAX_BROADCAST = 10_000;
/** Concurrent publications of all broadcasts on this gateway. */
const SLICE_GROUPS = 100;
/** Bytes of all of them: while Redis processes these, the commands of other clients wait. */
const SLICE_BYTES = 262_144;
/** Bytes of a publication besides its payload and tags. */
const OVERHEAD_BYTES = 256;

/** A publication, read once for all groups of a broadcast. */
interface Message extends Omit<PublishRequest, 'key' | 'retention'> {
  readonly data: Payload;
  readonly isRetained: boolean;
}

export const publishingMethods = (deps: ApiDeps, onFault: (error: unknown) => void): Record<string, ApiMethod> => {
  const serialize = createSerializer();
  /** Resolves with the position of the publication; for an outdated version that of the newest one. */
  const publishTo = async (tenant: string, group: GroupName, message: Message): Promise<string> => {
    const options = requireOptions(deps, group);
    const { data, isRetained, ...request } = message;
    if (!acceptsPayload(options, data, false)) {
      throw badRequest(`\`data\` must be of the format ${options.publicationDataFormat} in this group`);
    }
    const appended = await deps.hub.publish({
      ...request,
      key: groupKeyOf(tenant, group),
      retention: isRetained ? options.retention : undefined,
    });
    if (appended === undefined) return '{}';
    return JSON.stringify({ offset: appended.offset, epoch: appended.epoch });
  };
  /** Never rejects: the outcome for one group of a broadcast. */
  const outcomeOf = async (tenant: string, channel: string, message: Message): Promise<ApiFault | string> => {
    try {
      return await publishTo(tenant, new Params({ channel }).group(), message);
    } catch (error) {
      return faultOf(error, onFault);
    }
  };
  return {
    publish: async (params, tenant) => publishTo(tenant, params.group(), readMessage(params)),
    broadcast: async (params, tenant) => {
      if (!params.has('channels')) throw params.missing('channels');
      const channels = params.texts('channels');
      if (channels.length === 0) throw badRequest('`channels` is empty');
      if (channels.length > MAX_BROADCAST) {
        throw badRequest(`\`channels\` has more than ${MAX_BROADCAST} groups: send several broadcasts`);
      }
      const read = readMessage(params);
      const message = { ...read, encoded: encodePublicationFields(read.publication) };
      const width = sliceWidth(message);
      const responses: string[] = [];
      for (let from = 0; from < channels.length; from += width) {
        const slice = channels.slice(from, from + width);
        const outcomes = await serialize(() =>
          Promise.all(slice.map((channel) => outcomeOf(tenant, channel, message))),
        );
        for (const outcome of outcomes) responses.push(responseOf(outcome));
        // While Redis does not answer, each further slice would time out: the rest is reported as not tried.
        if (outcomes.every(isBusFault)) break;
      }
      const untried = channels.length - responses.length;
      return `{"responses":[${responses.concat(Array(untried).fill(responseOf(NOT_TRIED))).join(',')}]}`;
    },
  };
};

/** Groups of one slice. Each publication is written twice: to the stream and to its subscribers. */
const sliceWidth = ({ data, publication: { tags = {} } }: Message): number => {
  let bytes = OVERHEAD_BYTES + Buffer.byteLength(data);
  for (const [name, value] of Object.entries(tags)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return Math.max(1, Math.min(SLICE_GROUPS, Math.floor(SLICE_BYTES / bytes)));
};

const NOT_TRIED: ApiFault = {
  code: ReplyError.Internal,
  outcome: 'not_published',
  reason: 'Redis did not answer, this group was not tried',
};

const responseOf = (outcome: ApiFault | string): string =>
  typeof outcome === 'string' ? `{"result":${outcome}}` : `{"error":${errorJson(outcome)}}`;

const isBusFault = (outcome: ApiFault | string): boolean =>
  typeof outcome !== 'string' && outcome.outcome !== undefined;

const readMessage = (params: Params): Message => {
  const data = params.payload('data');
  const tags = params.tags('tags');
  const key = params.key('idempotency_key');
  const version = params.integer('version');
  if (version < 0) throw params.bad('version', 'must not be negative');
  return {
    data,
    isRetained: !params.flag('skip_history'),
    publication: { data, version, ...(tags === undefined ? {} : { tags }) },
    attributes: [...exclusionsOf(params.object('exclude')), ...(params.flag('delta') ? [DELTA_ATTRIBUTE] : [])],
    ...(key === '' ? {} : { idempotencyKey: key }),
    ...(version === 0 ? {} : { version: { number: version, epoch: params.key('version_epoch') } }),
  };
};

/** Exclusions as attributes for the gateways. Ids contain no spaces. */
const exclusionsOf = (exclude: Params | undefined): string[] => {
  if (exclude === undefined) return [];
  return (['client', 'session'] as const).flatMap((name) => {
    const id = exclude.id(name);
    if (/[^\w-]/.test(id)) throw exclude.bad(name, 'must be an id');
    return id === '' ? [] : [`not-${name}=${id}`];
  });
};
