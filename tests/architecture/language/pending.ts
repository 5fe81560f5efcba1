/**
 * Paths whose names and texts still follow the old wording. The list only shrinks, and is empty when the change of
 * wording is complete. `npm run language -- PATH` lists what is left in a path.
 */
export const PENDING: readonly string[] = [
  ...['README.md', 'CONTRIBUTING.md', 'DECISIONS.md', 'SECURITY.md'],
  ...['docs/', 'deploy/', 'tests/', 'packages/', 'services/'],
];
