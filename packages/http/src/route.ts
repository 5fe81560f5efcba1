import type { Request, Response } from 'express';
import type { z } from 'zod';

/** Result of a handler. */
export interface RouteReply {
  readonly status: number;
  /** Serialised as JSON; absent for 204 and the like. */
  readonly body?: unknown;
  /** Sent unchanged instead of `body`; set `Content-Type` in the headers. */
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

/** `nothing` beside others makes them optional. */
export type SecurityScheme = 'serviceKey' | 'serverKey' | 'sessionCookie' | 'sessionBearer' | 'nothing';

/**
 * Accepts `application/x-www-form-urlencoded` beside JSON or instead of it. Any website can send forms: such a route must not
 * authenticate by cookie.
 */
export type Forms = 'also' | 'only';

interface Answer {
  readonly description: string;
  readonly schema?: z.ZodType;
}

/** Validated input of a request. */
export interface Input<P, Q, B, A> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Result of `guard`. */
  readonly auth: A;
  readonly req: Request;
  readonly res: Response;
}

interface RouteOptions<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType, A> {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** Express path, such as `/v1/sessions/:id`. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly SecurityScheme[];
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly forms?: Forms;
  readonly responses: Readonly<Record<number, Answer>>;
  /** Runs before the body is read, so that a rejected client learns nothing about valid input. */
  readonly guard?: (req: Request, res: Response) => Promise<A> | A;
  readonly handle: (input: Input<z.output<P>, z.output<Q>, z.output<B>, A>) => Promise<RouteReply> | RouteReply;
}

/** Description of an operation for the OpenAPI document. */
export interface Operation {
  readonly method: RouteOptions<z.ZodObject, z.ZodObject, z.ZodType, unknown>['method'];
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly SecurityScheme[];
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  readonly forms?: Forms;
  readonly responses: Readonly<Record<number, Answer>>;
}

/** A route with any schemas. */
export interface Route extends Operation {
  readonly guard?: (req: Request, res: Response) => unknown;
  // A handler's input is contravariant; `route` has checked that it fits the schemas beside it.
  readonly handle: (input: Input<never, never, never, never>) => Promise<RouteReply> | RouteReply;
}

/** Declares a route. Its schemas validate requests and describe the operation in the OpenAPI document. */
export const route = <
  P extends z.ZodObject = z.ZodObject<Record<never, never>>,
  Q extends z.ZodObject = z.ZodObject<Record<never, never>>,
  B extends z.ZodType = z.ZodUndefined,
  A = undefined,
>(
  options: RouteOptions<P, Q, B, A>,
): Route => options as unknown as Route;
