import { commandResult, operatorToken, setOperatorToken } from './operator-token.ts';

/** Result of an operator's request. */
export type OperatorResponse<T> =
  | { readonly ok: true; readonly data: T }
  | { readonly ok: false; readonly why: string };

const TIMEOUT_MS = 8_000;

/** Path with the query parameters that are not empty. */
export const pathWith = (path: string, query: Readonly<Record<string, string>>): string => {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ''));
  return parameters.size === 0 ? path : `${path}?${parameters}`;
};

/** Sends a request with the operator token. Never rejects. A rejected token is removed. */
export const requestAsOperator = async <T>(path: string, init: RequestInit = {}): Promise<OperatorResponse<T>> => {
  try {
    const response = await fetchAsOperator(path, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok
      ? { ok: true, data: (await response.json()) as T }
      : { ok: false, why: await errorTextOf(response) };
  } catch {
    return { ok: false, why: 'The aggregator did not respond.' };
  }
};

/** Sends the request; rejects without a response. */
export const fetchAsOperator = (path: string, init: RequestInit): Promise<Response> =>
  fetch(path, {
    ...init,
    headers: {
      authorization: `Bearer ${operatorToken.value}`,
      ...(init.body ? { 'content-type': 'application/json' } : {}),
    },
  });

/** Error text of a response. Status 401 removes the token and gives an empty text. */
export const errorTextOf = async (response: Response): Promise<string> => {
  if (response.status === 401) {
    setOperatorToken('', 'The operator token is not valid.');
    return '';
  }
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: unknown };
  return typeof detail === 'string' ? detail : `Request failed with status ${response.status}.`;
};

/** Drains or resumes an instance. */
export const sendOperatorCommand = async (name: string, kind: 'drain' | 'resume', reason = ''): Promise<void> => {
  const response = await requestAsOperator(
    `/v1/instances/${encodeURIComponent(name)}/drain`,
    kind === 'drain' ? { method: 'POST', body: JSON.stringify({ reason }) } : { method: 'DELETE' },
  );
  if (response.ok) commandResult.value = `${name}: ${kind} requested; it takes effect with the next heartbeat.`;
  else if (response.why !== '') commandResult.value = `${name}: ${response.why}`;
};
