import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KINDS, Skip } from './case.ts';
import { createConformanceContext, runs, type Subject } from './suite.ts';
import { FORMATS } from './wire.ts';

const HELP = `npm run conformance -- [URL] [options]      tries every rule of the protocol on a running gateway

  URL                 the endpoint (default: of the fleet that npm start runs here), such as ws://127.0.0.1:8080/connection/websocket
  --token TOKEN       of a user who may subscribe and publish; or TOKEN in the environment. Without: a session of the fleet that runs here
  --namespace NAME    namespace of the groups that are used (none)
  --api URL           server API, such as http://127.0.0.1:8080/api; with --server-key, for rules that need it
  --server-key KEY
  --format FORMAT     json, protobuf or both (both)
  --kind KIND         protocol (rules of every server of this protocol), muster (rules of this gateway only) or both (both)
  --retention NAME=SIZE,SECONDS
                      a namespace that keeps SIZE publications for SECONDS; for the rules about what is kept
  --only TEXT         cases whose title holds this text

The output is TAP; the exit code is 1 when a rule is broken, 2 when the suite could not run.
`;

interface LocalFleet {
  readonly publicUrl: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const localFleet = (): LocalFleet | undefined => {
  const file = join(process.cwd(), '.muster', 'fleet.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
};

const signIn = async ({ publicUrl, serviceApiKey }: LocalFleet): Promise<string> => {
  const answer = await fetch(`${publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${serviceApiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: 'conformance', transport: 'bearer', label: 'conformance suite' }),
  });
  if (answer.status !== 201) throw new Error(`signing in answered ${answer.status}`);
  return ((await answer.json()) as { token: string }).token;
};

const apiOf = (url: string, key: string) => async (method: string, params: object) => {
  const answer = await fetch(`${url}/${method}`, {
    method: 'POST',
    headers: { 'x-api-key': key },
    body: JSON.stringify(params),
  });
  const body = (await answer.json()) as { error?: { message: string }; result?: unknown };
  if (body.error) throw new Error(`${method}: ${body.error.message}`);
  return body.result;
};

const options = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      token: { type: 'string' },
      namespace: { type: 'string', default: '' },
      api: { type: 'string' },
      'server-key': { type: 'string' },
      format: { type: 'string', default: 'both' },
      kind: { type: 'string', default: 'both' },
      retention: { type: 'string' },
      only: { type: 'string', default: '' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });

const retentionFrom = (text: string): NonNullable<Subject['retention']> => {
  const [, namespace = '', size, seconds] =
    /^([-\w.]{0,64})=([1-9]\d{0,2}),(\d{1,2}(?:\.\d)?)$/.exec(text) ?? [];
  if (size === undefined) throw new Error('--retention is NAME=SIZE,SECONDS, such as brief=5,1');
  return { namespace, size: Number(size), ttlMs: Number(seconds) * 1000 };
};

const subjectFrom = async ({ values, positionals }: ReturnType<typeof options>): Promise<Subject> => {
  const [given] = positionals;
  // Credentials of the fleet that runs here are for that fleet.
  const local = given === undefined ? localFleet() : undefined;
  const url = given ?? local?.publicUrl.replace(/^http/, 'ws').concat('/connection/websocket');
  if (url === undefined) throw new Error('no fleet runs here: give the URL of an endpoint');
  const token = values.token ?? process.env['TOKEN'] ?? (local && (await signIn(local)));
  if (token === undefined) throw new Error('--token (or TOKEN in the environment) is needed');
  const api = values.api ?? (local && `${local.publicUrl}/api`);
  const key = values['server-key'] ?? local?.serverApiKey;
  return {
    url,
    token,
    namespace: values.namespace,
    ...(values.retention === undefined ? {} : { retention: retentionFrom(values.retention) }),
    ...(api === undefined || key === undefined ? {} : { api: apiOf(api, key) }),
  };
};

const run = async (): Promise<number> => {
  const given = options();
  const { format, kind, only, help } = given.values;
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const subject = await subjectFrom(given);
  const chosen = FORMATS.filter((one) => format === 'both' || format === one);
  if (chosen.length === 0) throw new Error('--format is json, protobuf or both');
  const kinds = KINDS.filter((one) => kind === 'both' || kind === one);
  if (kinds.length === 0) throw new Error('--kind is protocol, muster or both');
  const wanted = runs.filter(
    ({ format: one, one: rule }) =>
      chosen.includes(one) && kinds.includes(rule.kind) && rule.title.includes(only),
  );
  say(`TAP version 14\n1..${wanted.length}`);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [index, { format: one, one: rule }] of wanted.entries()) {
    const name = `${index + 1} - [${rule.rules.join(' ')}] ${one}: ${rule.title.replaceAll('#', '\\#')}`;
    try {
      await rule.run(createConformanceContext(subject, one));
      counts.passed += 1;
      say(`ok ${name}`);
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof Skip) {
        counts.skipped += 1;
        say(`ok ${name} # SKIP ${message}`);
      } else {
        counts.failed += 1;
        say(`not ok ${name}\n  ---\n  message: ${JSON.stringify(message)}\n  ...`);
      }
    }
  }
  say(`# ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped, at ${subject.url}`);
  return counts.failed === 0 ? 0 : 1;
};

process.exitCode = await run().catch((error: unknown) => {
  process.stderr.write(`conformance: ${(error as Error).message}; --help tells how\n`);
  return 2;
});
