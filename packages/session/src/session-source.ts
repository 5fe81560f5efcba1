import { after } from '@muster/kit/clock';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { decodeSnapshot, type Snapshot } from './session-snapshot.ts';
import { parseSessionId, type SessionId } from './token.ts';

/** Session as the session service reports it. */
export type SessionSourceResult =
  | { readonly is: 'live'; readonly snapshot: Snapshot }
  | { readonly is: 'ended'; readonly reason: string; readonly tenant?: string }
  | { readonly is: 'unknown' };

/** Client of the session service, for sessions that Redis does not decide. Rejects when the service is unreachable. */
export interface SessionSource {
  /** Checks within 2 ms are sent as one request. */
  check(id: SessionId): Promise<SessionSourceResult>;
  /** Reports the first use of a rotation's new secret: the old secret then expires in 30 s. */
  confirm?(id: SessionId, rev: number): Promise<void>;
  /** Ends and changes of the last minute. */
  recentChanges(): Promise<RecentChanges>;
}

/** Client of the session services over HTTP. */
export interface HttpSessionSource extends SessionSource {
  /** Resolves when a session service answers and accepts the key; else rejects with the cause. */
  ping(): Promise<void>;
}

/** Changes of sessions, for a gateway that does not receive the bus. */
export interface RecentChanges {
  readonly ended: readonly { readonly id: SessionId; readonly why: string }[];
  /** Live sessions, each with its newest revision. */
  readonly changed: readonly { readonly id: SessionId; readonly why: string; readonly rev: number }[];
}

export interface SessionSourceOptions {
  /** Origins of the internal listeners of one fleet, tried in turn. */
  readonly urls: readonly string[];
  readonly apiKey: string;
  /** Timeout of a request, in ms. */
  readonly timeoutMs?: number;
}

const CHECK_BATCH_WINDOW_MS = 2;
const MAX_IDS = 200;
const TIMEOUT_MS = 1_000;
const RECENT_S = 60;

export const createSessionSource = ({
  urls,
  apiKey,
  timeoutMs = TIMEOUT_MS,
}: SessionSourceOptions): HttpSessionSource => {
  const waiting = new Map<SessionId, PromiseWithResolvers<SessionSourceResult>>();

  let preferred = 0;

  const request = async (path: string, init: RequestInit = {}): Promise<unknown> => {
    for (let tries = 1; ; tries += 1) {
      try {
        return await requestFrom(urls[preferred % urls.length] ?? '', path, init);
      } catch (error) {
        preferred += 1;
        if (tries >= urls.length) throw error;
      }
    }
  };
  const requestFrom = async (url: string, path: string, init: RequestInit): Promise<unknown> => {
    const response = await fetch(new URL(path, url), {
      ...init,
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new SourceErrorResponse(response.status);
    }
    return response.status === 204 ? undefined : response.json();
  };

  const ask = async (ids: readonly SessionId[]): Promise<Map<string, SessionSourceResult>> => {
    const body = await request('/internal/sessions/check', {
      method: 'POST',
      body: JSON.stringify({ ids }),
    });
    return new Map(sessionsOf(body).map((one) => [String(one['id']), answerOf(one)]));
  };

  const flush = async (): Promise<void> => {
    const batch = [...waiting].slice(0, MAX_IDS);
    for (const [id] of batch) waiting.delete(id);
    if (waiting.size > 0) void flush();
    try {
      const answers = await ask(batch.map(([id]) => id));
      for (const [id, question] of batch) question.resolve(answers.get(id) ?? { is: 'unknown' });
    } catch (error) {
      for (const [, question] of batch) question.reject(error);
    }
  };

  return {
    check: (id) => {
      const asked = waiting.get(id);
      if (asked !== undefined) return asked.promise;
      if (waiting.size === 0) after(CHECK_BATCH_WINDOW_MS, () => void flush());
      const question = Promise.withResolvers<SessionSourceResult>();
      waiting.set(id, question);
      return question.promise;
    },
    confirm: async (id, rev) => {
      const init = { method: 'POST', body: JSON.stringify({ id, rev }) };
      await request('/internal/sessions/confirm', init);
    },
    ping: async () => {
      const asked = urls.map((url) =>
        requestFrom(url, '/internal/ping', {}).catch((error: unknown) => {
          // Earlier versions of the session service answer 404.
          if (!(error instanceof SourceErrorResponse) || error.status !== 404) throw error;
        }),
      );
      await Promise.any(asked).catch(({ errors }: AggregateError) => {
        // A rejected key needs an operator; an unreachable service may recover.
        throw errors.find((error) => error instanceof SourceErrorResponse) ?? errors[0];
      });
    },
    recentChanges: async () => {
      const body = await request(`/internal/ended?since=${RECENT_S}`);
      return { ended: sessionsOf(body).flatMap(changeOf), changed: changedOf(body).flatMap(changeOf) };
    },
  };
};

/** Error response of a session service. */
class SourceErrorResponse extends Error {
  override readonly name = 'SourceErrorResponse';
  readonly status: number;
  /** For the reason of the failed dependency check. */
  readonly code: 'INVALID_INTERNAL_API_KEY' | undefined;

  constructor(status: number) {
    const isKeyRejected = status === 401 || status === 403;
    super(
      isKeyRejected
        ? `the session service rejected INTERNAL_API_KEY [${status}]: set the same value in gateways and session services`
        : `the session service answered ${status}`,
    );
    this.status = status;
    this.code = isKeyRejected ? 'INVALID_INTERNAL_API_KEY' : undefined;
  }
}

type Fields = Readonly<Record<string, unknown>>;

const sessionsOf = (body: unknown): readonly Fields[] => {
  const { sessions } = (body ?? {}) as { sessions?: unknown };
  if (!Array.isArray(sessions)) throw new Error('the session service answered something else');
  return sessions.filter((one): one is Fields => typeof one === 'object' && one !== null);
};

/** A session service of an older version does not return changes. */
const changedOf = (body: unknown): readonly Fields[] => {
  const { changed } = body as { changed?: unknown };
  return changed === undefined ? [] : sessionsOf({ sessions: changed });
};

const changeOf = (one: Fields): { id: SessionId; why: string; rev: number }[] => {
  const id = parseSessionId(String(one['id']));
  return id === undefined ? [] : [{ id, why: String(one['why']), rev: Number(one['rev']) || 0 }];
};

const answerOf = (one: Fields): SessionSourceResult => {
  if (one['state'] === 'ended') {
    const tenant = one['tenant'];
    return {
      is: 'ended',
      reason: String(one['reason']),
      ...(typeof tenant === 'string' && tenant !== DEFAULT_TENANT ? { tenant } : {}),
    };
  }
  if (one['state'] !== 'live') return { is: 'unknown' };
  // Decoded as in Redis: an invalid snapshot is an error.
  const read = decodeSnapshot(`0|${JSON.stringify(one['snapshot'])}`, parseSessionId(String(one['id'])));
  if (read.is !== 'live') throw new Error('the session service answered an invalid snapshot');
  return read;
};
