import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { read, repositoryFiles } from './source-files.ts';

interface Workflow {
  readonly permissions?: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}
interface Job {
  readonly 'timeout-minutes'?: number;
  readonly steps: readonly { readonly uses?: string; readonly run?: string }[];
}

const files = repositoryFiles().filter((path) => /^\.github\/.*\.ya?ml$/.test(path));
const workflows = files
  .filter((path) => path.startsWith('.github/workflows/'))
  .map((path) => ({ path, workflow: parse(read(path)) as Workflow }));
const jobs = workflows.flatMap(({ path, workflow }) =>
  Object.entries(workflow.jobs).map(([name, job]) => ({ name: `${basename(path)}: ${name}`, job })),
);

test('every YAML file of .github is valid', () => {
  expect(files.length).toBeGreaterThan(6);
  for (const path of files) expect(parse(read(path)), path).toBeTypeOf('object');
});

test('no file of the repository names the host of a package registry', () => {
  const hosts = /\bregistry\.(npmjs|yarnpkg|npmmirror)\b|\bnpm\.pkg\.github\b/;
  expect(repositoryFiles().filter((path) => hosts.test(read(path)))).toEqual([]);
});

test('every action is pinned to a commit, with its version in a comment', () => {
  const uses = workflows.flatMap(({ path }) =>
    [...read(path).matchAll(/^ *(?:- )?uses: (.*)$/gm)].map(([, action = '']) => ({ path, action })),
  );
  expect(uses.length).toBeGreaterThan(10);
  const pinned = /^[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/;
  expect(uses.filter(({ action }) => !pinned.test(action))).toEqual([]);
  const commits = Map.groupBy(uses, ({ action }) => action.split('@')[0]);
  for (const [name, all] of commits) {
    expect(new Set(all.map(({ action }) => action)).size, name).toBe(1);
  }
});

test('a workflow reads the repository by default, and every job has a time limit', () => {
  for (const { path, workflow } of workflows) expect(workflow.permissions, path).toEqual({ contents: 'read' });
  expect(jobs.filter(({ job }) => job['timeout-minutes'] === undefined).map(({ name }) => name)).toEqual([]);
});

test('the commands of the workflows exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const commands = jobs.flatMap(({ job }) => job.steps.flatMap(({ run = '' }) => run.split('\n')));
  const named = commands.flatMap((line) => [...line.matchAll(/\bnpm run ([\w:-]+)/g)].map(([, name = '']) => name));
  expect(named.length).toBeGreaterThan(4);
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
  expect(commands).toContain('.ci/run');
});

test('tests run on both supported Node versions and both systems', () => {
  const ci = workflows.find(({ path }) => path.endsWith('/ci.yml'))?.workflow.jobs['test'] as unknown as {
    strategy: { matrix: { os: string[]; node: number[] } };
  };
  const { os, node } = ci.strategy.matrix;
  expect(node).toEqual([24, 26]);
  expect(os.map((name) => name.split('-')[0])).toEqual(['ubuntu', 'macos']);
});

test('every owner rule of CODEOWNERS names a path that exists', () => {
  const paths = read('.github/CODEOWNERS')
    .split('\n')
    .filter((line) => line.startsWith('/'))
    .map((line) => (line.split(/\s+/)[0] ?? '').slice(1));
  const known = repositoryFiles();
  expect(paths.length).toBeGreaterThan(5);
  expect(paths.filter((path) => !known.some((file) => file.startsWith(path)))).toEqual([]);
});

test('changesets cover exactly the packages that are published', () => {
  const { fixed, access } = JSON.parse(read('.changeset/config.json')) as {
    fixed: string[][];
    access: string;
  };
  const published = repositoryFiles()
    .filter((path) => /^packages\/[\w-]+\/package\.json$/.test(path))
    .map((path) => JSON.parse(read(path)) as { name: string; private?: boolean })
    .filter((manifest) => manifest.private !== true);
  expect(fixed.flat().toSorted()).toEqual(published.map(({ name }) => name).toSorted());
  expect(access).toBe('public');
});
