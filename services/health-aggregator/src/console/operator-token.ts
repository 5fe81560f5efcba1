import { signal } from '@preact/signals';

const TOKEN_KEY = 'muster.ops';

/** Operator token of this tab, kept in the session storage. */
export const operatorToken = signal(sessionStorage.getItem(TOKEN_KEY) ?? '');
/** Result of the last operator command, one sentence. */
export const commandResult = signal('');

/** Signs the operator in or, with an empty token, out. The token is checked by the first request. */
export const setOperatorToken = (token: string, why = ''): void => {
  operatorToken.value = token;
  commandResult.value = why;
  if (token === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
};

/** Drains or resumes an instance. */
export const sendOperatorCommand = async (
  name: string,
  kind: 'drain' | 'resume',
  reason = '',
): Promise<void> => {
  const response = await fetch(`/v1/instances/${encodeURIComponent(name)}/drain`, {
    method: kind === 'drain' ? 'POST' : 'DELETE',
    headers: {
      authorization: `Bearer ${operatorToken.value}`,
      ...(kind === 'drain' ? { 'content-type': 'application/json' } : {}),
    },
    ...(kind === 'drain' ? { body: JSON.stringify({ reason }) } : {}),
  }).catch(() => undefined);
  if (!response) {
    commandResult.value = 'The aggregator is unreachable.';
    return;
  }
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: string };
  if (response.status === 401) setOperatorToken('');
  commandResult.value = response.ok
    ? `${name}: ${kind} requested; it takes effect with the next heartbeat.`
    : `${name}: ${detail ?? `request failed with status ${response.status}`}`;
};
