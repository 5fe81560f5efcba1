import type { Bus } from '@muster/bus/bus';
import { type GroupKey, groupNameOf } from '@muster/bus/group-key';
import {
  type EncodedPublication,
  encodeForPublish,
  type PublicationDraft,
  unkeptMessage,
} from '@muster/bus/publication-encoding';
import type { Appended, AppendOptions, StreamRetention } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Publication } from '@muster/protocol/replies';
import type { EngineMetrics } from '../ports.ts';
import { createSizeCheck } from './publication-size.ts';

/** A publication and its options. */
export interface PublishRequest {
  readonly key: GroupKey;
  readonly publication: Omit<Publication, 'offset'>;
  /** The publication's encoded fields, shared by the groups of a broadcast. */
  readonly encoded?: EncodedPublication;
  readonly retention: StreamRetention | undefined;
  readonly idempotencyKey?: string;
  readonly version?: AppendOptions['version'];
  readonly attributes?: readonly string[];
  /** See {@link AppendOptions}. */
  readonly onlyIfSubscribed?: boolean;
}

export interface PublisherDeps {
  readonly bus: Pick<Bus, 'publish' | 'append'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<EngineMetrics, 'published' | 'refused'>;
  /** Limit of one publication, in bytes. */
  readonly maxBytes: number;
  /** Adds attributes to sampled publications. */
  mark(request: PublishRequest): PublishRequest;
}

/** Publishes over the bus. Rejects with REDIS_UNAVAILABLE, or PAYLOAD_TOO_LARGE above `maxBytes`. */
export const createPublisher = (deps: PublisherDeps): ((request: PublishRequest) => Promise<Appended | undefined>) => {
  const { bus, mark, clock, metrics } = deps;
  const checkSize = createSizeCheck(deps);
  return (request) => {
    const { key, publication, attributes, encoded } = mark(request);
    const draft = encodeForPublish(key, publication, attributes, encoded);
    const tooLarge = checkSize(groupNameOf(key), draft, publication.data);
    if (tooLarge !== undefined) return Promise.reject(tooLarge);
    const startedAt = clock.monotonic();
    // One continuation: every further promise of a publication costs as much as its encoding.
    return send(bus, request, draft).then(
      (appended) => {
        metrics.published('ok', (clock.monotonic() - startedAt) / 1000);
        return appended;
      },
      (error: unknown) => {
        metrics.published('error', (clock.monotonic() - startedAt) / 1000);
        throw error;
      },
    );
  };
};

const send = (
  bus: PublisherDeps['bus'],
  { key, retention, idempotencyKey, version, onlyIfSubscribed }: PublishRequest,
  draft: PublicationDraft,
): Promise<Appended | undefined> =>
  retention === undefined
    ? (bus.publish(key, unkeptMessage(draft), idempotencyKey) as Promise<undefined>)
    : bus.append(key, draft, { retention, onlyIfSubscribed, idempotencyKey, version });
