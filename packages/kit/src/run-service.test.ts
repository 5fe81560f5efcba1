import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** A real process around `runService`: signals and exit codes are the behaviour under test. */
const start = (mode: string, args: readonly string[] = [], env: Record<string, string> = {}) => {
  const script = `
    import { z } from 'zod';
    import { commonConfig, commonSettings } from ${JSON.stringify(fileURLToPath(new URL('./config-common.ts', import.meta.url)))};
    import { readSettings } from ${JSON.stringify(fileURLToPath(new URL('./config.ts', import.meta.url)))};
    import { field } from ${JSON.stringify(fileURLToPath(new URL('./config-fields.ts', import.meta.url)))};
    import { runService } from ${JSON.stringify(fileURLToPath(new URL('./run-service.ts', import.meta.url)))};
    const settings = z.object({ ...commonSettings({ port: 1, opsPort: 2 }), NEEDED: field.text('fallback').describe('a word') });
    await runService({
      service: 'sample', settings, argv: process.argv, env: process.env,
      readConfig: (env) => { const values = readSettings(settings, env); return { ...values, common: commonConfig(values) }; },
      createApp: async () => (setInterval(() => {}, 1000), {
        drain: (signal) => new Promise((resolve) => {
          if (${JSON.stringify(mode)} === 'quick') return resolve();
          signal.addEventListener('abort', () => { console.log('aborted'); if (${JSON.stringify(mode)} === 'slow') resolve(); });
        }),
        reload: ({ needed }) => console.log('reloaded ' + needed),
        [Symbol.asyncDispose]: async () => { console.log('disposed'); },
      }),
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-', ...args], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { PATH: process.env['PATH'], DRAIN_TIMEOUT_MS: '300', ...env },
  });
  child.stdin.end(script);
  let output = '';
  child.stdout.on('data', (part) => {
    output += part;
  });
  child.stderr.on('data', (part) => {
    output += part;
  });
  const until = async (text: string) => {
    while (!output.includes(text)) await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  };
  const exit = once(child, 'close').then(([code]) => ({ code, output }));
  return { child, exit, until };
};

/** The app announces itself by nothing, so the signal is sent when the process listens for it: after its first turn. */
const running = async (mode: string) => {
  const run = start(mode, [], { LOG_LEVEL: 'info' });
  await run.until('process.started');
  return run;
};

test('[RN1] one SIGTERM drains, disposes and exits 0', async () => {
  const run = await running('quick');
  run.child.kill('SIGTERM');
  const { code, output } = await run.exit;
  expect(output).toContain('disposed');
  expect(code).toBe(0);
});

test('[RN2] given a draining process, when a second signal arrives, then it exits at once', async () => {
  const run = await running('stuck');
  run.child.kill('SIGTERM');
  await run.until('process.draining');
  run.child.kill('SIGINT');
  const { code, output } = await run.exit;
  expect(code).toBe(1);
  expect(output).not.toContain('disposed');
});

test('[RN3] a drain beyond its deadline is aborted, disposed, and exits 1', async () => {
  const run = await running('slow');
  run.child.kill('SIGTERM');
  const { code, output } = await run.exit;
  expect(output).toContain('aborted');
  expect(output).toContain('disposed');
  expect(code).toBe(1);
});

test('[RN5] [RN8] given a running process, when SIGHUP arrives, then a valid configuration is applied, and an invalid configuration is logged', async () => {
  const needed = join(mkdtempSync(join(tmpdir(), 'reload-')), 'needed');
  writeFileSync(needed, 'first');
  const run = start('quick', [], { LOG_LEVEL: 'info', NEEDED_FILE: needed });
  await run.until('process.started');
  writeFileSync(needed, 'second');
  run.child.kill('SIGHUP');
  await run.until('reloaded second');
  rmSync(needed);
  run.child.kill('SIGHUP');
  await run.until('process.reload_failed');
  run.child.kill('SIGTERM');
  expect(await run.exit).toMatchObject({ code: 0, output: expect.not.stringContaining('reloaded first') });
});

test('[RN4] [RN6] [RN7] given --check, --help or an unknown option, then nothing is opened', async () => {
  expect(await start('quick', ['--check']).exit).toMatchObject({
    code: 0,
    output: expect.stringContaining('is valid'),
  });
  expect(await start('quick', ['--help']).exit).toMatchObject({
    code: 0,
    output: expect.stringContaining('NEEDED'),
  });
  expect(await start('quick', ['--chekc']).exit).toMatchObject({
    code: 1,
    output: expect.stringContaining('--chekc'),
  });
});
