import { isTest, read, repositoryFiles } from '../source-files.ts';
import { type Occurrence, syntaxOf } from '../syntax.ts';
import { BANNED_IN_COMMENTS, BANNED_IN_NAMES, BANNED_IN_TEXTS, type Ban, spaced } from './banned.ts';

/** A banned word in a file. */
export interface BannedUse {
  readonly file: string;
  readonly line: number;
  readonly what: 'file name' | 'exported name' | 'class name' | 'log event' | 'text' | 'title' | 'document' | 'comment';
  readonly text: string;
  readonly word: string;
  readonly instead: string;
}

/** Lists of old names, and texts of other authors. */
const NOT_OURS = /^(?:CHANGELOG|CODE_OF_CONDUCT|GLOSSARY)\.md$|^LICENSE|^pnpm-lock|^tests\/architecture\/language\//;

/** SQL and Lua are checked by their own readers. */
const PROGRAM = /^\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|SET|BEGIN|local )\b|redis\.call\(|#!\//;

/** The catalogue of log events. */
const LOG_EVENTS = 'packages/telemetry/src/log-events.ts';

const checked = (path: string): boolean =>
  /^(?:packages|services|deploy|tests|docs|\.github)\/|^[A-Z]+\.md$/.test(path) && !NOT_OURS.test(path);

/** Every banned word of the repository, or of the paths that begin with one of the prefixes. */
export const findingsIn = (prefixes: readonly string[] = ['']): BannedUse[] =>
  repositoryFiles()
    .filter((path) => checked(path) && prefixes.some((prefix) => path.startsWith(prefix)))
    .flatMap((file) => [
      ...inFileName(file),
      ...(/\.(?:tsx?|mjs)$/.test(file) ? inSource(file) : []),
      ...(file.endsWith('.md') ? inDocument(file) : []),
    ]);

const inFileName = (file: string): BannedUse[] =>
  findings(file, 'file name', BANNED_IN_NAMES, [{ text: file.split('/').at(-1) ?? '', line: 0 }], spaced);

const inSource = (file: string): BannedUse[] => {
  const { exports, strings, titles, classNames } = syntaxOf(file);
  const events = file === LOG_EVENTS ? strings.filter(({ text }) => /^[a-z_]+\.[a-z_]+$/.test(text)) : [];
  return [
    ...findings(file, 'exported name', BANNED_IN_NAMES, exports, spaced),
    ...findings(file, 'class name', BANNED_IN_NAMES, classNames, spaced),
    ...findings(file, 'log event', BANNED_IN_NAMES, events, spaced),
    ...findings(file, 'title', BANNED_IN_TEXTS, titles),
    ...(isTest(file) ? [] : findings(file, 'text', BANNED_IN_TEXTS, strings.filter(isProse))),
  ];
};

/** Two words or more, and no program. */
export const isProse = ({ text }: Occurrence): boolean => /\p{L}[,.;:]? +[\p{L}…]/u.test(text) && !PROGRAM.test(text);

/** Banned words of comments; comments for tools are not prose. */
export const commentFindings = (prefixes: readonly string[] = ['']): BannedUse[] =>
  repositoryFiles()
    .filter(
      (path) => checked(path) && /\.(?:tsx?|mjs)$/.test(path) && prefixes.some((prefix) => path.startsWith(prefix)),
    )
    .flatMap((file) =>
      findings(
        file,
        'comment',
        BANNED_IN_COMMENTS,
        syntaxOf(file).comments.filter(({ text }) => !/^biome-ignore/.test(text)),
      ),
    );

const inDocument = (file: string): BannedUse[] => findings(file, 'document', BANNED_IN_TEXTS, proseOf(read(file)));

/** Lines of a Markdown text without code; the lines of a paragraph are joined. */
export const proseOf = (markdown: string): Occurrence[] => {
  const found: { text: string; line: number }[] = [];
  let fence: string | undefined;
  let isParagraph = false;
  for (const [index, text] of markdown.split('\n').entries()) {
    const mark = /^ *(`{3,}|~{3,})/.exec(text)?.[1];
    if (fence !== undefined) {
      if (mark?.startsWith(fence)) fence = undefined;
      continue;
    }
    fence = mark;
    const last = found.at(-1);
    const continues = isParagraph && /^ *[^\s|#*\-\d<>]/.test(text);
    if (mark === undefined && continues && last !== undefined) last.text += ` ${text.trim()}`;
    else if (mark === undefined) found.push({ text, line: index + 1 });
    isParagraph = mark === undefined && /^ *[^\s|#]/.test(text);
  }
  return found.map(({ text, line }) => ({ text: text.replaceAll(/`[^`]*`|\]\([^)]*\)/g, '`'), line }));
};

const findings = (
  file: string,
  what: BannedUse['what'],
  bans: readonly Ban[],
  occurrences: readonly Occurrence[],
  read: (text: string) => string = (text) => text,
): BannedUse[] =>
  occurrences.flatMap(({ text, line }) => {
    const words = read(text);
    if (!anyOf(bans).test(words)) return [];
    return bans
      .filter(({ except }) => !except?.test(file))
      .flatMap(({ pattern, instead }) => {
        const word = pattern.exec(words)?.[0];
        return word === undefined ? [] : [{ file, line, what, text, word, instead }];
      });
  });

const unions = new Map<readonly Ban[], RegExp>();

/** One pattern for a whole list: most texts are clean. */
const anyOf = (bans: readonly Ban[]): RegExp => {
  const union = unions.get(bans) ?? new RegExp(bans.map(({ pattern }) => pattern.source).join('|'), 'i');
  unions.set(bans, union);
  return union;
};

/** One line for a reader: where, which word, what instead. */
export const describeUse = ({ file, line, what, text, word, instead }: BannedUse): string => {
  const at = text.toLowerCase().indexOf(word.toLowerCase());
  const excerpt = text.slice(Math.max(0, at - 40), at + 60).replaceAll(/\s+/g, ' ');
  return `${file}:${line} ${what} "${word.trim()}" (use: ${instead}) in: ${excerpt}`;
};
