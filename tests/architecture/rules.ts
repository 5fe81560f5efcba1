import { proseOf } from './language/findings.ts';
import { read, repositoryFiles, sourceFiles } from './source-files.ts';
import { type Runs, syntaxOf } from './syntax.ts';

/** A rule is `| HT1 |` in a table or `**HT1**` / `**[HT1]**` in a list of a SPEC.md or PROTOCOL.md. */
const RULE = /^\|\s*([A-Z]{2,3}\d+)\s*\||\*\*\[?([A-Z]{2,3}\d+)\]?\*\*/gm;

/** Documents that state rules. */
export const ruleDocuments = (): string[] => repositoryFiles().filter((path) => /(SPEC|PROTOCOL)\.md$/.test(path));

/** Rule id → the documents that state it. */
export const ruleOwners = (): Map<string, string[]> => {
  const owners = new Map<string, string[]>();
  for (const spec of ruleDocuments()) {
    for (const match of read(spec).matchAll(RULE)) push(owners, match[1] ?? match[2] ?? '', spec);
  }
  return owners;
};

/** A test whose title starts with rule ids. */
export interface RuleTest {
  readonly file: string;
  readonly title: string;
  readonly runs: Runs;
}

const testFiles = (): string[] =>
  sourceFiles().filter((path) => path.endsWith('.test.ts') || path.includes('conformance'));

/** Tests that do not run, or only under a condition. */
export const conditionalTests = (): RuleTest[] =>
  testFiles().flatMap((file) =>
    syntaxOf(file)
      .titles.filter(({ runs }) => runs !== 'always')
      .map(({ text, runs }) => ({ file, title: text, runs })),
  );

/** Rule id → the tests whose titles start with it. A test that never runs is not counted. */
export const ruleTests = (): Map<string, RuleTest[]> => {
  const testers = new Map<string, RuleTest[]>();
  for (const file of testFiles()) {
    for (const { text, runs } of syntaxOf(file).titles) {
      if (runs === 'never') continue;
      const [ids = ''] = /^(?:\[[A-Z]{2,3}\d+\]\s?)*/.exec(text) ?? [];
      for (const id of ruleIdsIn(ids)) push(testers, id, { file, title: text, runs });
    }
  }
  return testers;
};

/** The ids in a text such as `[SE1] [SE2]`. */
export const ruleIdsIn = (text: string): string[] =>
  [...text.matchAll(/\[([A-Z]{2,3}\d+)\]/g)].map(([, id = '']) => id);

/** The only header of a table of rules. */
export const RULE_HEADER = 'id | given | when | then';

/** Faults of the tables of rules of a document: another format, an empty cell, ids out of order. */
export const tableFaults = (document: string, text: string): string[] => {
  const faults: string[] = [];
  let header = '';
  let last: { family: string; number: number } | undefined;
  for (const { text: line, line: number } of proseOf(text)) {
    const where = `${document}:${number}`;
    if (!line.startsWith('|')) {
      header = '';
      last = undefined;
      if (/^\s*[-*] \*\*\[?[A-Z]{2,3}\d+/.test(line)) faults.push(`${where}: a rule in a list`);
      continue;
    }
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (header === '') header = cells.join(' | ');
    const [, family, digits] = /^([A-Z]{2,3})(\d+)$/.exec(cells[0] ?? '') ?? [];
    if (family === undefined) continue;
    if (header !== RULE_HEADER) faults.push(`${where}: the table has the header "${header}"`);
    else if (cells.length !== 4 || cells[3] === '') faults.push(`${where}: ${cells.length} cells, or no outcome`);
    if (last?.family === family && last.number >= Number(digits)) faults.push(`${where}: ${cells[0]} is out of order`);
    last = { family, number: Number(digits) };
  }
  return faults;
};

const push = <T>(lists: Map<string, T[]>, id: string, item: T): void => {
  lists.set(id, [...(lists.get(id) ?? []), item]);
};
