/**
 * Paths whose names and texts still follow the old wording. The list only shrinks, and is empty when the change of
 * wording is complete. `npm run language -- PATH` lists what is left in a path.
 */
export const PENDING: readonly string[] = [...['deploy/', 'tests/', 'packages/', 'services/']];
