import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { ROOT, read, repositoryFiles } from './source-files.ts';
import { syntaxOf } from './syntax.ts';

/** Name of a workspace → its folder and its `exports`. */
const workspaces = new Map(
  repositoryFiles()
    .filter((path) => /^(?:(?:packages|services|deploy)\/[\w-]+|tests)\/package\.json$/.test(path))
    .map((path) => {
      const { name, exports = {} } = JSON.parse(read(path)) as Manifest;
      return [name, { folder: dirname(path), exports }] as const;
    }),
);

interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, ExportTarget>>;
}
type ExportTarget = string | { readonly [condition: string]: ExportTarget };

/** The file of the repository that an import leads to; undefined for a library. */
export const resolveImport = (file: string, specifier: string): string | undefined => {
  const path = specifier.startsWith('.') ? normalize(join(dirname(file), specifier)) : resolveWorkspace(specifier);
  return path !== undefined && existsSync(join(ROOT, path)) ? path : undefined;
};

const resolveWorkspace = (specifier: string): string | undefined => {
  const [, name = '', rest = ''] = /^(@muster\/[\w-]+)(\/.*)?$/.exec(specifier) ?? [];
  const workspace = workspaces.get(name);
  if (workspace === undefined) return undefined;
  for (const [pattern, target] of Object.entries(workspace.exports)) {
    const [start = '', end] = pattern.slice(1).split('*');
    const isMatch = end === undefined ? rest === start : rest.startsWith(start) && rest.endsWith(end);
    if (!isMatch) continue;
    const star = rest.slice(start.length, rest.length - (end ?? '').length);
    return normalize(join(workspace.folder, targetOf(target).replaceAll('*', star)));
  }
  return undefined;
};

/** The sources stand under the condition `default` or the first that is no `types`. */
const targetOf = (target: ExportTarget): string => {
  if (typeof target === 'string') return target;
  const [, first] = Object.entries(target).find(([condition]) => condition !== 'types') ?? ['', ''];
  return targetOf(target['default'] ?? first);
};

/** An import of a file. */
export interface Import {
  readonly file: string;
  readonly specifier: string;
  readonly isTypeOnly: boolean;
}

/** Every import and re-export of a file, static and dynamic. */
export const importsOf = (file: string): Import[] =>
  syntaxOf(file).imports.map(({ text, isTypeOnly }) => ({ file, specifier: text, isTypeOnly }));

/** An import of a file of the repository. */
export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly isTypeOnly: boolean;
}

/** Every import between the given files. */
export const importEdges = (files: readonly string[]): Edge[] => {
  const known = new Set(files);
  return files.flatMap((from) =>
    syntaxOf(from).imports.flatMap(({ text, isTypeOnly }) => {
      const to = resolveImport(from, text);
      return to === undefined || !known.has(to) || to === from ? [] : [{ from, to, isTypeOnly }];
    }),
  );
};

/** Groups of files that import each other in a circle (Tarjan); each sorted, of two files or more. */
export const importCircles = (edges: readonly Pick<Edge, 'from' | 'to'>[]): string[][] => {
  const targets = Map.groupBy(edges, ({ from }) => from);
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  const enter = (file: string): void => {
    order.set(file, order.size);
    low.set(file, order.size - 1);
    stack.push(file);
    for (const { to } of targets.get(file) ?? []) {
      if (!order.has(to)) enter(to);
      if (stack.includes(to)) low.set(file, Math.min(low.get(file) ?? 0, low.get(to) ?? 0));
    }
    if (low.get(file) !== order.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) circles.push(circle.toSorted());
  };
  for (const file of targets.keys()) if (!order.has(file)) enter(file);
  return circles;
};
