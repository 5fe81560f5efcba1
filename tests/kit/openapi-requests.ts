import fc, { type Arbitrary } from 'fast-check';

// biome-ignore lint/suspicious/noExplicitAny: an OpenAPI document is JSON of any shape.
type Json = any;

/** One operation of an OpenAPI document. */
export interface DocumentedOperation {
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly { name: string; in: 'path' | 'query'; schema: Json }[];
  readonly body: Json | undefined;
  /** Takes forms and no JSON. */
  readonly isForm: boolean;
  readonly statuses: ReadonlySet<number>;
  /** Requires an API key, not a session. */
  readonly isForServices: boolean;
}

/** A request to try. */
export interface Request {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

const FORM = 'application/x-www-form-urlencoded';

/** Every operation of the document, with references resolved. */
export const operationsOf = (document: Json): DocumentedOperation[] =>
  Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      parameters: (operation.parameters ?? []).filter((one: Json) => one.in === 'path' || one.in === 'query'),
      body: (operation.requestBody?.content?.['application/json'] ?? operation.requestBody?.content?.[FORM])?.schema,
      isForm: operation.requestBody !== undefined && !operation.requestBody.content['application/json'],
      statuses: new Set(Object.keys(operation.responses).map(Number)),
      isForServices: JSON.stringify(operation.security ?? []).includes('serviceKey'),
    })),
  );

/** Requests that fit an operation, nearly fit it, or do not fit it at all. `marker` is part of every text in them. */
export const requestFor = (operation: DocumentedOperation, marker: string): Arbitrary<Request> => {
  const { path, parameters, body } = operation;
  const values = fc.record(
    Object.fromEntries(parameters.map(({ name, schema }) => [name, fc.oneof(valueFor(schema, marker), text(marker))])),
    { requiredKeys: parameters.filter((one) => one.in === 'path').map(({ name }) => name) },
  );
  const bodies =
    body === undefined
      ? fc.constant(undefined)
      : fc.oneof(
          { arbitrary: valueFor(body, marker).map((value) => JSON.stringify(value)), weight: 3 },
          {
            arbitrary: fc.tuple(valueFor(body, marker), fc.string(), anyJson(marker)).map(spoiled),
            weight: 3,
          },
          { arbitrary: anyJson(marker).map((value) => JSON.stringify(value)), weight: 1 },
          { arbitrary: text(marker), weight: 1 },
        );
  return fc.tuple(values, bodies).map(([given, content]) => {
    const query = new URLSearchParams(
      parameters.flatMap(({ name, in: place }) =>
        place === 'query' && name in given ? [[name, String(given[name])]] : [],
      ),
    );
    const filled = path.replaceAll(
      /\{(\w+)\}/g,
      (_, name) => encodeURIComponent(wellFormed(String(given[name]))) || '-',
    );
    return {
      path: query.size === 0 ? filled : `${filled}?${query}`,
      headers: content === undefined ? {} : { 'content-type': operation.isForm ? FORM : 'application/json' },
      ...(content === undefined ? {} : { body: operation.isForm ? formOf(content) : content }),
    };
  });
};

/** Members as parameters; any value but an object is unchanged. */
const formOf = (json: string): string => {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value !== 'object' || value === null) return json;
    return new URLSearchParams(Object.entries(value).map(([name, one]) => [name, String(one)])).toString();
  } catch {
    return json;
  }
};

const wellFormed = (value: string): string => value.toWellFormed();

/** One member of an otherwise fitting body replaced or added. */
const spoiled = ([value, key, other]: [unknown, string, unknown]): string => {
  if (typeof value !== 'object' || value === null) return JSON.stringify(other);
  const names = Object.keys(value);
  const name = names.length > 0 && key.length % 2 === 0 ? names[key.length % names.length] : `x${key}`;
  return JSON.stringify({ ...value, [name ?? 'x']: other });
};

const text = (marker: string): Arbitrary<string> =>
  fc
    .oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom('', '\0', '\ud800', '%', "';--", '../..', '{}'))
    .map((one) => marker + one);

const anyJson = (marker: string): Arbitrary<unknown> =>
  fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constant(null),
      fc.boolean(),
      fc.double(),
      fc.integer(),
      text(marker),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('a', 'b', 'constructor', 'toString'), tie('value'), { maxKeys: 3 }),
    ),
  })).value as Arbitrary<unknown>;

/** Values of a JSON schema, as far as our documents use it. */
const valueFor = (schema: Json, marker: string): Arbitrary<unknown> => {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants !== undefined) return fc.oneof(...variants.map((one: Json) => valueFor(one, marker)));
  if (Array.isArray(schema.type))
    return fc.oneof(...schema.type.map((type: string) => valueFor({ ...schema, type }, marker)));
  switch (schema.type) {
    case 'string':
      return stringFor(schema, marker);
    case 'integer':
    case 'number':
      return fc.integer({
        min: Math.max(schema.minimum ?? -10, -1e6),
        max: Math.min(schema.maximum ?? 1_000, 1e6),
      });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(valueFor(schema.items ?? {}, marker), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? 3, 4),
      });
    case 'object':
      return objectFor(schema, marker);
    default:
      return anyJson(marker);
  }
};

const stringFor = (schema: Json, marker: string): Arbitrary<string> => {
  if (schema.format === 'uuid') return fc.uuid({ version: 4 });
  if (schema.format === 'date-time')
    return fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.toISOString());
  if (schema.pattern !== undefined) return fc.stringMatching(new RegExp(schema.pattern));
  const max = schema.maxLength ?? 40;
  return text(marker).map((one) => one.slice(0, Math.max(max, 1)));
};

const objectFor = (schema: Json, marker: string): Arbitrary<unknown> => {
  const properties = Object.entries<Json>(schema.properties ?? {});
  if (properties.length === 0) return fc.dictionary(fc.constantFrom('a', 'b', 'c'), anyJson(marker), { maxKeys: 3 });
  return fc.record(Object.fromEntries(properties.map(([name, one]) => [name, valueFor(one, marker)])), {
    requiredKeys: schema.required ?? [],
  });
};
