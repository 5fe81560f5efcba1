/**
 * Paths whose names and texts still follow the old wording. The list only shrinks, and is empty when the change of
 * wording is complete. `npm run language -- PATH` lists what is left in a path.
 */
export const PENDING: readonly string[] = [];

/** The same for comments: `npm run language -- --comments PATH`. */
export const PENDING_COMMENTS: readonly string[] = [];
