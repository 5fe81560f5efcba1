import { spawn } from 'node:child_process';
import { until } from '@muster/testkit/wait';

/** The example application, running on a free port. */
export interface NotesApp extends AsyncDisposable {
  readonly url: string;
}

/** Starts it in a directory that holds `.muster/fleet.json`. */
export const startNotesApp = async (cwd: string): Promise<NotesApp> => {
  const child = spawn(process.execPath, ['packages/client/examples/notes/main.ts'], {
    cwd,
    env: { ...process.env, PORT: '0' },
  });
  let written = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (written += chunk));
  const url = await until(() => /open (http:\/\/[\d.:]+)\//.exec(written)?.[1], {
    what: 'the example to listen',
  });
  return {
    url: url ?? '',
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null) return;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill();
      await exited;
    },
  };
};
