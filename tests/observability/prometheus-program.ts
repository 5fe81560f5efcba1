import { findOrInstall, findProgram } from '@muster/local/programs';

const print = (line: string) => void process.stdout.write(`prometheus tests: ${line}\n`);

/** Path of a program of the Debian package `prometheus`, which is installed when permitted. Undefined, with a line of output, without it. */
export const findPrometheusProgram = async (name: 'prometheus' | 'promtool'): Promise<string | undefined> => {
  const find = (path: string) => findProgram([name], path);
  const found = await findOrInstall(find, 'prometheus', { env: process.env, log: print });
  if (found === undefined) {
    print(`NOT RUN: no ${name} on this machine. Install the Debian package "prometheus", or put it on PATH.`);
  }
  return found;
};
