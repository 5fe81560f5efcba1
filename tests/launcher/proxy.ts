import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findHaproxy, type ProxyPlan, renderProxyConfig } from '@muster/local/haproxy';
import { temporaryDirectory } from './fake-fleet.ts';

const TEMPLATE = fileURLToPath(new URL('../../deploy/haproxy/haproxy.cfg.template', import.meta.url));

/** A HAProxy process of one test with the configuration of the repository. */
export interface TestProxy extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Directory that is removed with it. */
  readonly directory: string;
}

/** Starts HAProxy. `change` may extend the configuration; `args` replace `-db`, which keeps it in one process. */
export const startTestProxy = async (
  plan: ProxyPlan,
  {
    change = (config) => config,
    args = ['-db'],
  }: { change?: (config: string, directory: string) => string; args?: readonly string[] } = {},
): Promise<TestProxy> => {
  const { path: directory, [Symbol.dispose]: remove } = temporaryDirectory();
  const file = join(directory, 'haproxy.cfg');
  writeFileSync(file, change(renderProxyConfig(readFileSync(TEMPLATE, 'utf8'), plan), directory));
  const program = await findHaproxy({ env: process.env, log: () => {} });
  const env = { ...process.env, MUSTER_DOMAIN: '' };
  const child = spawn(program.path, [...args, '-f', file], { env, stdio: 'ignore' });
  return {
    child,
    directory,
    [Symbol.asyncDispose]: async () => {
      // SIGTERM: a master stops its workers.
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      remove();
    },
  };
};
