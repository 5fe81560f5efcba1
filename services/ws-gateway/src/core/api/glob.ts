/** Longest pattern: a group name has at most as many characters. */
export const MAX_GLOB_LENGTH = 255;

const STAR = 42; // *
const ANY_ONE = 63; // ?

/**
 * Whether a name matches a pattern: `*` stands for any characters, `?` for one, an empty pattern matches every name.
 * Two positions, and one step back per character at most: the cost is pattern × name in the worst case and linear for
 * patterns of people, never exponential as with a backtracking regular expression.
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
      // The last star takes one character more.
      afterStar += 1;
      at = afterStar;
      inPattern = lastStar + 1;
    } else return false;
  }
  while (pattern.charCodeAt(inPattern) === STAR) inPattern += 1;
  return inPattern === pattern.length;
};
