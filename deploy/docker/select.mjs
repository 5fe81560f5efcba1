// Copies the files of one service: node select.mjs REPOSITORY DESTINATION   (SERVICE in the environment)
//   DESTINATION/manifests  every package.json and the lock file, for the installation of packages
//   DESTINATION/sources    the service, the workspace packages that it imports, and scripts of this directory
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [repository, destination] = process.argv.slice(2);
const service = process.env.SERVICE;
const SCOPE = '@muster/';
const SETUP = ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', 'tests/package.json'];
const SCRIPTS = ['healthcheck.mjs', 'secrets.mjs'];

const manifestOf = (directory) => JSON.parse(readFileSync(join(repository, directory, 'package.json'), 'utf8'));

const directories = ['packages', 'services', 'deploy'].flatMap((folder) =>
  readdirSync(join(repository, folder))
    .map((name) => join(folder, name))
    .filter((directory) => existsSync(join(repository, directory, 'package.json'))),
);
const directoryOf = new Map(directories.map((directory) => [manifestOf(directory).name, directory]));

const closure = new Set();
const include = (name) => {
  const directory = directoryOf.get(name);
  if (directory === undefined) throw new Error(`${name}: expected a workspace package, found none of this name`);
  if (closure.has(directory)) return;
  closure.add(directory);
  for (const dependency of Object.keys(manifestOf(directory).dependencies ?? {}))
    if (dependency.startsWith(SCOPE)) include(dependency);
};

const copy = (path, into) => cpSync(join(repository, path), join(destination, into, path), { recursive: true });

if (!existsSync(join(repository, 'services', service ?? '')))
  throw new Error(`SERVICE=${service}: expected one of ${readdirSync(join(repository, 'services')).join(', ')}`);
include(SCOPE + service);
for (const file of [...SETUP, ...directories.map((directory) => join(directory, 'package.json'))])
  copy(file, 'manifests');
for (const directory of closure) copy(directory, 'sources');
for (const file of ['package.json', 'LICENSE', 'tsconfig.json']) copy(file, 'sources');
for (const script of SCRIPTS) copy(join('deploy/docker', script), 'sources');
mkdirSync(destination, { recursive: true });
cpSync(join(repository, 'deploy/docker/prune.mjs'), join(destination, 'prune.mjs'));
