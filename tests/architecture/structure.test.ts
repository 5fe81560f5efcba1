import { expect, test } from 'vitest';
import { importCircles, importEdges } from './import-graph.ts';
import { isTest, read, sourceFiles } from './source-files.ts';
import { syntaxOf } from './syntax.ts';

const MAX_LINES = 400;
const MAX_MEDIAN_LINES = 120;
const SMALL_LINES = 45;

/** Entry points of the three services, which have the same names on purpose. */
const SHARED_NAMES = ['createApp', 'readConfig', 'settings'];

/** Small files that stay files of their own: the table of that decision. */
const keptSmallFiles = (decisions = read('DECISIONS.md')): string[] =>
  decisions
    .split('\n## ')
    .filter((decision) => decision.includes('A small file needs'))
    .flatMap((decision) => [...decision.matchAll(/`([^`]+\.tsx?)`/g)].map(([, file = '']) => file));

const sources = sourceFiles().filter((file) => !isTest(file));
const edges = importEdges(sources);
const linesOf = (file: string): number => read(file).split('\n').length - 1;

test('the imports were resolved', () => {
  expect(edges.length).toBeGreaterThan(1500);
  const across = edges.filter(({ from, to }) => to.startsWith('packages/') && from.startsWith('services/'));
  expect(across.length).toBeGreaterThan(300);
});

test('an exported name is unique in the repository', () => {
  const files = sourceFiles().flatMap((file) =>
    [...new Set(syntaxOf(file).exports.map(({ text }) => text))].map((name) => ({ name, file })),
  );
  const twice = [...Map.groupBy(files, ({ name }) => name)]
    .filter(([name, uses]) => uses.length > 1 && !SHARED_NAMES.includes(name))
    .map(([name, uses]) => `${name}: ${uses.map(({ file }) => file).join(', ')}`);
  expect(twice).toEqual([]);
});

test('no files import each other in a circle, with imports of types counted', () => {
  expect(importCircles(edges)).toEqual([]);
});

test('circles are found, those of types too', () => {
  const edge = (from: string, to: string) => ({ from, to });
  expect(importCircles([edge('a', 'b'), edge('b', 'c')])).toEqual([]);
  expect(
    importCircles([edge('a', 'b'), edge('b', 'c'), edge('c', 'b'), edge('c', 'd'), edge('d', 'e'), edge('e', 'd')]),
  ).toEqual([
    ['d', 'e'],
    ['b', 'c'],
  ]);
});

test(`a file under ${SMALL_LINES} lines with one importer is part of that importer, or stands in DECISIONS.md with a reason`, () => {
  const importers = Map.groupBy(edges, ({ to }) => to);
  const small = sources.filter(
    (file) => linesOf(file) < SMALL_LINES && new Set(importers.get(file)?.map(({ from }) => from)).size === 1,
  );
  expect(small.toSorted()).toEqual(keptSmallFiles().toSorted());
});

test(`no file is longer than ${MAX_LINES} lines, and half of the sources are shorter than ${MAX_MEDIAN_LINES}`, () => {
  const long = sourceFiles().filter((file) => linesOf(file) > MAX_LINES);
  expect(long.map((file) => `${file}: ${linesOf(file)}`)).toEqual([]);
  const lengths = sources.map(linesOf).toSorted((a, b) => a - b);
  expect(lengths[lengths.length >> 1]).toBeLessThanOrEqual(MAX_MEDIAN_LINES);
});
