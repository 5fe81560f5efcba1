import { encodeDelta } from './fossil-delta.ts';
import { memberText } from './raw-json.ts';
import type { PublicationText } from './replies.ts';

/** Bytes of a payload above which no delta is looked for. */
export const MAX_DELTA_BYTES = 262_144;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** The delta between two payloads as it stands in JSON; undefined when there is none worth sending. */
export const payloadDelta = (base: Uint8Array | undefined, data: Uint8Array): string | undefined => {
  if (base === undefined || base.length > MAX_DELTA_BYTES || data.length > MAX_DELTA_BYTES) return undefined;
  const delta = encodeDelta(base, data);
  return delta === undefined ? undefined : fromUtf8.decode(delta);
};

/**
 * Recovered publications for a subscriber with deltas: the first whole, every other one as a delta of the one before
 * where that is shorter. In JSON the payload of a whole one is a string that holds the JSON text.
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
/** What follows the payload of a publication whose payload is no JSON. */
export const BINARY_MARK = ',"b64":true';
/** What follows the payload of a publication that is a delta. */
export const DELTA_MARK = ',"delta":true';
