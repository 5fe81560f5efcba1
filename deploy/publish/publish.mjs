// Publishes the packages whose version is not on npm yet, with provenance.
// Usage: npm run release:publish (in the release workflow, which provides the token and the identity)
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { DESTINATION, PACKAGES, packAll } from './pack.mjs';

const root = resolve(import.meta.dirname, '../..');
const npm = (...args) => execFileSync('npm', args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] }).toString();

const isPublished = (name, version) => {
  try {
    return npm('view', `${name}@${version}`, 'version', '--loglevel=silent').trim() === version;
  } catch {
    return false;
  }
};

packAll();
for (const folder of PACKAGES) {
  const { name, version } = JSON.parse(readFileSync(`${root}/packages/${folder}/package.json`, 'utf8'));
  if (isPublished(name, version)) continue;
  const tarball = `${DESTINATION}/${name.replace('@', '').replace('/', '-')}-${version}.tgz`;
  npm('publish', tarball, '--access', 'public', '--provenance');
  // The release action reads this line and creates the tag and the release.
  process.stdout.write(`New tag: ${name}@${version}\n`);
}
