import { AppError } from '@muster/protocol/errors';
import { parseSessionId, type SessionId } from '@muster/session/token';
import type { DerivedKeys } from './signing-keys.ts';

/** The last session of a page. */
export interface Position {
  readonly createdAt: number;
  readonly id: SessionId;
}

const MAC_BYTES = 16;
const MAX_LENGTH = 256;

/** Writes an authenticated cursor that is valid for one filter. */
export const writeCursor = (keys: DerivedKeys, filter: string, position: Position): string => {
  const body = Buffer.from(JSON.stringify([position.createdAt, position.id])).toString('base64url');
  return body + keys.mac('cursor', `${filter}\n${body}`).subarray(0, MAC_BYTES).toString('base64url');
};

/** Reads a cursor of this filter. Throws `INVALID_CURSOR` for other text. */
export const readCursor = (keys: DerivedKeys, filter: string, text: string): Position => {
  const macLength = Math.ceil((MAC_BYTES * 4) / 3);
  const body = text.slice(0, -macLength);
  const macText = text.slice(-macLength);
  const mac = Buffer.from(macText, 'base64url');
  const isOurs =
    text.length <= MAX_LENGTH &&
    mac.length === MAC_BYTES &&
    // Only the canonical spelling: the last character has unused bits.
    mac.toString('base64url') === macText &&
    keys.verifies('cursor', `${filter}\n${body}`, mac);
  const position = isOurs ? parse(body) : undefined;
  if (position === undefined) throw new AppError('INVALID_CURSOR');
  return position;
};

const parse = (body: string): Position | undefined => {
  try {
    const [createdAt, text] = JSON.parse(Buffer.from(body, 'base64url').toString()) as unknown[];
    const id = typeof text === 'string' ? parseSessionId(text) : undefined;
    return typeof createdAt === 'number' && id !== undefined ? { createdAt, id } : undefined;
  } catch {
    return undefined;
  }
};
