import {
  encodePublication,
  PUBLICATION_DATA_AT,
  PUBLICATION_PUSH_TAIL,
  publicationPushHead,
} from '@muster/protocol/json-codec';
import type { Publication, PublicationText } from '@muster/protocol/replies';
import type { BusMessage } from './envelope.ts';
import { type GroupKey, groupNameOf } from './group-key.ts';
import type { GroupPosition } from './position.ts';

/** A publication before it has a position: the texts between which a position is put. */
export interface PublicationDraft {
  /** The push up to the publication. */
  readonly before: string;
  /** The publication's JSON text without its closing brace. */
  readonly open: string;
  /** Bytes of the payload, which comes first in the publication. */
  readonly dataLength: number;
  /** See {@link BusMessage.attributes}. */
  readonly attributes: readonly string[];
}

/** A publication as the stream keeps it. */
export interface StreamEntry {
  readonly offset: number;
  /** JSON text with the offset in it. */
  readonly text: PublicationText;
  readonly dataLength: number;
  readonly attributes: readonly string[];
}

/** The part of a draft that is the same in every group. */
export type EncodedPublication = Pick<PublicationDraft, 'open' | 'dataLength'>;

/** Encodes a publication without its position. Its payload must be JSON without raw line breaks. */
export const encodePublicationFields = (publication: Omit<Publication, 'offset'>): EncodedPublication => ({
  open: encodePublication(publication).slice(0, -1),
  dataLength: Buffer.byteLength(publication.data),
});

/** Prepares a publication; clients see the name of the group, not its key. `encoded` is what {@link encodePublicationFields} made of it. */
export const encodeForPublish = (
  group: GroupKey,
  publication: Omit<Publication, 'offset'>,
  attributes: readonly string[] = [],
  encoded = encodePublicationFields(publication),
): PublicationDraft => ({ before: publicationPushHead(groupNameOf(group)), ...encoded, attributes });

/** The publication's text at a position. The first one names the epoch, for those who subscribed to an empty stream. */
export const publicationAt = (
  { open }: Pick<PublicationDraft, 'open'>,
  { offset, epoch }: GroupPosition,
): PublicationText => `${open},"offset":${offset}${offset === 1 ? `,"epoch":"${epoch}"` : ''}}`;

/** Where the payload begins in the push, in bytes. Group names are ASCII, so characters are bytes. */
export const dataAtOf = ({ before }: Pick<PublicationDraft, 'before'>): number =>
  before.length + PUBLICATION_DATA_AT;

/** A message that is not kept and has no position. */
export const unkeptMessage = (draft: PublicationDraft): BusMessage => ({
  kind: 'publication',
  body: Buffer.from(`${draft.before}${draft.open}}${PUBLICATION_PUSH_TAIL}`),
  dataAt: dataAtOf(draft),
  dataLength: draft.dataLength,
  offset: 0,
  epoch: '',
  attributes: draft.attributes,
});

/** What the bus delivered, or would have, for an entry of the stream. */
export const messageOfEntry = (group: GroupKey, entry: StreamEntry, epoch: string): BusMessage => {
  const before = publicationPushHead(groupNameOf(group));
  return {
    kind: 'publication',
    body: Buffer.from(before + entry.text + PUBLICATION_PUSH_TAIL),
    dataAt: dataAtOf({ before }),
    dataLength: entry.dataLength,
    offset: entry.offset,
    epoch,
    attributes: entry.attributes,
  };
};

/** The publication in a message of the bus. */
export const publicationOf = (group: GroupKey, { body }: BusMessage): PublicationText =>
  body.toString(
    'utf8',
    publicationPushHead(groupNameOf(group)).length,
    body.length - PUBLICATION_PUSH_TAIL.length,
  );
