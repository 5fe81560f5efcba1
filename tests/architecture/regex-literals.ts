/** A regular expression in a source file. */
export interface RegexLiteral {
  readonly file: string;
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

/** After these tokens a slash starts a regular expression; after a value it divides. */
const BEFORE_REGEX = /(?:[(,=:[!&|?{};+]|=>|\breturn|\bcase|\btypeof)$/;

/** Regular expression literals of a TypeScript file; comments, strings and templates are skipped. */
export const regexLiterals = (file: string, text: string): RegexLiteral[] => {
  const found: RegexLiteral[] = [];
  let code = '';
  for (let at = 0; at < text.length; ) {
    const char = text[at] ?? '';
    const next = text[at + 1];
    if (char === '/' && next === '/') at = endOf(text, at, '\n');
    else if (char === '/' && next === '*') at = endOf(text, at, '*/') + 2;
    else if (char === "'" || char === '"') {
      at = skipQuoted(text, at, char);
      code += '0';
    } else if (char === '`') {
      const { end, inside } = skipTemplate(text, at);
      for (const [from, to] of inside) found.push(...regexLiterals(file, `(${text.slice(from, to)})`));
      at = end;
      code += '0';
    } else if (char === '/' && next !== '>' && BEFORE_REGEX.test(code.slice(-12).trimEnd())) {
      const end = skipRegex(text, at);
      const flags = /^[a-z]*/.exec(text.slice(end, end + 8))?.[0] ?? '';
      const line = text.slice(0, at).split('\n').length;
      found.push({ file, line, source: text.slice(at + 1, end - 1), flags });
      at = end + flags.length;
      code += '0';
    } else {
      code += char;
      at += 1;
    }
  }
  return found;
};

const endOf = (text: string, from: number, mark: string): number => {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at;
};

const skipQuoted = (text: string, from: number, quote: string): number => {
  let at = from + 1;
  while (at < text.length && text[at] !== quote) at += text[at] === '\\' ? 2 : 1;
  return at + 1;
};

const skipRegex = (text: string, from: number): number => {
  let isClass = false;
  let at = from + 1;
  while (at < text.length && (isClass || text[at] !== '/')) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '[') isClass = true;
    else if (text[at] === ']') isClass = false;
    at += 1;
  }
  return at + 1;
};

/** The end of a template, and the ranges of its expressions. */
const skipTemplate = (text: string, from: number): { end: number; inside: [number, number][] } => {
  const inside: [number, number][] = [];
  let at = from + 1;
  while (at < text.length && text[at] !== '`') {
    if (text[at] === '\\') at += 2;
    else if (text.startsWith('${', at)) {
      const start = at + 2;
      at = skipExpression(text, start);
      inside.push([start, at - 1]);
    } else at += 1;
  }
  return { end: at + 1, inside };
};

const skipExpression = (text: string, from: number): number => {
  let depth = 1;
  let at = from;
  while (at < text.length && depth > 0) {
    const char = text[at] ?? '';
    if (char === "'" || char === '"') at = skipQuoted(text, at, char);
    else if (char === '`') at = skipTemplate(text, at).end;
    else {
      if (char === '{') depth += 1;
      if (char === '}') depth -= 1;
      at += 1;
    }
  }
  return at;
};
