import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Skip } from '../conformance/case.ts';
import { createConformanceContext, runs, type Subject } from '../conformance/suite.ts';
import { startService, type TestService } from '../session/fixture.ts';
import { SERVER_KEY, startGateway, type TestGateway } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
let gateway: TestGateway;
let subject: Subject;
const file = join(tmpdir(), `muster-conformance-${process.pid}.json`);
/** Namespace with a small and short history. */
const BRIEF = { namespace: 'brief', size: 5, ttlMs: 1_000 };

beforeAll(async () => {
  sessions = await startService(stores);
  const { namespace: name, size, ttlMs } = BRIEF;
  const brief = { name, permissive: true, history_size: size, history_ttl: ttlMs };
  await writeFile(file, JSON.stringify({ without_namespace: { permissive: true }, namespaces: [brief] }));
  gateway = await startGateway(stores, sessions.opsUrl, { GROUPS_FILE: file });
  const { body } = await sessions.service('POST', '/v1/sessions', {
    user_id: 'u_rules',
    transport: 'bearer',
  });
  const api = async (method: string, params: object) => {
    const headers = { 'x-api-key': SERVER_KEY };
    const call = { method: 'POST', headers, body: JSON.stringify(params) };
    return (await (await fetch(`${gateway.url}/api/${method}`, call)).json()).result;
  };
  subject = { url: `${gateway.wsUrl}/connection/websocket`, token: body.token, api, retention: BRIEF };
});
afterAll(async () => {
  for (const app of [gateway, sessions]) await app?.[Symbol.asyncDispose]();
  await rm(file, { force: true });
});

test.each(runs.map(({ format, each }) => [each.rules.join(' '), format, each.title, each] as const))(
  'conformance [%s] %s: %s',
  async (_rules, format, _title, each) => {
    await each.run(createConformanceContext(subject, format)).catch((error: unknown) => {
      // The settings of this gateway allow every case.
      if (error instanceof Skip) expect.fail(`skipped: ${error.message}`);
      throw error;
    });
  },
);
