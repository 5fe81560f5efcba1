import { runCli } from './cli.ts';

/** The second Ctrl-C ends at once. */
const interruption = (): AbortSignal => {
  const wish = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => wish.abort());
  return wish.signal;
};

process.exitCode = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  out: (text) => void process.stdout.write(`${text}\n`),
  interruption,
  err: (text) => void process.stderr.write(`${text}\n`),
});
