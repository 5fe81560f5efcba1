import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';

const REQUEST_TIMEOUT_MS = 30_000;
const WATCH_RETRY_MS = 200;

/** Metadata of every object of the Kubernetes API. */
export interface ObjectMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
}

/** An object of the Kubernetes API. */
export interface KubernetesObject {
  readonly metadata: ObjectMetadata;
}

/** Formats of a PATCH. */
const PATCHES = {
  merge: 'application/merge-patch+json',
  /** Lists of conditions are merged by type. */
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

/** Status and body of an answer of kube-apiserver. */
export interface ApiAnswer<T> {
  readonly status: number;
  readonly body: T & { readonly message?: string };
}

/** Change of a watched object. */
export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: T;
}

/** Requests to kube-apiserver. Paths are those of the API, for instance `/api/v1/nodes`. */
export interface KubernetesClient extends AsyncDisposable {
  /** Answers of every status. */
  call<T>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<ApiAnswer<T>>;
  /** Rejects unless the answer is a success. */
  get<T>(path: string): Promise<T>;
  patch<T>(path: string, format: keyof typeof PATCHES, body: object): Promise<T>;
  /** Current objects of a list, then every change, until the signal aborts. */
  watch<T extends KubernetesObject>(path: string, signal: AbortSignal, onEvent: (event: WatchEvent<T>) => void): void;
}

/** Credentials of an administrator, and the certificate of the server. */
export interface KubernetesAccess {
  readonly server: string;
  readonly token: string;
  readonly certificate: string;
}

/** Creates a client. Disposing it closes its connections. */
export const createKubernetesClient = ({ server, token, certificate }: KubernetesAccess): KubernetesClient => {
  const dispatcher = new Agent({ connect: { ca: certificate }, bodyTimeout: 0 });
  const headers = { authorization: `Bearer ${token}` };

  const call: KubernetesClient['call'] = async <T>(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH',
    path: string,
    body?: object,
    type = 'application/json',
  ): Promise<ApiAnswer<T>> => {
    const answer = await request(`${server}${path}`, {
      dispatcher,
      method,
      headers: { ...headers, 'content-type': type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const text = await answer.body.text();
    const isJson = answer.headers['content-type'] === 'application/json';
    return { status: answer.statusCode, body: isJson ? JSON.parse(text) : { message: text } };
  };
  const succeed = <T>(what: string, { status, body }: ApiAnswer<T>): T => {
    if (status < 300) return body;
    throw new Error(`${what}: ${status} ${body.message ?? ''}`);
  };

  /** Lists once, then follows the changes until the connection ends. */
  const follow = async <T extends KubernetesObject>(
    path: string,
    signal: AbortSignal,
    known: Map<string, T>,
    onEvent: (event: WatchEvent<T>) => void,
  ): Promise<void> => {
    const separator = path.includes('?') ? '&' : '?';
    const { items, metadata } = succeed(path, await call<{ items: T[]; metadata: ObjectMetadata }>('GET', path));
    const before = new Map(known);
    for (const object of items) {
      before.delete(keyOf(object));
      known.set(keyOf(object), object);
      onEvent({ type: 'ADDED', object });
    }
    for (const [key, object] of before) {
      known.delete(key);
      onEvent({ type: 'DELETED', object });
    }
    const target = `${server}${path}${separator}watch=1&resourceVersion=${metadata.resourceVersion}`;
    const { statusCode, body } = await request(target, { dispatcher, headers, signal });
    if (statusCode !== 200) throw new Error(`watch ${path}: ${statusCode}`);
    let rest = '';
    for await (const chunk of body.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR' };
        if (event.type === 'ERROR') return;
        if (event.type === 'DELETED') known.delete(keyOf(event.object));
        else known.set(keyOf(event.object), event.object);
        onEvent(event);
      }
    }
  };

  return {
    call,
    get: async (path) => succeed(path, await call('GET', path)),
    patch: async <T>(path: string, format: keyof typeof PATCHES, body: object) => {
      const send = call as (method: string, path: string, body: object, type: string) => Promise<ApiAnswer<T>>;
      return succeed(path, await send('PATCH', path, body, PATCHES[format]));
    },
    watch: (path, signal, onEvent) => {
      const known = new Map();
      const forever = async (): Promise<void> => {
        while (!signal.aborted) {
          await follow(path, signal, known, onEvent).catch(() => {});
          await sleep(WATCH_RETRY_MS, undefined, { signal }).catch(() => {});
        }
      };
      void forever();
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
};

const keyOf = ({ metadata }: KubernetesObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;
