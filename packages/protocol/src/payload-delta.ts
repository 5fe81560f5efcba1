import { encodeDelta } from './fossil-delta.ts';
import { memberText } from './raw-json.ts';
import type { PublicationText } from './replies.ts';

/** Largest payload for which a delta is computed, in bytes. */
export const MAX_DELTA_BYTES = 262_144;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** Delta between two payloads as a JSON string's content; undefined when it is not shorter, or a payload is too large. */
export const payloadDelta = (base: Uint8Array | undefined, data: Uint8Array): string | undefined => {
  if (base === undefined || base.length > MAX_DELTA_BYTES || data.length > MAX_DELTA_BYTES) return undefined;
  const delta = encodeDelta(base, data);
  return delta === undefined ? undefined : fromUtf8.decode(delta);
};

/**
 * Recovered publications for a subscriber with deltas: the first in full, each later publication as a delta of its
 * predecessor where that is shorter. In JSON a full payload is a string with the JSON text.
 */
export const deltaChain = (
  publications: readonly PublicationText[],
  encoding: 'json' | 'protobuf',
): PublicationText[] => {
  let base: Uint8Array | undefined;
  return publications.map((text) => {
    const data = memberText(text, 'data') ?? 'null';
    const rest = text.slice(DATA_AT + data.length);
    const isBinary = rest.startsWith(BINARY_MARK);
    const bytes = utf8.encode(data);
    const delta = isBinary ? undefined : payloadDelta(base, bytes);
    base = isBinary ? undefined : bytes;
    if (delta !== undefined) return `{"data":${JSON.stringify(delta)}${DELTA_MARK}${rest}`;
    return encoding === 'json' ? `{"data":${JSON.stringify(data)}${rest}` : text;
  });
};

const DATA_AT = '{"data":'.length;
/** Follows the payload of a publication with bytes other than JSON. */
export const BINARY_MARK = ',"b64":true';
/** Follows the payload of a publication that is a delta. */
export const DELTA_MARK = ',"delta":true';
