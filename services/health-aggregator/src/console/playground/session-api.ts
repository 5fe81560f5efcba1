const TOKEN_KEY = 'muster.token';

/** The token of a session that belongs to this tab alone; it dies with the tab. */
export const tabToken = {
  read: (): string | undefined => sessionStorage.getItem(TOKEN_KEY) ?? undefined,
  keep: (token: string): void => sessionStorage.setItem(TOKEN_KEY, token),
  forget: (): void => sessionStorage.removeItem(TOKEN_KEY),
};

const COOKIE_HINT = 'muster.cookie';

/** Notes whether this browser was given a session cookie, which scripts cannot see. */
export const rememberCookie = (isThere: boolean): void => {
  if (isThere) localStorage.setItem(COOKIE_HINT, '1');
  else localStorage.removeItem(COOKIE_HINT);
};

/** False when asking who we are would surely be answered with 401. */
export const mayBeSignedIn = (): boolean =>
  tabToken.read() !== undefined || localStorage.getItem(COOKIE_HINT) !== null;

/** What a call came to. A refusal has a text that a person can use. */
export type PlaygroundResponse<T> =
  | { readonly ok: true; readonly data: T }
  | { readonly ok: false; readonly status: number; readonly text: string };

interface Problem {
  readonly title?: string;
  readonly detail?: unknown;
}

/** Calls the session service as this tab's own session, or as the browser's cookie session. Never rejects. */
export const call = async <T>(
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
    return { ok: false, status: response.status, text: await explain(response) };
  } catch (error) {
    const isSlow = error instanceof DOMException && error.name === 'TimeoutError';
    const text = isSlow
      ? 'The session service took longer than 10 seconds.'
      : 'The session service cannot be reached.';
    return { ok: false, status: 0, text };
  }
};

const explain = async (response: Response): Promise<string> => {
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const detail = typeof problem.detail === 'string' ? problem.detail : '';
  const said = detail || problem.title || '';
  switch (response.status) {
    case 404:
      return 'This fleet gives no guest sessions. Start the session service with GUEST_SESSIONS=on.';
    case 429:
      return `Too many attempts. ${said}`;
    case 502:
    case 503:
    case 504: {
      const wait = response.headers.get('retry-after');
      return `The session service is not available right now. ${said}${wait ? ` Try again in ${wait} s.` : ''}`;
    }
    default:
      return said ? `Refused (${response.status}): ${said}` : `Refused with status ${response.status}.`;
  }
};
