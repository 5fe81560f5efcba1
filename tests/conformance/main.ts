import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KINDS, Skip } from './case.ts';
import { createConformanceContext, runs, type Subject } from './suite.ts';
import { FORMATS } from './wire.ts';

const HELP = `npm run conformance -- [URL] [options]      tests a running gateway against the rules of the protocol

  URL                 endpoint, such as ws://127.0.0.1:8080/connection/websocket (default: the local fleet)
  --token TOKEN       token of a user with access to ordinary groups; or TOKEN in the environment (default: the local fleet's)
  --namespace NAME    namespace of the test groups (default: none)
  --api URL           server API, such as http://127.0.0.1:8080/api; needs --server-key
  --server-key KEY    key of the server API
  --format FORMAT     json, protobuf or both (default: both)
  --kind KIND         protocol (every server of the protocol), muster (Muster gateways only) or both (default: both)
  --retention NAME=SIZE,SECONDS
                      namespace that keeps SIZE publications for SECONDS; for the rules of retention
  --only TEXT         only cases whose title contains TEXT

The output is TAP. Exit code 1: a rule is violated; 2: the suite could not run.
`;

interface LocalFleet {
  readonly publicUrl: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

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
  if (answer.status !== 201) throw new Error(`POST /v1/sessions: expected 201, got ${answer.status}`);
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
  const [, namespace = '', size, seconds] = /^([-\w.]{0,64})=([1-9]\d{0,2}),(\d{1,2}(?:\.\d)?)$/.exec(text) ?? [];
  if (size === undefined) throw new Error('--retention: expected NAME=SIZE,SECONDS, such as brief=5,1');
  return { namespace, size: Number(size), ttlMs: Number(seconds) * 1000 };
};

const subjectFrom = async ({ values, positionals }: ReturnType<typeof options>): Promise<Subject> => {
  const [endpoint] = positionals;
  // The credentials of the local fleet are sent to the local fleet only.
  const local = endpoint === undefined ? localFleet() : undefined;
  const url = endpoint ?? local?.publicUrl.replace(/^http/, 'ws').concat('/connection/websocket');
  if (url === undefined) throw new Error('no local fleet is running: pass the URL of an endpoint');
  const token = values.token ?? process.env['TOKEN'] ?? (local && (await signIn(local)));
  if (token === undefined) throw new Error('--token: required with a URL; pass it or set TOKEN');
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
  const parsed = options();
  const { format, kind, only, help } = parsed.values;
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const subject = await subjectFrom(parsed);
  const formats = FORMATS.filter((name) => format === 'both' || format === name);
  if (formats.length === 0) throw new Error('--format: expected json, protobuf or both');
  const kinds = KINDS.filter((name) => kind === 'both' || kind === name);
  if (kinds.length === 0) throw new Error('--kind: expected protocol, muster or both');
  const selected = runs.filter(
    ({ format: name, each }) => formats.includes(name) && kinds.includes(each.kind) && each.title.includes(only),
  );
  print(`TAP version 14\n1..${selected.length}`);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [index, { format: encoding, each }] of selected.entries()) {
    const name = `${index + 1} - [${each.rules.join(' ')}] ${encoding}: ${each.title.replaceAll('#', '\\#')}`;
    try {
      await each.run(createConformanceContext(subject, encoding));
      counts.passed += 1;
      print(`ok ${name}`);
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof Skip) {
        counts.skipped += 1;
        print(`ok ${name} # SKIP ${message}`);
      } else {
        counts.failed += 1;
        print(`not ok ${name}\n  ---\n  message: ${JSON.stringify(message)}\n  ...`);
      }
    }
  }
  print(`# ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped, at ${subject.url}`);
  return counts.failed === 0 ? 0 : 1;
};

process.exitCode = await run().catch((error: unknown) => {
  process.stderr.write(`conformance: ${(error as Error).message}; see --help\n`);
  return 2;
});
