import { expect, test } from 'vitest';
import { type RegexLiteral, regexLiterals } from './regex-literals.ts';
import { isTest, read, sourceFiles } from './source-files.ts';

/** Input sizes up to Node's limit of 16 KiB for headers. */
const SIZES = [24, 200, 2_000, 16_384];
/** A linear match of 16 KiB takes well under a millisecond, a quadratic one a tenth of a second or more. */
const MAX_CPU_MS = 40;
const HOPELESS_CPU_MS = 200;
/** The lowest of several measurements counts: a busy machine distorts them. */
const TRIES = 4;

/** The console runs in the browser of an operator. */
const files = sourceFiles().filter(
  (file) =>
    /^(packages|services)\/[\w-]+\/src\//.test(file) && !isTest(file) && !/testkit|conformance|\/console\//.test(file),
);
const literals: RegexLiteral[] = files.flatMap((file) => regexLiterals(file, read(file)));

/** Representatives of the character classes of the pattern, and its literal characters. */
const alphabetOf = ({ source }: RegexLiteral): string[] => {
  const named = source.replaceAll(/\\[a-zA-Z]|\\x[0-9a-f]{2}|[()[\]{}|?+*^$.]/g, '');
  return [...new Set([...'a0 -,:.=/;"\t', ...named])].slice(0, 24);
};

/** Literal text of the pattern before its first repetition. */
const literalPrefixOf = ({ source }: RegexLiteral): string =>
  (/^\^?((?:[\w \-:=@/]|\\[^a-zA-Z])*)/.exec(source)?.[1] ?? '').replaceAll('\\', '').slice(0, 40);

/** Ends that a pattern does not match, so that it backtracks. */
const ENDS = ['\u0000', ' \t!', 'x y'];

/** Repetitions of one and two characters, after the prefix of the pattern, with an end that does not match. */
function* attacksOn(literal: RegexLiteral): Iterable<(size: number) => string> {
  const alphabet = alphabetOf(literal);
  const prefixes = new Set(['', literalPrefixOf(literal)]);
  const pumps = [...alphabet, ...alphabet.slice(1).map((char, index) => `${alphabet[index]}${char}`)];
  for (const prefix of prefixes) {
    for (const pump of pumps) {
      for (const end of ENDS) {
        yield (size) => prefix + pump.repeat(Math.ceil(size / pump.length)) + end;
      }
    }
  }
}

/** CPU time of the cheapest of several runs; of the first that is fast enough, or hopeless. */
const leastCpuMs = (work: () => void): number => {
  let least = Number.POSITIVE_INFINITY;
  for (let count = 0; count < TRIES && least > MAX_CPU_MS; count += 1) {
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
    if (least > HOPELESS_CPU_MS) break;
  }
  return least;
};

/** The input size at which a match takes too long; undefined when none does. Small sizes first: an exponential pattern does not end. */
const tooSlowAt = (literal: RegexLiteral): string | undefined => {
  const regex = new RegExp(literal.source, literal.flags.replaceAll(/[gy]/g, ''));
  for (const attack of attacksOn(literal)) {
    for (const size of SIZES) {
      const input = attack(size);
      if (leastCpuMs(() => regex.test(input)) > MAX_CPU_MS) {
        return `${literal.file}:${literal.line} /${literal.source}/ on ${size} characters like ${JSON.stringify(input.slice(0, 20))}`;
      }
    }
  }
  return undefined;
};

test('the regular expressions of the source were found', () => {
  expect(literals.length).toBeGreaterThan(80);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text.
  const text = 'const a = b / c; const d = /x[/]y/g.test(`${e.replace(/z+/, "")}`); // /no/';
  expect(regexLiterals('f', text).map(({ source, flags }) => [source, flags])).toEqual([
    ['x[/]y', 'g'],
    ['z+', ''],
  ]);
});

test('quadratic and exponential patterns are found', { timeout: 60_000 }, () => {
  const slow = ['^(a+)+$', '\\s+$', '^Bearer +(\\S*) *$'];
  for (const source of slow) {
    expect(tooSlowAt({ file: 'f', line: 1, source, flags: '' }), source).toBeDefined();
  }
});

test('no regular expression of the product takes more than linear time on its worst input of 16 KB', {
  timeout: 60_000,
}, () => {
  expect(literals.map(tooSlowAt).filter((one) => one !== undefined)).toEqual([]);
});

/** Files that build patterns at run time, from their own names only, never from external text. */
const MADE = ['services/session-service/src/postgres/connection-report.ts'];

test('no regular expression is built from external text', () => {
  const makers = files.filter((file) => /\bRegExp\(/.test(read(file)));
  expect(makers).toEqual(MADE);
});
