import { MusterError, newIdempotencyKey, type Send } from '@muster/client/http';
import type { ServerApiResponse } from '@muster/protocol/server-api';
import { adviceOnStores } from './fleet.ts';

class ServerApiFailure extends Error {
  override readonly name = 'ServerApiFailure';
  /** Error code of the protocol, or an HTTP status. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(code === 0 || code >= 400 ? message : `${message} [${code}]`);
    this.code = code;
  }
}

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
      if (body?.error) throw new ServerApiFailure(body.error.code, body.error.message);
      if (body?.result === undefined)
        throw new ServerApiFailure(0, `${method}: expected a result or an error in the response`);
      return body.result;
    } catch (error) {
      if (!(error instanceof MusterError) || error.status !== 401) throw error;
      throw new ServerApiFailure(401, 'the server API key was refused: check --server-key or MUSTER_SERVER_API_KEY');
    }
  };

const internalError = async (url: string, message: string): Promise<ServerApiFailure> => {
  const advice = (await adviceOnStores(url)) ?? 'check Redis, then the log of the gateways';
  return new ServerApiFailure(0, `${advice}; the gateway answered: ${message} [${INTERNAL}]`);
};
