import { expect, test } from 'vitest';
import { type RegexLiteral, regexLiterals } from './regex-literals.ts';
import { isTest, read, sourceFiles } from './source-files.ts';

/** What a request may bring: Node takes 16 KiB of headers. */
const SIZES = [24, 200, 2_000, 16_384];
/** A linear match of 16 KiB takes well under a millisecond, a quadratic one a tenth of a second or more. */
const MAX_CPU_MS = 40;
const HOPELESS_CPU_MS = 200;
/** A busy machine takes the CPU away in between; the least of several counts. */
const TRIES = 4;

/** The console runs in the browser of an operator. */
const files = sourceFiles().filter(
  (file) =>
    /^(packages|services)\/[\w-]+\/src\//.test(file) &&
    !isTest(file) &&
    !/testkit|conformance|\/console\//.test(file),
);
const literals: RegexLiteral[] = files.flatMap((file) => regexLiterals(file, read(file)));

/** Characters that stand for the classes of the pattern, and those that it names. */
const alphabetOf = ({ source }: RegexLiteral): string[] => {
  const named = source.replaceAll(/\\[a-zA-Z]|\\x[0-9a-f]{2}|[()[\]{}|?+*^$.]/g, '');
  return [...new Set([...'a0 -,:.=/;"\t', ...named])].slice(0, 24);
};

/** Text that the pattern may begin with: what stands in it literally before the first repetition. */
const beginningOf = ({ source }: RegexLiteral): string =>
  (/^\^?((?:[\w \-:=@/]|\\[^a-zA-Z])*)/.exec(source)?.[1] ?? '').replaceAll('\\', '').slice(0, 40);

/** Ends that a pattern does not expect, so that it tries every other way. */
const ENDS = ['\u0000', ' \t!', 'x y'];

/** Repetitions of one and two characters, after the beginning of the pattern, with an end that does not match. */
function* attacksOn(literal: RegexLiteral): Iterable<(size: number) => string> {
  const alphabet = alphabetOf(literal);
  const beginnings = new Set(['', beginningOf(literal)]);
  const pumps = [...alphabet, ...alphabet.slice(1).map((char, index) => `${alphabet[index]}${char}`)];
  for (const beginning of beginnings) {
    for (const pump of pumps) {
      for (const end of ENDS) {
        yield (size) => beginning + pump.repeat(Math.ceil(size / pump.length)) + end;
      }
    }
  }
}

/** CPU time of the cheapest of several runs; of the first that is fast enough, or hopeless. */
const leastCpuMs = (work: () => void): number => {
  let least = Number.POSITIVE_INFINITY;
  for (let count = 0; count < TRIES && least > MAX_CPU_MS; count += 1) {
    const begun = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(begun);
    least = Math.min(least, (user + system) / 1000);
    if (least > HOPELESS_CPU_MS) break;
  }
  return least;
};

/** The input size at which a match takes too long; undefined when none does. Small sizes first: an exponential one never ends. */
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

test('the attack finds patterns that are quadratic or exponential', { timeout: 60_000 }, () => {
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

/** Patterns that are made while the process runs. They may hold names of our own, never text from outside. */
const MADE = ['services/session-service/src/postgres/connection-report.ts'];

test('no regular expression is made of text from outside', () => {
  const makers = files.filter((file) => /\bRegExp\(/.test(read(file)));
  expect(makers).toEqual(MADE);
});
