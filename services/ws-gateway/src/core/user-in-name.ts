import { createHash } from 'node:crypto';

/** What parts the users in a name from the rest and from each other, what escapes, and what a name cannot hold. */
const RESERVED = /[#,%]|[^\x20-\x7e]/u;
const RESERVED_ALL = /[#,%]|[^\x20-\x7e]/gu;
/** With the longest prefix of personal groups, 64, the name is still one of 255 characters. */
const MAX_LENGTH = 191;

/**
 * A user id as it stands after the `#` of a group name: `#`, `,`, `%` and what is not printable ASCII percent-encoded in UTF-8,
 * so that two users never share a name. An id that becomes longer than 191 characters is `%sha256-` and its digest in base64url.
 */
export const userInName = (user: string): string => {
  if (user.length <= MAX_LENGTH && !RESERVED.test(user)) return user;
  const encoded = user.replace(RESERVED_ALL, percentEncode);
  return encoded.length <= MAX_LENGTH
    ? encoded
    : `%sha256-${createHash('sha256').update(user).digest('base64url')}`;
};

const percentEncode = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
