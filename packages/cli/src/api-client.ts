import { MusterError, newIdempotencyKey, type Send } from '@muster/client/http';
import type { ServerApiResponse } from '@muster/protocol/server-api';
import { adviceOnStores } from './fleet.ts';

/** Calls a method of the gateways' server API. Rejects with an error that names the remedy. */
export type CallApi = <T>(method: string, params: object) => Promise<T>;

/** Methods that need an idempotency key, sent as the parameter `idempotency_key`. */
const KEYED = ['publish', 'broadcast'];

/** Error code of a fault of the gateway or its stores. */
const INTERNAL = 100;

/** `sender` carries the server API key. Every call may be retried: those that create something have an idempotency key. */
export const createApi =
  (url: string, sender: () => Send): CallApi =>
  async <T>(method: string, params: object): Promise<T> => {
    const key = KEYED.includes(method) ? { idempotency_key: newIdempotencyKey() } : {};
    const call = { method: 'POST', path: `/api/${method}`, body: { ...key, ...params } } as const;
    const send = sender();
    try {
      const { body } = await send<ServerApiResponse<T>>({ ...call, isSafeToRepeat: true });
      if (body?.error?.code === INTERNAL) throw await internalError(url, body.error.message);
      if (body?.error) throw new Error(refusalText(body.error));
      if (body?.result === undefined) throw new Error(`${method}: expected a result or an error in the response`);
      return body.result;
    } catch (error) {
      if (!(error instanceof MusterError) || error.status !== 401) throw error;
      throw new Error('the server API key was refused: check --server-key or MUSTER_SERVER_API_KEY');
    }
  };

/** Message with the error code of the protocol, without an HTTP status. */
const refusalText = ({ code, message }: { readonly code: number; readonly message: string }): string =>
  code === 0 || code >= 400 ? message : `${message} [${code}]`;

const internalError = async (url: string, message: string): Promise<Error> => {
  const advice = (await adviceOnStores(url)) ?? 'check Redis, then the log of the gateways';
  return new Error(`${advice}; the gateway answered: ${message} [${INTERNAL}]`);
};
