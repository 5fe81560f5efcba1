import { importEdges } from './import-graph.ts';
import { isTest, read, sourceFiles } from './source-files.ts';
import { syntaxOf } from './syntax.ts';

/** A step of a walk in ARCHITECTURE.md. */
export interface WalkStep {
  readonly file: string;
  /** Files between the previous step and this step: ports, or files that wire both. */
  readonly via: readonly string[];
  /** Part of the name of a Redis key or channel at which both meet. */
  readonly redisName: string | undefined;
}

/** The numbered lists under "Walks", by heading. */
export const walksOf = (markdown: string): Map<string, WalkStep[]> => {
  const [, walks = ''] = markdown.split(/^## Walks$/m);
  return new Map(
    walks
      .split(/^### /m)
      .slice(1)
      .map((section) => [section.split('\n')[0] ?? '', stepsOf(section)]),
  );
};

const stepsOf = (section: string): WalkStep[] =>
  section
    .split(/^\d+\. /m)
    .slice(1)
    .map((text) => {
      const [, file = '', brackets = ''] = /^`([^`]+)`(?:\s+\(([^)]*)\))?/.exec(text) ?? [];
      const via = [...brackets.matchAll(/via\s+`([^`]+)`/g)].map(([, path = '']) => path);
      return { file, via, redisName: /Redis (?:key|channel)\s+`([^`]+)`/.exec(brackets)?.[1] };
    });

const sources = sourceFiles().filter((file) => !isTest(file));
const neighbours = new Map<string, Set<string>>();
for (const { from, to } of importEdges(sources)) {
  neighboursOf(from).add(to);
  neighboursOf(to).add(from);
}

function neighboursOf(file: string): Set<string> {
  const known = neighbours.get(file) ?? new Set();
  neighbours.set(file, known);
  return known;
}

/** Why the second file cannot follow the first; undefined when it can. */
export const brokenStep = ({ file: from }: WalkStep, { file: to, via, redisName }: WalkStep): string | undefined => {
  if (redisName !== undefined) {
    const missing = [from, to].filter((file) => !reaches(file, redisName));
    return missing.length === 0 ? undefined : `no Redis name ${redisName} near ${missing.join(', ')}`;
  }
  const path = [from, ...via, to];
  const gap = path.findIndex((file, index) => index > 0 && !neighboursOf(path[index - 1] ?? '').has(file));
  return gap < 0 ? undefined : `${path[gap - 1]} and ${path[gap]} do not import each other`;
};

/** A file, its neighbours, or their neighbours contain the name in a string. */
const reaches = (file: string, name: string): boolean =>
  [file, ...neighboursOf(file)]
    .flatMap((each) => [each, ...neighboursOf(each)])
    .some((each) => read(each).includes(name) && syntaxOf(each).strings.some(({ text }) => text.includes(name)));
