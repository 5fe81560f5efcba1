import { MusterError, newIdempotencyKey, type Send } from '@muster/client/http';
import type { ServerApiResponse } from '@muster/protocol/server-api';
import { adviceOnStores } from './fleet.ts';

/** The server API said no. */
class ApiRefusal extends Error {
  override readonly name = 'ApiRefusal';
  /** Code of the wire, or an HTTP status. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(code === 0 || code >= 400 ? message : `${message} [${code}]`);
    this.code = code;
  }
}

/** Calls a method of the gateways' server API. Throws {@link ApiRefusal} when the gateway says no. */
export type CallApi = <T>(method: string, params: object) => Promise<T>;

/** Methods that make something. The gateways take their key from the parameters, as `idempotency_key`. */
const MAKING = ['publish', 'broadcast'];

/** The gateway could not do it, and it is not the caller's fault: a store fails, or the gateway does. */
const INTERNAL = 100;

/** `url` is the origin of the fleet. `sender` carries the server API key. What makes something has a key, so that every call may be repeated. */
export const createApi =
  (url: string, sender: () => Send): CallApi =>
  async <T>(method: string, params: object): Promise<T> => {
    const key = MAKING.includes(method) ? { idempotency_key: newIdempotencyKey() } : {};
    const call = { method: 'POST', path: `/api/${method}`, body: { ...key, ...params } } as const;
    const send = sender();
    try {
      const { body } = await send<ServerApiResponse<T>>({ ...call, isSafeToRepeat: true });
      if (body?.error?.code === INTERNAL) throw await internalError(url, body.error.message);
      if (body?.error) throw new ApiRefusal(body.error.code, body.error.message);
      if (body?.result === undefined) throw new ApiRefusal(0, `the answer to ${method} is no result`);
      return body.result;
    } catch (error) {
      if (!(error instanceof MusterError) || error.status !== 401) throw error;
      throw new ApiRefusal(
        401,
        'the server API key was refused: check --server-key or MUSTER_SERVER_API_KEY',
      );
    }
  };

const internalError = async (url: string, message: string): Promise<ApiRefusal> => {
  const advice = (await adviceOnStores(url)) ?? 'check Redis, then the log of the gateways';
  return new ApiRefusal(0, `${advice}; the gateway answered: ${message} [${INTERNAL}]`);
};
