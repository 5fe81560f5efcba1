import { Fields, MalformedMessage } from './protobuf-wire.ts';

export type Tags = Readonly<Record<string, string>>;

/** True when a publication with these tags is delivered. */
export type TagsFilter = (tags: Tags) => boolean;

const MAX_DEPTH = 8;
const MAX_NODES = 64;

interface Node {
  readonly op: string;
  readonly key: string;
  readonly cmp: string;
  readonly val: string;
  readonly vals: readonly string[];
  readonly nodes: readonly Node[];
}

class BadFilter extends Error {}

const TOO_DEEP = `has more than ${MAX_DEPTH} levels`;

/** Compiles the JSON value or Protobuf bytes of a subscribe command; the cause, as text, for a malformed filter. */
export const parseTagsFilter = (value: unknown): TagsFilter | string => {
  const budget = { nodes: MAX_NODES };
  try {
    const node = value instanceof Uint8Array ? fromFields(new Fields(value), 0) : fromJson(value, 0);
    return compile(node, budget);
  } catch (error) {
    if (error instanceof BadFilter) return error.message;
    if (error instanceof MalformedMessage) return 'is not a FilterNode message';
    throw error;
  }
};

const fromJson = (value: unknown, depth: number): Node => {
  if (depth > MAX_DEPTH) throw new BadFilter(TOO_DEEP);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BadFilter('must be made of objects such as {"key":"k","cmp":"eq","val":"v"}');
  const members = value as Readonly<Record<string, unknown>>;
  const text = (name: string): string => {
    const member = Object.hasOwn(members, name) ? (members[name] ?? '') : '';
    if (typeof member !== 'string') throw new BadFilter(`has a \`${name}\` that is not a string`);
    return member;
  };
  const list = (name: string): readonly unknown[] => {
    const member = Object.hasOwn(members, name) ? (members[name] ?? []) : [];
    if (!Array.isArray(member)) throw new BadFilter(`has \`${name}\` that are not a list`);
    return member;
  };
  const vals = list('vals');
  if (!vals.every((val) => typeof val === 'string')) throw new BadFilter('has `vals` that are not strings');
  const nodes = list('nodes').map((node) => fromJson(node, depth + 1));
  return { op: text('op'), key: text('key'), cmp: text('cmp'), val: text('val'), vals, nodes };
};

const fromFields = (fields: Fields, depth: number): Node => {
  if (depth > MAX_DEPTH) throw new BadFilter(TOO_DEEP);
  return {
    op: fields.text(1),
    key: fields.text(2),
    cmp: fields.text(3),
    val: fields.text(4),
    vals: fields.texts(5),
    nodes: fields.messages(6).map((node) => fromFields(node, depth + 1)),
  };
};

const compile = (node: Node, budget: { nodes: number }): TagsFilter => {
  budget.nodes -= 1;
  if (budget.nodes < 0) throw new BadFilter(`has more than ${MAX_NODES} conditions`);
  if (node.op === '') return compileLeaf(node);
  const parts = node.nodes.map((child) => compile(child, budget));
  const [first] = parts;
  if (first === undefined) throw new BadFilter('has an `op` without `nodes`');
  if (node.op === 'and') return (tags) => parts.every((part) => part(tags));
  if (node.op === 'or') return (tags) => parts.some((part) => part(tags));
  if (node.op === 'not' && parts.length === 1) return (tags) => !first(tags);
  throw new BadFilter('has an `op` other than `and`, `or`, and `not` with one node');
};

type Compare = (tag: string, node: Node) => boolean;

const COMPARE: ReadonlyMap<string, Compare> = new Map<string, Compare>([
  ['eq', (tag, { val }) => tag === val],
  ['in', (tag, { vals }) => vals.includes(tag)],
  ['ex', () => true],
  ['sw', (tag, { val }) => tag.startsWith(val)],
  ['ew', (tag, { val }) => tag.endsWith(val)],
  ['ct', (tag, { val }) => tag.includes(val)],
  ['lt', (tag, { val }) => Number(tag) < Number(val)],
  ['lte', (tag, { val }) => Number(tag) <= Number(val)],
  ['gt', (tag, { val }) => Number(tag) > Number(val)],
  ['gte', (tag, { val }) => Number(tag) >= Number(val)],
]);
/** Negations; they also match publications without the tag. */
const NEGATED: ReadonlyMap<string, string> = new Map([
  ['neq', 'eq'],
  ['nin', 'in'],
  ['nex', 'ex'],
]);

const compileLeaf = (node: Node): TagsFilter => {
  const { key } = node;
  const compare = COMPARE.get(NEGATED.get(node.cmp) ?? node.cmp);
  if (key === '') throw new BadFilter('has a condition without `key`');
  if (compare === undefined) throw new BadFilter('has a condition with an unknown `cmp`');
  const holds: TagsFilter = (tags) => Object.hasOwn(tags, key) && compare(tags[key] ?? '', node);
  return NEGATED.has(node.cmp) ? (tags) => !holds(tags) : holds;
};
