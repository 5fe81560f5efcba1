import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DocumentedOperation, operationsOf, requestFor } from '../kit/openapi-requests.ts';
import { SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;
let token = '';
let operations: readonly DocumentedOperation[] = [];

beforeAll(async () => {
  service = await startService(stores, {
    GUEST_LIMIT_PER_MINUTE: '1000000',
    FAILURE_LIMIT_PER_MINUTE: '1000000',
    OIDC_ISSUERS: '[{"name":"nobody","issuer":"https://nobody.invalid","audience":["x"]}]',
  });
  const document = (await service.call('GET', '/openapi.json')).body;
  operations = operationsOf(document);
  token = await freshToken();
});
afterAll(() => service[Symbol.asyncDispose]());

const freshToken = async (): Promise<string> =>
  (await service.service('POST', '/v1/sessions', { user_id: 'fuzz' })).body.token;

/** Answers that any operation may give, documented or not: they come from before or around it. */
const COMMON = new Set([400, 401, 403, 404, 413, 415, 422, 429]);
const RUNS = 40;
/** Stands in every string value that is sent; a refusal that shows it echoes its input. */
const MARKER = 'zq7marker';

test('[HT13] given any request near the document, the response is documented, not 5xx, and without an echo', async () => {
  expect(operations.length).toBeGreaterThan(8);
  for (const operation of operations) {
    const keys = operation.isForServices ? SERVICE_KEY : undefined;
    const property = fc.asyncProperty(requestFor(operation, MARKER), async (request) => {
      const bearer = keys ?? token;
      const headers = { authorization: `Bearer ${bearer}`, ...request.headers };
      const answer = await service.call(operation.method, request.path, { ...request, headers });
      const told = `${operation.method} ${request.path} ${request.body ?? ''} → ${answer.status} ${JSON.stringify(answer.body)}`;
      if (answer.status >= 500) throw new Error(`a fault: ${told}`);
      if (!operation.statuses.has(answer.status) && !COMMON.has(answer.status))
        throw new Error(`not documented: ${told}`);
      if (answer.status >= 400 && JSON.stringify(answer.body).includes(MARKER)) throw new Error(`an echo: ${told}`);
      if (answer.status === 401 || answer.headers.get('set-cookie')?.includes('Max-Age=0')) token = await freshToken();
    });
    await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
  }
  expect(service.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
});
