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
  const { bus, mark, ...rest } = deps;
  const checkSize = createSizeCheck(rest);
  return (request) => {
    const { key, publication, attributes, encoded } = mark(request);
    const draft = encodeForPublish(key, publication, attributes, encoded);
    const tooLarge = checkSize(groupNameOf(key), draft, publication.data);
    return tooLarge === undefined ? timed(rest, send(bus, request, draft)) : Promise.reject(tooLarge);
  };
};

/** Records the duration and result of a publish. */
const timed = async <T>({ clock, metrics }: Pick<PublisherDeps, 'clock' | 'metrics'>, work: Promise<T>): Promise<T> => {
  const startedAt = clock.monotonic();
  let result: 'ok' | 'error' = 'error';
  try {
    const appended = await work;
    result = 'ok';
    return appended;
  } finally {
    metrics.published(result, (clock.monotonic() - startedAt) / 1000);
  }
};

const send = async (
  bus: PublisherDeps['bus'],
  request: PublishRequest,
  draft: PublicationDraft,
): Promise<Appended | undefined> => {
  const { key, retention, idempotencyKey, version, onlyIfSubscribed = false } = request;
  if (retention === undefined) {
    await bus.publish(key, unkeptMessage(draft), idempotencyKey);
    return undefined;
  }
  return bus.append(key, draft, {
    ...{ retention, onlyIfSubscribed },
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(version === undefined ? {} : { version }),
  });
};
