const TOKEN_KEY = 'muster.token';

/** Token of the session of this tab alone, kept in the session storage. */
export const tabToken = {
  read: (): string | undefined => sessionStorage.getItem(TOKEN_KEY) ?? undefined,
  keep: (token: string): void => sessionStorage.setItem(TOKEN_KEY, token),
  forget: (): void => sessionStorage.removeItem(TOKEN_KEY),
};

const COOKIE_HINT = 'muster.cookie';

/** Records whether this browser has a session cookie, which scripts cannot read. */
export const rememberCookie = (hasCookie: boolean): void => {
  if (hasCookie) localStorage.setItem(COOKIE_HINT, '1');
  else localStorage.removeItem(COOKIE_HINT);
};

/** False when a request for the session would certainly return 401. */
export const mayBeSignedIn = (): boolean => tabToken.read() !== undefined || localStorage.getItem(COOKIE_HINT) !== null;

/** Result of a request; a failure has a text for the user. */
export type PlaygroundResponse<T> =
  | { readonly ok: true; readonly data: T }
  | { readonly ok: false; readonly status: number; readonly text: string };

interface Problem {
  readonly title?: string;
  readonly detail?: unknown;
}

/** Calls the session service with the token of this tab or the cookie of the browser. Never rejects. */
export const requestSession = async <T>(
  method: string,
  path: string,
  body?: object,
): Promise<PlaygroundResponse<T>> => {
  const token = tabToken.read();
  const headers: Record<string, string> = { accept: 'application/json' };
  if (token) headers['authorization'] = `Bearer ${token}`;
  if (body) headers['content-type'] = 'application/json';
  try {
    const response = await fetch(path, {
      method,
      headers,
      // A token and the cookie of another session in one request would be ambiguous.
      credentials: token ? 'omit' : 'same-origin',
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(10_000),
    });
    if (response.ok) {
      const text = await response.text();
      return { ok: true, data: (text === '' ? undefined : JSON.parse(text)) as T };
    }
    return { ok: false, status: response.status, text: await errorTextOf(response) };
  } catch (error) {
    const isSlow = error instanceof DOMException && error.name === 'TimeoutError';
    const text = isSlow
      ? 'The session service did not respond within 10 seconds.'
      : 'The session service is unreachable.';
    return { ok: false, status: 0, text };
  }
};

const errorTextOf = async (response: Response): Promise<string> => {
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const detail = typeof problem.detail === 'string' ? problem.detail : '';
  const problemText = detail || problem.title || '';
  switch (response.status) {
    case 404:
      return 'Guest sessions are disabled. Set GUEST_SESSIONS=on for the session service.';
    case 429:
      return `Too many attempts. ${problemText}`;
    case 502:
    case 503:
    case 504: {
      const wait = response.headers.get('retry-after');
      return `The session service is unavailable. ${problemText}${wait ? ` Retry in ${wait} s.` : ''}`;
    }
    default:
      return problemText
        ? `Request failed (${response.status}): ${problemText}`
        : `Request failed with status ${response.status}.`;
  }
};
