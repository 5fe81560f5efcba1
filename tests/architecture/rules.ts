import { read, repositoryFiles, sourceFiles } from './source-files.ts';

/** A rule is `| HT1 |` in a table or `**HT1**` / `**[HT1]**` in a list of a SPEC.md or PROTOCOL.md. */
const RULE = /^\|\s*([A-Z]{2,3}\d+)\s*\||\*\*\[?([A-Z]{2,3}\d+)\]?\*\*/gm;
const TITLE = /\b(?:test|it|describe)(?:\.\w+(?:\([^)]*\))?)*\(\s*(['"`])((?:\[[A-Z]{2,3}\d+\]\s?)+)/g;

/** Rule id → the documents that state it. */
export const ruleOwners = (): Map<string, string[]> => {
  const owners = new Map<string, string[]>();
  for (const spec of repositoryFiles().filter((path) => /(SPEC|PROTOCOL)\.md$/.test(path))) {
    for (const match of read(spec).matchAll(RULE)) push(owners, match[1] ?? match[2] ?? '', spec);
  }
  return owners;
};

/** Rule id → the files with a test whose title begins with it. */
export const ruleTests = (): Map<string, string[]> => {
  const files = sourceFiles().filter((path) => path.endsWith('.test.ts') || path.includes('conformance'));
  const testers = new Map<string, string[]>();
  for (const file of files) {
    for (const match of read(file).matchAll(TITLE)) {
      for (const id of ruleIdsIn(match[2] ?? '')) push(testers, id, file);
    }
  }
  return testers;
};

/** The ids in a text such as `[SE1] [SE2]`. */
export const ruleIdsIn = (text: string): string[] =>
  [...text.matchAll(/\[([A-Z]{2,3}\d+)\]/g)].map(([, id = '']) => id);

const push = (lists: Map<string, string[]>, id: string, path: string): void => {
  lists.set(id, [...(lists.get(id) ?? []), path]);
};
