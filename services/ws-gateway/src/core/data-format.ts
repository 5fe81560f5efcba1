import type { Payload } from '@muster/protocol/commands';
import type { GroupOptions } from './namespaces.ts';

/** Whether a group takes this payload. `isBinary`: it stands for bytes that are no JSON. */
export const takesPayload = (
  { publicationDataFormat }: Pick<GroupOptions, 'publicationDataFormat'>,
  data: Payload,
  isBinary: boolean,
): boolean => {
  switch (publicationDataFormat) {
    case 'any':
      return true;
    case 'json':
      return !isBinary;
    case 'json_object':
      return !isBinary && data.trimStart().startsWith('{');
    default:
      return publicationDataFormat satisfies never;
  }
};
