import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../architecture/source-files.ts';

/** Requirements of a shell block. */
export const MARKS = ['fleet', 'run', 'stores', 'compose', 'kubernetes'] as const;
export type Mark = (typeof MARKS)[number];

const SHELLS = ['sh', 'bash', 'shell', 'console', 'zsh'];
const FLAGS = ['background', 'slow'];
const FENCE = /^( *)(`{3,}|~{3,})(.*)$/;

/** A fenced block of a document. */
export interface Block {
  /** Path from the root of the repository. */
  readonly document: string;
  /** Line of the opening fence. */
  readonly line: number;
  /** First word of the info string: `sh`, `json`, `ts`…; empty without one. */
  readonly language: string;
  /** The rest of the info string. */
  readonly info: string;
  readonly code: string;
}

/** A block that a test runs. */
export interface Runnable extends Block {
  readonly mark: Mark;
  /** Runs until the document ends. */
  readonly isBackground: boolean;
  /** Too slow for `npm test`. */
  readonly isSlow: boolean;
  /** Lines that must appear in the output, in this order; `…` stands for any text. */
  readonly output: readonly string[];
}

/** Every fenced block of a document, in order. */
export const blocksOf = (document: string, text = readFileSync(join(ROOT, document), 'utf8')): Block[] => {
  const blocks: Block[] = [];
  let open: { indent: number; fence: string; line: number; info: string; lines: string[] } | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const [, indent = '', fence = '', info = ''] = FENCE.exec(line) ?? [];
    if (open === undefined) {
      if (fence !== '') {
        open = { indent: indent.length, fence, line: index + 1, info: info.trim(), lines: [] };
      }
    } else if (fence.startsWith(open.fence) && info.trim() === '') {
      const [language = '', ...rest] = open.info.split(' ');
      const code = `${open.lines.join('\n')}\n`;
      blocks.push({ document, line: open.line, language, info: rest.join(' '), code });
      open = undefined;
    } else open.lines.push(line.replace(new RegExp(`^ {0,${open.indent}}`), ''));
  }
  return blocks;
};

export const isShell = ({ language }: Block): boolean => SHELLS.includes(language);

/** `document:line`, as editors open it. */
export const positionOf = ({ document, line }: Block): string => `${document}:${line}`;

/** Fault of the mark of a shell block; undefined without a fault. */
export const markFault = (block: Block): string | undefined => {
  const { info } = block;
  if (info.startsWith('not-run:')) {
    return info.slice('not-run:'.length).trim().length >= 10 ? undefined : 'not-run: needs a reason';
  }
  const [mark = '', ...flags] = info.split(' ');
  if (!(MARKS as readonly string[]).includes(mark)) {
    return `expected one of ${MARKS.join(', ')} or "not-run: REASON" after "${block.language}", got "${info}"`;
  }
  const unknown = flags.filter((flag) => !FLAGS.includes(flag));
  return unknown.length === 0 ? undefined : `unknown flag ${unknown.join(', ')}; there are ${FLAGS.join(', ')}`;
};

/** The blocks of a document that run with one of `marks`, in order. */
export const runnableBlocks = (document: string, marks: readonly Mark[]): Runnable[] => {
  const blocks = blocksOf(document);
  return blocks.flatMap((block, index) => {
    const [mark, ...flags] = block.info.split(' ');
    if (!isShell(block) || !marks.includes(mark as Mark)) return [];
    const next = blocks[index + 1];
    const isOutput = next?.language === 'text' && next.info === 'output';
    return [
      {
        ...block,
        mark: mark as Mark,
        isBackground: flags.includes('background'),
        isSlow: flags.includes('slow'),
        output: isOutput ? next.code.split('\n').filter((line) => line.trim() !== '') : [],
      },
    ];
  });
};

/** True if every expected line appears in `output`, in this order. */
export const showsLines = (output: string, expected: readonly string[]): boolean => {
  const pattern = expected
    .map((line) =>
      line
        .trim()
        .split('…')
        .map((part) => part.trim().replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^\\n]*'),
    )
    .join('[\\s\\S]*?');
  return new RegExp(pattern).test(output);
};
