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

/** A publication without its position: the texts around the position. */
export interface PublicationDraft {
  /** The push up to the publication. */
  readonly before: string;
  /** The publication's JSON text without its closing brace. */
  readonly open: string;
  /** Bytes of the payload, the first member of the publication. */
  readonly dataLength: number;
  /** See {@link BusMessage.attributes}. */
  readonly attributes: readonly string[];
}

/** A publication in the stream. */
export interface StreamEntry {
  readonly offset: number;
  /** JSON text, offset included. */
  readonly text: PublicationText;
  readonly dataLength: number;
  readonly attributes: readonly string[];
}

/** The part of a draft that does not depend on the group. */
export type EncodedPublication = Pick<PublicationDraft, 'open' | 'dataLength'>;

/** Encodes a publication without its position. Its payload must be JSON without raw line breaks. */
export const encodePublicationFields = (publication: Omit<Publication, 'offset'>): EncodedPublication => ({
  open: encodePublication(publication).slice(0, -1),
  dataLength: Buffer.byteLength(publication.data),
});

/** Prepares a publication for `append`. `encoded` may be shared between groups. */
export const encodeForPublish = (
  group: GroupKey,
  publication: Omit<Publication, 'offset'>,
  attributes: readonly string[] = [],
  encoded = encodePublicationFields(publication),
): PublicationDraft => ({ before: publicationPushHead(groupNameOf(group)), ...encoded, attributes });

/** The publication's text with its position. Offset 1 includes the epoch, for subscribers of the empty stream. */
export const publicationAt = (
  { open }: Pick<PublicationDraft, 'open'>,
  { offset, epoch }: GroupPosition,
): PublicationText => `${open},"offset":${offset}${offset === 1 ? `,"epoch":"${epoch}"` : ''}}`;

/** Offset of the payload in the push, in bytes: group names are ASCII. */
export const dataAtOf = ({ before }: Pick<PublicationDraft, 'before'>): number => before.length + PUBLICATION_DATA_AT;

/** Message of a publication that is not kept and has no position. */
export const unkeptMessage = (draft: PublicationDraft): BusMessage => ({
  kind: 'publication',
  body: Buffer.from(`${draft.before}${draft.open}}${PUBLICATION_PUSH_TAIL}`),
  dataAt: dataAtOf(draft),
  dataLength: draft.dataLength,
  offset: 0,
  epoch: '',
  attributes: draft.attributes,
});

/** The bus message of an entry of the stream, as `append` publishes it. */
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

/** The publication's text in a bus message. */
export const publicationOf = (group: GroupKey, { body }: BusMessage): PublicationText =>
  body.toString('utf8', publicationPushHead(groupNameOf(group)).length, body.length - PUBLICATION_PUSH_TAIL.length);
