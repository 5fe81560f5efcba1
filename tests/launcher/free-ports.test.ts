import { execFileSync } from 'node:child_process';
import { freePorts, isPortFree } from '@muster/local/ports';
import { expect, test } from 'vitest';

const PORTS = new URL('../../packages/local/src/ports.ts', import.meta.url).href;

test.runIf(process.platform === 'linux')('[LA23] a free port is given to one process only', async () => {
  const [port = 0] = await freePorts(1);
  expect(await isPortFree(port)).toBe(true);
  // A second process whose random numbers all select this port.
  const script = `
    const { freePorts } = await import(${JSON.stringify(PORTS)});
    console.log(await freePorts(1, () => (${port} + 0.5 - 20_000) / 12_000).catch((error) => error.message));`;
  const other = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(other).toContain('no 1 free ports');
});
