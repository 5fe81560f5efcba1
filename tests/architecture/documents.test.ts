import { expect, test } from 'vitest';
import { blocksOf, isShell, markFault, positionOf, showsLines } from '../documents/blocks.ts';
import { repositoryFiles } from './source-files.ts';

const documents = repositoryFiles().filter((path) => path.endsWith('.md'));
const blocks = documents.flatMap((document) => blocksOf(document));

test('[DC1] given a shell block of a document, then it is marked with what it needs, or with the reason why no test runs it', () => {
  const faults = blocks
    .filter(isShell)
    .map((block) => [positionOf(block), markFault(block)] as const)
    .filter(([, fault]) => fault !== undefined);
  expect(faults).toEqual([]);
});

test('[DC1] every fenced block names its language, so that no command hides in one', () => {
  expect(blocks.filter(({ language }) => language === '').map(positionOf)).toEqual([]);
});

test('[DC2] every JSON block is JSON', () => {
  const broken = blocks
    .filter(({ language }) => language === 'json')
    .filter(({ code }) => !isJson(code))
    .map(positionOf);
  expect(broken).toEqual([]);
});

test('[DC1] fences are read as they stand: indented, longer, nested', () => {
  const text = ['1. x', '   ```sh fleet slow', '   a', '     b', '   ```', '````md', '```sh', 'c', '```', '````'];
  expect(blocksOf('x.md', text.join('\n'))).toEqual([
    { document: 'x.md', line: 2, language: 'sh', info: 'fleet slow', code: 'a\n  b\n' },
    { document: 'x.md', line: 6, language: 'md', info: '', code: '```sh\nc\n```\n' },
  ]);
  const marked = (info: string) =>
    markFault({ document: 'x.md', line: 1, language: 'sh', info, code: '' }) === undefined;
  expect(['fleet', 'run background', 'not-run: a reason here'].map(marked)).toEqual([true, true, true]);
  expect(['', 'fast', 'fleet backgound', 'not-run:', 'not-run'].map(marked)).toEqual(Array(5).fill(false));
});

test('[DC3] expected output: lines in order, and … for any text of a line', () => {
  const output = 'a\nconnected to ws-1 as ann\nann: hi\n';
  expect(showsLines(output, ['connected to … as ann', 'ann: hi'])).toBe(true);
  expect(showsLines(output, ['ann: hi', 'connected to …'])).toBe(false);
  expect(showsLines(output, ['connected … hi'])).toBe(false);
  expect(showsLines(output, [])).toBe(true);
});

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};
