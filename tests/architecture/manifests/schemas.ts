import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../source-files.ts';
import type { Document, Manifest } from './documents.ts';

const run = promisify(execFile);

/** Below our own package, from where the types of Kubernetes are found; git does not know it. */
const WORKSHOP = join(ROOT, 'tests/dist');
const COMPILE_TIMEOUT_MS = 60_000;

/** Packages that describe the kinds of an API group; everything else is Kubernetes itself. */
const PACKAGES: Readonly<Record<string, string>> = {
  'keda.sh': '@kubernetes-models/keda',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
};

const moduleOf = ({ apiVersion, kind }: Manifest): string =>
  `${PACKAGES[apiVersion.split('/')[0] ?? ''] ?? 'kubernetes-models'}/${apiVersion}/${kind}`;

const nameOf = ({ from, manifest }: Document): string => `${from}: ${manifest.kind} ${manifest.metadata?.name ?? ''}`;

/** Errors of these objects by the JSON schemas of Kubernetes: missing fields, wrong types and values. */
export const schemaProblems = async (documents: readonly Document[]): Promise<string[]> => {
  const problems: string[] = [];
  for (const one of documents) {
    try {
      const models = (await import(moduleOf(one.manifest))) as Record<
        string,
        new (
          data: unknown,
        ) => { validate(): void }
      >;
      const Model = models[one.manifest.kind];
      if (Model === undefined) throw new Error('has no schema');
      new Model(one.manifest).validate();
    } catch (error) {
      problems.push(`${nameOf(one)}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return problems;
};

/**
 * Errors of these objects by the compiler, written as literals of their types: unknown fields, which the
 * schemas let through. Patches are parts of an object, so there everything may be missing.
 */
export const fieldProblems = async (
  documents: readonly Document[],
  patches: readonly Document[] = [],
): Promise<string[]> => {
  mkdirSync(WORKSHOP, { recursive: true });
  const directory = mkdtempSync(join(WORKSHOP, 'manifests-'));
  try {
    const files = [...documents.map(literalOf('whole')), ...patches.map(literalOf('part'))].map((text, index) => {
      const file = join(directory, `manifest-${index}.ts`);
      writeFileSync(file, text);
      return file;
    });
    const all = [...documents, ...patches];
    const output = await compile(files);
    return output
      .split('\n')
      .map((line) => /manifest-(\d+)\.ts\(\d+,\d+\): error \w+: (.*)$/.exec(line))
      .filter((match) => match !== null)
      .map((match) => `${nameOf(all[Number(match[1])] as Document)}: ${match[2]}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};

const literalOf =
  (extent: 'whole' | 'part') =>
  ({ manifest }: Document): string =>
    `import type { I${manifest.kind} as Kind } from '${moduleOf(manifest)}';
type Part<T> = T extends readonly (infer E)[] ? Part<E>[] : T extends object ? { [K in keyof T]?: Part<T[K]> } : T;
export const ${extent}: ${extent === 'whole' ? 'Kind' : 'Part<Kind>'} = ${JSON.stringify(manifest, undefined, 1)};
`;

const compile = async (files: readonly string[]): Promise<string> => {
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--pretty', 'false'];
  const modules = ['--module', 'nodenext', '--target', 'es2024', '--types', ''];
  try {
    const { stdout } = await run(join(ROOT, 'node_modules/.bin/tsc'), [...options, ...modules, ...files], {
      cwd: ROOT,
      timeout: COMPILE_TIMEOUT_MS,
    });
    return stdout;
  } catch (error) {
    const { stdout, message } = error as { stdout?: string; message: string };
    if (!stdout?.includes('error TS')) throw new Error(`the compiler failed: ${message}`);
    return stdout;
  }
};
