/** Longest pattern, in characters: that of a group name. */
export const MAX_GLOB_LENGTH = 255;

const STAR = 42; // *
const ANY_ONE = 63; // ?

/**
 * True when a name matches a glob: `*` matches any characters, `?` one, an empty pattern every name. Steps back at most once per
 * character: pattern × name in the worst case, linear for usual patterns, never exponential like a backtracking regular expression.
 */
export const matchesGlob = (pattern: string, name: string): boolean => {
  if (pattern === '') return true;
  let at = 0;
  let inPattern = 0;
  let lastStar = -1;
  let afterStar = 0;
  while (at < name.length) {
    const wanted = pattern.charCodeAt(inPattern);
    if (wanted === STAR) {
      lastStar = inPattern;
      afterStar = at;
      inPattern += 1;
    } else if (inPattern < pattern.length && (wanted === ANY_ONE || wanted === name.charCodeAt(at))) {
      inPattern += 1;
      at += 1;
    } else if (lastStar >= 0) {
      // The last star matches one more character.
      afterStar += 1;
      at = afterStar;
      inPattern = lastStar + 1;
    } else return false;
  }
  while (pattern.charCodeAt(inPattern) === STAR) inPattern += 1;
  return inPattern === pattern.length;
};
