import { expect, test } from 'vitest';
import { BANNED_IN_NAMES, BANNED_IN_TEXTS, spaced } from './language/banned.ts';
import { commentFindings, describeUse, findingsIn, isProse, proseOf } from './language/findings.ts';
import { glossaryTerms, patternOf, rejectedUses, vocabulary } from './language/glossary.ts';
import { PENDING, PENDING_COMMENTS } from './language/pending.ts';
import { parseSyntax } from './syntax.ts';

const isPending = (file: string): boolean => PENDING.some((path) => file.startsWith(path));
const isBanned = (bans: typeof BANNED_IN_TEXTS, text: string): boolean =>
  bans.some(({ pattern }) => pattern.test(text));

test('names, texts and documents use no banned word', () => {
  const found = findingsIn();
  expect(found.filter(({ file }) => !isPending(file)).map(describeUse)).toEqual([]);
  const done = PENDING.filter((path) => !found.some(({ file }) => file.startsWith(path)));
  if (done.length > 0) process.stderr.write(`language: remove from pending.ts: ${done.join(' ')}\n`);
});

test('comments use no banned word', () => {
  const found = commentFindings().filter(({ file }) => !PENDING_COMMENTS.some((path) => file.startsWith(path)));
  expect(found.map(describeUse)).toEqual([]);
});

test('banned words are found in names and texts, and standard wording passes', () => {
  const names = ['SessionGate', 'toldSessions', 'beatMs', 'whoeverJoins', 'createWorld', 'console-desk.ts'];
  expect(names.filter((name) => !isBanned(BANNED_IN_NAMES, spaced(name)))).toEqual([]);
  const good = ['createGateway', 'heartbeatMs', 'placeholder', 'background', 'askew', 'OneTenant'];
  expect(good.filter((name) => isBanned(BANNED_IN_NAMES, spaced(name)))).toEqual([]);
  const riddles = [
    'REDIS_URL is no URL of a Redis',
    'Nobody leads just now.',
    'The session is over.',
    'the keys cannot be had',
    'a new one takes its place',
    'who waits is told',
    'the fleet goes on',
  ];
  expect(riddles.filter((text) => !isBanned(BANNED_IN_TEXTS, text))).toEqual([]);
  const plain = [
    'No leader is elected. Retry in a few seconds.',
    'the size is over the limit',
    'there is no snapshot in Redis',
    'the session is no longer valid',
    'one publication per frame, in place of two',
    'users who sign in again',
  ];
  expect(plain.filter((text) => isBanned(BANNED_IN_TEXTS, text))).toEqual([]);
});

test('names and texts are read from the syntax of a file, not from its lines', () => {
  const text = [
    "import { a } from './told us.ts';",
    '// nobody said so',
    'export const { b, c: [d] } = a; export interface E { readonly f: string }',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text.
    'const g = (h: string) => `one ${h} two`;',
    "export default function i() { return <p title='j k'>l m</p>; }",
    "test.each([1])('[X1] given n', () => {});",
  ];
  const { exports, strings, titles, declared, comments } = parseSyntax(text.join('\n'), 'x.tsx');
  expect(comments).toEqual([{ text: 'nobody said so', line: 2 }]);
  expect(exports.map((each) => each.text)).toEqual(['b', 'd', 'E']);
  expect(strings.filter(isProse).map((each) => each.text)).toEqual(['one … two', 'j k', 'l m', '[X1] given n']);
  expect(titles.map((each) => each.text)).toEqual(['[X1] given n']);
  expect(declared.map((each) => each.text)).toEqual(['b', 'd', 'E', 'f', 'g', 'h', 'i']);
  const markdown = ['# a', '```sh', 'told', '```', 'b `told` [c](told)'].join('\n');
  expect(proseOf(markdown).map((each) => each.text)).toEqual(['# a', 'b ` [c`']);
});

test('the glossary has about 60 terms, each with a meaning, none twice', () => {
  const terms = glossaryTerms();
  expect(terms.length).toBeGreaterThan(50);
  expect(terms.length).toBeLessThan(90);
  expect(terms.filter(({ meaning }) => meaning === '')).toEqual([]);
  expect(new Set(terms.map(({ term }) => term)).size).toBe(terms.length);
});

test('every term of the glossary is used', () => {
  const text = vocabulary();
  expect(
    glossaryTerms()
      .map(({ term }) => term)
      .filter((term) => !patternOf(term).test(text)),
  ).toEqual([]);
});

test('no word that the glossary rejects stands in a file name, an exported name or a SPEC', () => {
  expect(rejectedUses(glossaryTerms()).filter((use) => !isPending(use))).toEqual([]);
});
