import { findOrInstall, findProgram } from '@muster/local/programs';

const say = (line: string) => void process.stdout.write(`prometheus tests: ${line}\n`);

/** A program of the Debian package `prometheus`, which is installed where it may be. Undefined, and said aloud, without one. */
export const findPrometheusProgram = async (name: 'prometheus' | 'promtool'): Promise<string | undefined> => {
  const find = (path: string) => findProgram([name], path);
  const found = await findOrInstall(find, 'prometheus', { env: process.env, log: say });
  if (found === undefined) {
    say(`NOT RUN: no ${name} on this machine. Install the Debian package "prometheus", or put it on PATH.`);
  }
  return found;
};
