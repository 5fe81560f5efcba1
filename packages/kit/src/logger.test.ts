import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** pino writes to standard output itself, so the lines are read from a process of their own. */
const linesOf = (code: string): Record<string, unknown>[] => {
  const home = fileURLToPath(new URL('./logger.ts', import.meta.url));
  const script = `import { createLogger } from ${JSON.stringify(home)};
    const log = createLogger({ level: 'info', service: 'sample', instance: 'one' });
    ${code}`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
};

test('[LG1] a line is JSON with time, level, service, instance and event', () => {
  const [line] = linesOf(`log.info({ groups: 3, text: 'a\\nb' }, 'gateway.ready'); log.debug({}, 'callback.failed');`);
  expect(line).toMatchObject({
    level: 'info',
    service: 'sample',
    instance: 'one',
    event: 'gateway.ready',
    groups: 3,
    text: 'a\nb',
  });
  expect(new Date(String(line?.['time'])).getTime()).toBeGreaterThan(0);
});

test('[LG2] secrets are replaced', () => {
  const text = JSON.stringify(
    linesOf(`log.warn({ token: 'hunter2', headers: { cookie: 'hunter2', authorization: 'hunter2' },
      req: { headers: { 'x-api-key': 'hunter2', accept: 'ok' } } }, 'dependency.down');`),
  );
  expect(text).not.toContain('hunter2');
  expect(text).toContain('"accept":"ok"');
});

test('an error is logged with its causes', () => {
  const [line] = linesOf(
    `log.error({ error: new Error('outer', { cause: new Error('inner') }) }, 'http.request_failed');`,
  );
  expect(line).toMatchObject({ error: { type: 'Error', message: 'outer', cause: { message: 'inner' } } });
});
