import { memberText } from '@muster/protocol/raw-json';
import type { PublicationText } from '@muster/protocol/replies';
import type { Tags, TagsFilter } from '@muster/protocol/tags-filter';

const NO_TAGS: Tags = {};

/** The tags of a publication in a push, both as JSON text. */
export const tagsOf = (push: string): Tags => {
  const body = memberText(push, 'push');
  const publication = body === undefined ? undefined : memberText(body, 'pub');
  return publication === undefined ? NO_TAGS : publicationTags(publication);
};

/** The publications that fit. */
export const wantedOf = (
  publications: readonly PublicationText[],
  filter: TagsFilter | undefined,
): readonly PublicationText[] =>
  filter === undefined ? publications : publications.filter((text) => filter(publicationTags(text)));

const publicationTags = (text: PublicationText): Tags => {
  const tags = memberText(text, 'tags');
  return tags === undefined ? NO_TAGS : JSON.parse(tags);
};
