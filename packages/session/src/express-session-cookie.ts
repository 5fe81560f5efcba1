import { unsign } from 'cookie-signature';

const MAX_LENGTH = 512;

/** The content of a text that express-session or another user of cookie-signature signed with one of these keys. */
export const unsignExpressSessionCookie = (text: string, secrets: readonly string[]): string | undefined => {
  if (text.length > MAX_LENGTH) return undefined;
  for (const secret of secrets) {
    const content = unsign(text, secret);
    if (content !== false) return content;
  }
  return undefined;
};
