import { z } from 'zod';

/** Part of a request. */
export type InputLocation = 'body' | 'query' | 'path' | 'header' | 'cookie';

/** A member of `detail` of a 422 body, as FastAPI writes it, without the input. */
export interface Failure {
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly type: string;
}

/** An invalid request, answered 422 with every failure. */
export class ValidationFailure extends Error {
  readonly failures: readonly Failure[];

  constructor(failures: readonly Failure[]) {
    super(failures.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`).join('; '));
    this.name = 'ValidationFailure';
    this.failures = failures;
  }
}

/** Returns the parsed value, or throws {@link ValidationFailure} with every failure. */
export const validate = <S extends z.ZodType>(schema: S, location: InputLocation, value: unknown): z.output<S> => {
  const unfit = unfitText(value, [location]);
  const parsed = schema.safeParse(value);
  if (parsed.success && unfit.length === 0) return parsed.data;
  const failures = parsed.success ? [] : parsed.error.issues.flatMap((issue) => failuresOf(issue, location, value));
  throw new ValidationFailure([...failures, ...unfit]);
};

type Issue = z.core.$ZodIssue;

const failuresOf = (issue: Issue, location: InputLocation, value: unknown): Failure[] => {
  const loc = [location, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      loc: [...loc, key],
      msg: 'Extra inputs are not permitted',
      type: 'extra_forbidden',
    }));
  }
  const [type, msg] = describe(issue, value);
  return [{ loc, msg, type }];
};

const TYPE_NAMES: Readonly<Record<string, readonly [type: string, msg: string]>> = {
  string: ['string_type', 'Input should be a valid string'],
  number: ['float_type', 'Input should be a valid number'],
  int: ['int_type', 'Input should be a valid integer'],
  boolean: ['bool_type', 'Input should be a valid boolean'],
  object: ['dict_type', 'Input should be a valid dictionary'],
  record: ['dict_type', 'Input should be a valid dictionary'],
  array: ['list_type', 'Input should be a valid list'],
};

const FORMAT_NAMES: Readonly<Record<string, readonly [type: string, msg: string]>> = {
  uuid: ['uuid_parsing', 'Input should be a valid UUID'],
  guid: ['uuid_parsing', 'Input should be a valid UUID'],
  datetime: ['datetime_parsing', 'Input should be a valid datetime'],
  regex: ['string_pattern_mismatch', 'String should match the expected pattern'],
};

const describe = (issue: Issue, value: unknown): readonly [type: string, msg: string] => {
  switch (issue.code) {
    case 'invalid_type':
      if (valueAt(value, issue.path) === undefined) return ['missing', 'Field required'];
      return TYPE_NAMES[issue.expected] ?? ['value_error', 'Input has the wrong type'];
    case 'too_small':
      return sizeFailure(issue.origin, 'short', Number(issue.minimum), issue.inclusive !== false);
    case 'too_big':
      return sizeFailure(issue.origin, 'long', Number(issue.maximum), issue.inclusive !== false);
    case 'invalid_format':
      return FORMAT_NAMES[issue.format] ?? ['value_error', `Input should be a valid ${issue.format}`];
    case 'invalid_value':
      if (valueAt(value, issue.path) === undefined) return ['missing', 'Field required'];
      return ['enum', `Input should be ${issue.values.map((one) => `'${String(one)}'`).join(', ')}`];
    default:
      return ['value_error', issue.message];
  }
};

const sizeFailure = (
  origin: string,
  side: 'short' | 'long',
  bound: number,
  inclusive: boolean,
): readonly [type: string, msg: string] => {
  const limit = side === 'short' ? 'at least' : 'at most';
  if (origin === 'string') return [`string_too_${side}`, `String should have ${limit} ${bound} characters`];
  if (origin === 'array' || origin === 'set') return [`too_${side}`, `List should have ${limit} ${bound} items`];
  const relation = side === 'short' ? 'greater_than' : 'less_than';
  const words = relation.replace('_', ' ');
  return inclusive
    ? [`${relation}_equal`, `Input should be ${words} or equal to ${bound}`]
    : [relation, `Input should be ${words} ${bound}`];
};

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);

/**
 * Input that a store cannot keep: NUL (Postgres refuses it), lone surrogates (silently replaced by U+FFFD), numbers beyond the range of
 * JavaScript, and names that reach prototypes.
 */
const unfitText = (value: unknown, loc: readonly (string | number)[], depth = 0): Failure[] => {
  // Before the schema: it would recurse to the end of the value and overflow the stack.
  if (depth > MAX_DEPTH) {
    throw new ValidationFailure([{ loc, msg: `Input is nested deeper than ${MAX_DEPTH}`, type: 'value_error' }]);
  }
  if (typeof value === 'string') return unfitString(value, loc);
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return [{ loc, msg: 'Input should be a finite number', type: 'value_error' }];
  }
  if (Array.isArray(value)) return value.flatMap((one, at) => unfitText(one, [...loc, at], depth + 1));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => [
    ...unfitName(key, [...loc, key]),
    ...unfitString(key, loc),
    ...unfitText(one, [...loc, key], depth + 1),
  ]);
};

const MAX_DEPTH = 100;

const unfitName = (name: string, loc: readonly (string | number)[]): Failure[] =>
  isReservedName(name) ? [{ loc, msg: 'This name is reserved by JavaScript', type: 'value_error' }] : [];

const unfitString = (text: string, loc: readonly (string | number)[]): Failure[] => {
  if (text.includes('\0')) return [{ loc, msg: 'Text must not contain NUL characters', type: 'value_error' }];
  if (!text.isWellFormed()) return [{ loc, msg: 'Text must be well-formed Unicode', type: 'value_error' }];
  return [];
};

/** Names by which a merge in an application would reach the prototype of all objects. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype']);

/** True for a member name that stored JSON must not have at any depth. */
export const isReservedName = (name: string): boolean => RESERVED.has(name);

/** A UUID in either case (RFC 9562); the output is lower case, as stores spell it. */
export const uuidSchema = z.uuid().toLowerCase();
