import { canInstall, findProgram, installPackage } from '@muster/local/programs';

const say = (line: string) => void process.stdout.write(`prometheus tests: ${line}\n`);
let looked = false;

/** A program of the Debian package `prometheus`, which is installed where it may be. Undefined, and said aloud, without one. */
export const findPrometheusProgram = async (name: 'prometheus' | 'promtool'): Promise<string | undefined> => {
  const find = () => findProgram([name], process.env['PATH'] ?? '');
  if (find() === undefined && canInstall() && !looked) {
    looked = true;
    await installPackage('prometheus', { env: process.env, say });
  }
  if (find() === undefined) {
    say(`NOT RUN: no ${name} on this machine. Install the Debian package "prometheus", or put it on PATH.`);
  }
  return find();
};
