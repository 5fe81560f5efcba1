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

/** What to publish, and how. */
export interface PublishRequest {
  readonly key: GroupKey;
  readonly publication: Omit<Publication, 'offset'>;
  /** The publication encoded beforehand, where many groups get it. */
  readonly encoded?: EncodedPublication;
  readonly retention: StreamRetention | undefined;
  readonly idempotencyKey?: string;
  readonly version?: AppendOptions['version'];
  readonly notes?: readonly string[];
  /** See {@link AppendOptions}. */
  readonly onlyIfHeard?: boolean;
}

export interface PublisherDeps {
  readonly bus: Pick<Bus, 'publish' | 'append'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<EngineMetrics, 'published' | 'refused'>;
  /** Bytes of one publication. */
  readonly maxBytes: number;
  /** Adds notes to some publications. */
  mark(request: PublishRequest): PublishRequest;
}

/** Gives publications to the bus. Rejects with REDIS_UNAVAILABLE, and with PAYLOAD_TOO_LARGE what members could not be given. */
export const createPublisher = (
  deps: PublisherDeps,
): ((request: PublishRequest) => Promise<Appended | undefined>) => {
  const { bus, mark, ...rest } = deps;
  const sizes = createSizeCheck(rest);
  return (request) => {
    const { key, publication, notes, encoded } = mark(request);
    const draft = encodeForPublish(key, publication, notes, encoded);
    const tooLarge = sizes.check(groupNameOf(key), draft, publication.data);
    return tooLarge === undefined ? timed(rest, send(bus, request, draft)) : Promise.reject(tooLarge);
  };
};

/** Observes how long a publication took to be accepted, or not. */
const timed = async <T>(
  { clock, metrics }: Pick<PublisherDeps, 'clock' | 'metrics'>,
  work: Promise<T>,
): Promise<T> => {
  const begun = clock.monotonic();
  let result: 'ok' | 'error' = 'error';
  try {
    const done = await work;
    result = 'ok';
    return done;
  } finally {
    metrics.published(result, (clock.monotonic() - begun) / 1000);
  }
};

const send = async (
  bus: PublisherDeps['bus'],
  request: PublishRequest,
  draft: PublicationDraft,
): Promise<Appended | undefined> => {
  const { key, retention, idempotencyKey, version, onlyIfHeard = false } = request;
  if (retention === undefined) {
    await bus.publish(key, unkeptMessage(draft), idempotencyKey);
    return undefined;
  }
  return bus.append(key, draft, {
    retention,
    onlyIfHeard,
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(version === undefined ? {} : { version }),
  });
};
