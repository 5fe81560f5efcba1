import type { ApiReply, TestService } from './fixture.ts';

export const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const TYPE = 'urn:ietf:params:oauth:token-type';

/** The body of a token exchange. */
export const bodyOf = (token: string, more: object = {}) => ({
  grant_type: GRANT,
  subject_token: token,
  subject_token_type: `${TYPE}:id_token`,
  ...more,
});

/** Exchanges a token at a service. */
export const exchangeAt = (
  service: TestService,
  token: string,
  more: object = {},
  headers: Record<string, string> = {},
): Promise<ApiReply> => service.call('POST', '/v1/token-exchange', { json: bodyOf(token, more), headers });

let users = 0;
/** A user id that no other test of the file has. */
export const newUser = (): string => {
  users += 1;
  return `person-${users}`;
};
