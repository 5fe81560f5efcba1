import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from '@asteasolutions/zod-to-openapi';
import { defined } from '@muster/kit/defined';
import { z } from 'zod';
import type { Operation, SecurityScheme } from './route.ts';

/** Title, version and description of an API document. */
export interface DocumentInfo {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  /** Name of the session cookie, for the security scheme. */
  readonly cookieName?: string;
}

const SCHEMES = (cookieName: string) =>
  ({
    serviceKey: { type: 'http', scheme: 'bearer', description: 'API key of a back end.' },
    serverKey: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      description: 'Server API key of a back end.',
    },
    sessionBearer: {
      type: 'http',
      scheme: 'bearer',
      description: 'Session token of a client without cookies.',
    },
    sessionCookie: {
      type: 'apiKey',
      in: 'cookie',
      name: cookieName,
      description: 'Session cookie of a browser.',
    },
  }) as const satisfies Record<Exclude<SecurityScheme, 'nothing'>, object>;

const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  request_id: z.string(),
});

const validationSchema = z.object({
  detail: z.array(z.object({ loc: z.array(z.union([z.string(), z.int()])), msg: z.string(), type: z.string() })),
  request_id: z.string(),
});

/** The OpenAPI 3.1 document of these operations, from the schemas that validate their requests. */
export const openApiDocument = (info: DocumentInfo, operations: readonly Operation[]): object => {
  const registry = new OpenAPIRegistry();
  const used = new Set<string>(operations.flatMap(({ security = [] }) => security));
  for (const [name, scheme] of Object.entries(SCHEMES(info.cookieName ?? 'session_id'))) {
    if (used.has(name)) registry.registerComponent('securitySchemes', name, scheme);
  }
  for (const operation of operations) registry.registerPath(pathOf(operation));
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: info.title, version: info.version, description: info.description },
  });
};

const pathOf = (route: Operation): RouteConfig => ({
  method: route.method,
  path: route.path.replaceAll(/:(\w+)/g, '{$1}'),
  operationId: operationId(route),
  summary: route.summary,
  ...defined({
    description: route.description,
    tags: route.tags && [...route.tags],
    security: route.security?.map((name) => (name === 'nothing' ? {} : { [name]: [] })),
  }),
  request: defined({
    params: route.params,
    query: route.query,
    body: route.body && { required: true, content: bodyContent(route.body, route.forms) },
  }),
  responses: Object.fromEntries(
    Object.entries(route.responses).map(([status, { description, schema }]) => {
      const type = Number(status) === 422 || Number(status) < 400 ? 'application/json' : 'application/problem+json';
      const shape = schema ?? fallbackSchema(Number(status));
      return [status, { description, ...defined({ content: shape && { [type]: { schema: shape } } }) }];
    }),
  ),
});

const bodyContent = (schema: z.ZodType, forms: Operation['forms']) => ({
  ...(forms === 'only' ? {} : { 'application/json': { schema } }),
  ...(forms === undefined ? {} : { 'application/x-www-form-urlencoded': { schema } }),
});

const fallbackSchema = (status: number): z.ZodType | undefined => {
  if (status === 422) return validationSchema;
  return status >= 400 ? problemSchema : undefined;
};

/** `GET /v1/me/sessions/:id` → `getMeSessionsById` */
const operationId = ({ method, path }: Operation): string =>
  method +
  path
    .split('/')
    .filter((part) => part !== '' && part !== 'v1')
    .map((part) =>
      part.startsWith(':') ? `By${capitalised(part.slice(1))}` : part.split('-').map(capitalised).join(''),
    )
    .join('');

const capitalised = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);
