import { signal } from '@preact/signals';

const TOKEN_KEY = 'muster.ops';

/** The operator token of this tab; it dies with the tab. */
export const operatorToken = signal(sessionStorage.getItem(TOKEN_KEY) ?? '');
/** What came of the last order, in words. */
export const commandResult = signal('');

/** Becomes an operator, or stops being one, and says why. The token is checked with the first order. */
export const setOperatorToken = (token: string, why = ''): void => {
  operatorToken.value = token;
  commandResult.value = why;
  if (token === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
};

/** Takes an instance out of service, or back. */
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
    commandResult.value = 'The aggregator cannot be reached.';
    return;
  }
  const { detail } = (await response.json().catch(() => ({}))) as { detail?: string };
  if (response.status === 401) setOperatorToken('');
  commandResult.value = response.ok
    ? `${name} ${kind === 'drain' ? 'is taken out of service' : 'comes back'} with its next beat.`
    : `${name}: ${detail ?? `refused (${response.status})`}`;
};
