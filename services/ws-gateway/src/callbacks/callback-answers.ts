import { maySendClose, REPLY_ERRORS } from '@muster/protocol/codes';
import { memberText } from '@muster/protocol/raw-json';
import type { CallbackAnswer, CallbackData } from '../core/callbacks.ts';

/** The `result` object and its text, so that payloads are forwarded unchanged. */
export interface RawResult {
  readonly values: Readonly<Record<string, unknown>>;
  readonly text: string;
}

const MIN_ERROR = 100;
const MAX_ERROR = 1_999;
const MAX_MESSAGE_LENGTH = 256;

/**
 * Parses `{"result": …}`, `{"error": {code, message, temporary?}}` or `{"disconnect": {code, reason}}`. Undefined for an invalid
 * answer.
 */
export const readCallbackAnswer = <T>(
  text: string,
  read: (result: RawResult) => T | undefined,
): CallbackAnswer<T> | undefined => {
  const answer = objectOf(text);
  if (answer === undefined) return undefined;
  if (isObject(answer['error'])) return errorOf(answer['error']);
  if (isObject(answer['disconnect'])) return disconnectOf(answer['disconnect']);
  const values = answer['result'] ?? {};
  if (!isObject(values)) return undefined;
  const result = read({ values, text: memberText(text, 'result') ?? '{}' });
  return result === undefined ? undefined : { is: 'result', result };
};

/** `data`, or `b64data` for bytes that are not JSON; undefined when invalid. */
export const readCallbackData = ({ values, text }: RawResult): CallbackData | undefined => {
  const encoded = values['b64data'];
  if (typeof encoded === 'string' && encoded !== '')
    return BASE64.test(encoded) ? { data: JSON.stringify(encoded), isBinary: true } : undefined;
  if (!('data' in values)) return {};
  const data = memberText(text, 'data');
  // Line breaks between tokens would split a protocol frame.
  return data === undefined ? {} : { data: data.replace(/[\r\n]+/g, ' '), isBinary: false };
};

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

const errorOf = ({ code, message, temporary }: RawResult['values']): CallbackAnswer<never> | undefined => {
  if (typeof code !== 'number' || !Number.isInteger(code) || code < MIN_ERROR || code > MAX_ERROR) return undefined;
  const known = REPLY_ERRORS[code as keyof typeof REPLY_ERRORS] as { message: string } | undefined;
  const text = typeof message === 'string' && message !== '' ? message : (known?.message ?? 'error');
  return { is: 'error', code, message: text.slice(0, MAX_MESSAGE_LENGTH), temporary: temporary === true };
};

const disconnectOf = ({ code, reason }: RawResult['values']): CallbackAnswer<never> | undefined => {
  const text = typeof reason === 'string' && reason !== '' ? reason : 'force disconnect';
  return typeof code === 'number' && maySendClose(code, text) ? { is: 'disconnect', code, reason: text } : undefined;
};

const objectOf = (text: string): RawResult['values'] | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
};

const isObject = (value: unknown): value is RawResult['values'] =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
