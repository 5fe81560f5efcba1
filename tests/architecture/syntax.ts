import { parseAst } from 'vitest/node';
import { read } from './source-files.ts';

/** A node of the ESTree that the parser returns. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** A name or a text of a source file. */
export interface Occurrence {
  readonly text: string;
  readonly line: number;
}

/** Condition of a test: `never` for `skip`, `todo` and `fails`, `sometimes` for `skipIf` and `runIf`. */
export type Runs = 'always' | 'sometimes' | 'never';

/** Title of a test or suite. */
export interface Title extends Occurrence {
  readonly isSuite: boolean;
  /** The suites around it count. */
  readonly runs: Runs;
}

/** The specifier of an import, static or dynamic, or of a re-export. */
export interface ImportSpecifier extends Occurrence {
  readonly isTypeOnly: boolean;
}

/** Names, texts and comments of a source file. */
export interface Syntax {
  readonly imports: readonly ImportSpecifier[];
  /** Exported values and types. */
  readonly exports: readonly (Occurrence & { readonly isType: boolean })[];
  /** Every declared name: variables, functions, parameters, types, members. */
  readonly declared: readonly Occurrence[];
  /** String literals, templates (expressions become `…`) and JSX text. */
  readonly strings: readonly Occurrence[];
  /** Comments, without their marks; the lines of a block comment are joined. */
  readonly comments: readonly Occurrence[];
  /** Values of `class` and `className`. */
  readonly classNames: readonly Occurrence[];
  /** First arguments of `test`, `it` and `describe`. */
  readonly titles: readonly Title[];
}

const parsed = new Map<string, Syntax>();

/** Exports, declared names and texts of a TypeScript file of the repository. */
export const syntaxOf = (file: string): Syntax => {
  const known = parsed.get(file);
  if (known !== undefined) return known;
  const syntax = parseSyntax(read(file), file);
  parsed.set(file, syntax);
  return syntax;
};

/** The same for a text; `file` decides whether JSX is allowed. */
export const parseSyntax = (text: string, file: string): Syntax => {
  const lang = file.endsWith('x') ? 'tsx' : 'ts';
  const program = parseAst(text, { lang }) as unknown as Node;
  const lines = lineStarts(text);
  const found = {
    imports: [] as ImportSpecifier[],
    exports: [] as (Occurrence & { isType: boolean })[],
    declared: [] as Occurrence[],
    strings: [] as Occurrence[],
    classNames: [] as Occurrence[],
  };
  const titles: TitleCall[] = [];
  const literals: Node[] = [];
  const at = (node: Node) => lineOf(lines, node.start);
  visit(program, (node, parent) => {
    if (LITERALS.has(node.type)) literals.push(node);
    const specifier = importOf(node);
    if (specifier !== undefined) found.imports.push({ ...specifier, line: at(node) });
    if (node.type === 'ExportNamedDeclaration') {
      for (const { name, isType } of exportedNames(node)) {
        found.exports.push({ text: name, isType, line: at(node) });
      }
    }
    for (const name of declaredNames(node)) found.declared.push({ text: name, line: at(node) });
    const string = stringOf(node, parent);
    if (string !== undefined) found.strings.push({ text: string, line: at(node) });
    if (string !== undefined && parent !== undefined && isClassName(parent)) {
      found.classNames.push({ text: string, line: at(node) });
    }
    const title = titleOf(node);
    if (title !== undefined) titles.push({ ...title, node, line: at(node) });
  });
  const comments = commentsOf(text, literals).map(({ start, ...comment }) => ({
    ...comment,
    line: lineOf(lines, start),
  }));
  return { ...found, comments, titles: titles.map((title) => withSuites(title, titles)) };
};

/** Nodes whose text may contain the marks of a comment. */
const LITERALS = new Set(['Literal', 'TemplateElement', 'JSXText']);

/** The parser does not return comments: they are what stands between `//` or `/*` and its end outside of literals. */
const commentsOf = (text: string, literals: readonly Node[]): { text: string; start: number }[] => {
  const ends = new Map(literals.map(({ start, end }) => [start, end]));
  const comments: { text: string; start: number }[] = [];
  for (let at = 0; at < text.length; ) {
    const isLine = text.startsWith('//', at);
    if (!ends.has(at) && (isLine || text.startsWith('/*', at))) {
      const end = endOf(text, at + 2, isLine ? '\n' : '*/');
      comments.push({ text: textOfComment(text.slice(at + 2, end)), start: at });
      at = end;
    } else at = Math.max(at + 1, ends.get(at) ?? 0);
  }
  return comments;
};

const endOf = (text: string, from: number, mark: string): number => {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at;
};

const textOfComment = (text: string): string =>
  text
    .replaceAll(/^\s*\*+ ?/gm, '')
    .replaceAll(/\s+/g, ' ')
    .trim();

const importOf = (node: Node): Omit<ImportSpecifier, 'line'> | undefined => {
  // `import('x')` in an expression or in a type.
  const source = (node['source'] ?? (node.type === 'TSImportType' ? node['argument'] : null)) as Node | null;
  if (source?.type !== 'Literal') return undefined;
  const isTypeOnly = node['importKind'] === 'type' || node['exportKind'] === 'type' || node.type === 'TSImportType';
  return { text: String(source['value']), isTypeOnly };
};

const TYPES = new Set(['TSInterfaceDeclaration', 'TSTypeAliasDeclaration']);

const exportedNames = (node: Node): { name: string; isType: boolean }[] => {
  const declaration = node['declaration'] as Node | null;
  if (declaration === null) {
    return (node['specifiers'] as Node[]).map((specifier) => ({
      name: nameOf(specifier['exported']),
      isType: node['exportKind'] === 'type' || specifier['exportKind'] === 'type',
    }));
  }
  const isType = TYPES.has(declaration.type);
  if (declaration.type === 'VariableDeclaration') {
    return (declaration['declarations'] as Node[])
      .flatMap(({ id }) => patternNames(id as Node))
      .map((name) => ({ name, isType }));
  }
  return [{ name: nameOf(declaration['id']), isType }];
};

const MEMBERS = new Set([
  'TSPropertySignature',
  'TSMethodSignature',
  'PropertyDefinition',
  'MethodDefinition',
  'AccessorProperty',
]);
const DECLARATIONS = new Set([
  'FunctionDeclaration',
  'ClassDeclaration',
  'TSInterfaceDeclaration',
  'TSTypeAliasDeclaration',
  'TSEnumDeclaration',
]);

const declaredNames = (node: Node): string[] => {
  if (node.type === 'VariableDeclarator') return patternNames(node['id'] as Node);
  if (DECLARATIONS.has(node.type) && node['id'] !== null) return [nameOf(node['id'])];
  if (MEMBERS.has(node.type) && node['computed'] !== true) return [nameOf(node['key'])];
  if (/Function/.test(node.type)) {
    return ((node['params'] ?? []) as Node[]).flatMap((parameter) => patternNames(parameter));
  }
  return [];
};

/** Names that a pattern binds: `{ a, b: [c] }` → a, c. */
const patternNames = (node: Node | null): string[] => {
  if (node === null) return [];
  switch (node.type) {
    case 'Identifier':
      return [node['name'] as string];
    case 'ObjectPattern':
      return (node['properties'] as Node[]).flatMap((property) =>
        patternNames((property.type === 'RestElement' ? property['argument'] : property['value']) as Node),
      );
    case 'ArrayPattern':
      return (node['elements'] as (Node | null)[]).flatMap(patternNames);
    case 'AssignmentPattern':
      return patternNames(node['left'] as Node);
    case 'RestElement':
      return patternNames(node['argument'] as Node);
    case 'TSParameterProperty':
      return patternNames(node['parameter'] as Node);
    default:
      return [];
  }
};

const nameOf = (node: unknown): string => {
  const { name, value } = node as { name?: string; value?: unknown };
  return name ?? String(value ?? '');
};

const NOT_TEXT = new Set(['ImportDeclaration', 'ExportNamedDeclaration', 'ExportAllDeclaration', 'ImportExpression']);

const stringOf = (node: Node, parent: Node | undefined): string | undefined => {
  if (node.type === 'Literal' && typeof node['value'] === 'string') {
    return parent !== undefined && NOT_TEXT.has(parent.type) ? undefined : node['value'];
  }
  if (node.type === 'JSXText') return node['value'] as string;
  if (node.type !== 'TemplateLiteral') return undefined;
  return (node['quasis'] as Node[]).map(({ value }) => (value as { cooked: string }).cooked).join('…');
};

const isClassName = ({ type, name }: Node): boolean => type === 'JSXAttribute' && /^class(?:Name)?$/.test(nameOf(name));

/** A title where it was found; a suite holds the titles within its call. */
interface TitleCall extends Title {
  readonly node: Node;
}

const withSuites = ({ node, ...title }: TitleCall, all: readonly TitleCall[]): Title => {
  const around = all.filter((other) => other.node.start <= node.start && other.node.end >= node.end);
  const runs = (['never', 'sometimes'] as const).find((each) => around.some((other) => other.runs === each));
  return { ...title, runs: runs ?? 'always' };
};

const MODES: Readonly<Record<string, Runs>> = {
  skip: 'never',
  todo: 'never',
  fails: 'never',
  skipIf: 'sometimes',
  runIf: 'sometimes',
};

/** `test.skipIf(x).each(y)('title', …)` → its title, and whether it runs. */
const titleOf = (node: Node): Omit<Title, 'line'> | undefined => {
  if (node.type !== 'CallExpression') return undefined;
  let runs: Runs = 'always';
  let callee = node['callee'] as Node;
  while (callee.type !== 'Identifier') {
    const mode = callee.type === 'MemberExpression' ? MODES[nameOf(callee['property'])] : undefined;
    if (mode !== undefined && runs !== 'never') runs = mode;
    const inner = callee['object'] ?? callee['callee'] ?? callee['tag'];
    if (inner === undefined) return undefined;
    callee = inner as Node;
  }
  const name = callee['name'] as string;
  if (!/^(?:test|it|describe)$/.test(name)) return undefined;
  const [first] = node['arguments'] as Node[];
  const text = first === undefined ? undefined : stringOf(first, undefined);
  return text === undefined ? undefined : { text, runs, isSuite: name === 'describe' };
};

const visit = (node: Node, enter: (node: Node, parent: Node | undefined) => void, parent?: Node): void => {
  enter(node, parent);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child?.type === 'string') visit(child as Node, enter, node);
    }
  }
};

const lineStarts = (text: string): number[] => {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
};

const lineOf = (starts: readonly number[], offset: number): number => {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle;
  }
  return low + 1;
};
