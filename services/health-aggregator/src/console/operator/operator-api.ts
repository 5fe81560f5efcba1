import { operatorToken, setOperatorToken } from '../operator-token.ts';

/** What an operator's question came to. */
export type OperatorResponse<T> =
  | { readonly ok: true; readonly data: T }
  | { readonly ok: false; readonly why: string };

const LIMIT_MS = 8_000;

/** A path of the aggregator with the parameters that are not empty. */
export const pathWith = (path: string, query: Readonly<Record<string, string>>): string => {
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ''));
  return given.size === 0 ? path : `${path}?${given}`;
};

/** Asks the aggregator as the operator of this tab. Never rejects. A refused token is forgotten. */
export const requestAsOperator = async <T>(
  path: string,
  init: RequestInit = {},
): Promise<OperatorResponse<T>> => {
  try {
    const response = await fetchAsOperator(path, { ...init, signal: AbortSignal.timeout(LIMIT_MS) });
    return response.ok
      ? { ok: true, data: (await response.json()) as T }
      : { ok: false, why: await errorTextOf(response) };
  } catch {
    return { ok: false, why: 'The aggregator does not answer.' };
  }
};

/** The request itself; rejects when nobody answers. */
export const fetchAsOperator = (path: string, init: RequestInit): Promise<Response> =>
  fetch(path, {
    ...init,
    headers: {
      authorization: `Bearer ${operatorToken.value}`,
      ...(init.body ? { 'content-type': 'application/json' } : {}),
    },
  });

/** The refusal in words for people; a wrong token is forgotten on the way. */
export const errorTextOf = async (response: Response): Promise<string> => {
  if (response.status === 401) {
    setOperatorToken('', 'That is not the operator token of this fleet.');
    return '';
  }
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: unknown };
  return typeof detail === 'string' ? detail : `Refused with status ${response.status}.`;
};
