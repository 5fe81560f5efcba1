import { read, repositoryFiles, sourceFiles } from '../source-files.ts';
import { syntaxOf } from '../syntax.ts';
import { spaced } from './banned.ts';
import { proseOf } from './findings.ts';

/** A row of GLOSSARY.md. */
export interface GlossaryTerm {
  readonly term: string;
  readonly meaning: string;
  /** Words that are not used for it. */
  readonly not: readonly string[];
}

/** The table of GLOSSARY.md. */
export const glossaryTerms = (markdown = read('GLOSSARY.md')): GlossaryTerm[] =>
  markdown
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (?:---|term )/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .map(([, term = '', meaning = '', , not = '']) => ({
      term,
      meaning,
      not: not
        .split(',')
        .map((each) => each.trim())
        .filter((each) => each !== ''),
    }));

/** A term as a pattern: singular or plural, spaces or hyphens. */
export const patternOf = (term: string): RegExp =>
  new RegExp(`\\b${term.replaceAll(/[ -]/g, '[ _-]?').replace(/y$/, '(?:y|ie)')}(?:s|es)?\\b`, 'i');

/** Names, texts and documents of the repository, without the glossary, with a space between the words of a name. */
export const vocabulary = (): string => {
  const names = sourceFiles().flatMap((file) => {
    const { declared, strings } = syntaxOf(file);
    return [...declared.map(({ text }) => spaced(text)), ...strings.map(({ text }) => text)];
  });
  const documents = repositoryFiles()
    .filter((path) => path.endsWith('.md') && path !== 'GLOSSARY.md' && path !== 'CHANGELOG.md')
    .map(read);
  return [...names, ...documents].join('\n');
};

/** A word of a "not" column, and where it stands: a file name, an exported name, a SPEC.md. */
export const rejectedUses = (terms: readonly GlossaryTerm[]): string[] => {
  const rejected = terms.flatMap(({ term, not }) => not.map((word) => ({ term, word, pattern: patternOf(word) })));
  const uses = [
    ...sourceFiles().flatMap((file) => [
      { where: `${file} (file name)`, text: spaced(file.split('/').at(-1) ?? '') },
      ...syntaxOf(file).exports.map(({ text }) => ({ where: `${file}: ${text}`, text: spaced(text) })),
    ]),
    ...repositoryFiles()
      .filter((path) => path.endsWith('SPEC.md'))
      .flatMap((path) => proseOf(read(path)).map(({ text, line }) => ({ where: `${path}:${line}`, text }))),
  ];
  return uses.flatMap(({ where, text }) =>
    rejected
      .filter(({ pattern }) => pattern.test(text))
      .map(({ term, word }) => `${where}: "${word}" (the glossary says ${term})`),
  );
};
