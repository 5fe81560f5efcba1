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
