import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { ROOT, read, repositoryFiles } from '../source-files.ts';

/** One object of the Kubernetes API, or a part of one that a patch names. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: unknown;
  readonly data?: Readonly<Record<string, string>>;
}

/** Where it stands, and what it is. */
export interface Document {
  readonly from: string;
  readonly manifest: Manifest;
}

const HOMES = /^deploy\/(kubernetes\/.*|haproxy\/kubernetes)\.yaml$/;
const KUSTOMIZATION = /kustomization\.yaml$/;

/** The documents of a YAML text. Throws for invalid YAML. */
export const documentsOf = (text: string, from: string): Document[] =>
  // Kubernetes reads YAML 1.1, where 0440 is octal.
  parseAllDocuments(text, { uniqueKeys: true, version: '1.1' })
    .map((document) => {
      if (document.errors.length > 0) throw new Error(`${from}: ${document.errors[0]?.message}`);
      return document.toJS() as unknown;
    })
    .filter((content) => content !== null && typeof content === 'object' && !Array.isArray(content))
    .map((content) => ({ from, manifest: content as Manifest }));

const filesThat = (is: (path: string) => boolean): string[] => repositoryFiles().filter(is);

/** Every kustomization file. */
export const kustomizations = (): string[] =>
  filesThat((path) => path.startsWith('deploy/') && KUSTOMIZATION.test(path));

/** The objects of base, components and overlays as they stand in their files. */
export const wholeDocuments = (): Document[] => {
  const patches = patchFiles();
  return filesThat((path) => HOMES.test(path) && !KUSTOMIZATION.test(path) && !patches.includes(path)).flatMap((path) =>
    documentsOf(read(path), path),
  );
};

/** Parts of objects that overlays lay over complete objects. */
export const patchDocuments = (): Document[] => patchFiles().flatMap((path) => documentsOf(read(path), path));

const patchFiles = (): string[] =>
  kustomizations().flatMap((path) =>
    (kustomizationAt(path).patches ?? []).map((patch) => join(path, '..', patch.path)),
  );

/** Contents of a directory. */
export interface Kustomization {
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly patches?: readonly { readonly path: string }[];
}

/** Reads a kustomization file. */
export const kustomizationAt = (path: string): Kustomization => parse(read(path)) as Kustomization;

/** An overlay as kubectl builds it; undefined where kubectl is missing or too old to know components. */
export const built = (overlay: string, kubectl?: readonly [string, ...string[]]): Document[] | undefined =>
  buildDirectory(join(ROOT, 'deploy/kubernetes/overlays', overlay), `overlay ${overlay}`, kubectl);

/** The base with some components, as kubectl builds it; undefined where {@link built} is. */
export const builtWith = (
  components: readonly string[],
  kubectl?: readonly [string, ...string[]],
): Document[] | undefined => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-kustomize-'));
  const at = (path: string) => relative(realpathSync(directory), join(ROOT, 'deploy/kubernetes', path));
  const kustomization = {
    resources: [at('base')],
    components: components.map((name) => at(`components/${name}`)),
  };
  try {
    writeFileSync(join(directory, 'kustomization.yaml'), JSON.stringify(kustomization));
    return buildDirectory(directory, `base with ${components.join(', ')}`, kubectl);
  } finally {
    rmSync(directory, { recursive: true });
  }
};

const buildDirectory = (
  directory: string,
  what: string,
  [program, ...args]: readonly [string, ...string[]] = ['kubectl'],
): Document[] | undefined => {
  const { status, stdout, stderr, error } = spawnSync(program, [...args, 'kustomize', directory], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (error !== undefined || /unknown command|unknown field "components"/.test(stderr)) return undefined;
  if (status !== 0) throw new Error(`${what}: ${stderr}`);
  return documentsOf(stdout, what);
};
