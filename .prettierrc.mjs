import * as markdown from 'prettier/plugins/markdown';

const { mdast } = markdown.printers;

/** Prettier pads the cells of a table to the widest of a column, so that a change of one cell changes every row. */
const printTable = (path, options, print, args) => {
  const [hardBreak, table] = mdast.print(path, { ...options, proseWrap: 'never' }, print, args);
  // A broken group is the form without padding, which Prettier uses for tables that are wider than the page.
  return [hardBreak, { ...table, break: true }];
};

const compactTables = {
  parsers: { markdown: markdown.parsers.markdown },
  printers: {
    mdast: {
      ...mdast,
      print: (path, ...rest) => (path.node.type === 'table' ? printTable : mdast.print)(path, ...rest),
    },
  },
};

export default {
  printWidth: 120,
  proseWrap: 'always',
  // As in the sources. Changesets writes the head of its files with double quotes.
  singleQuote: true,
  overrides: [{ files: '.changeset/*.md', options: { singleQuote: false } }],
  plugins: [compactTables],
};
