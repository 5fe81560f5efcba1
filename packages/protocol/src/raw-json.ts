/*
 * Extracts the text of a value from JSON text, so that a payload is forwarded as its sender wrote it: no second
 * serialisation, no lost digits. Only for text that `JSON.parse` has accepted.
 */

/** Text of member `name` of the object in `json`; the last of duplicates, as `JSON.parse` does. */
export const memberText = (json: string, name: string): string | undefined => {
  let found: string | undefined;
  let at = skipSpace(json, 0) + 1; // past `{`
  for (;;) {
    at = skipSpace(json, at);
    if (json[at] !== '"') return found; // `}` or the end
    const keyEnd = skipString(json, at);
    const from = skipSpace(json, skipSpace(json, keyEnd) + 1); // past `:`
    const to = skipValue(json, from);
    if (isKey(json, at, keyEnd, name)) found = json.slice(from, to);
    at = skipSpace(json, to) + 1; // past `,`
  }
};

const isKey = (json: string, from: number, to: number, name: string): boolean => {
  const key = json.slice(from + 1, to - 1);
  return key === name || (key.includes('\\') && JSON.parse(`"${key}"`) === name);
};

const skipSpace = (json: string, from: number): number => {
  let at = from;
  while (at < json.length && json.charCodeAt(at) <= 0x20) at++;
  return at;
};

/** Index after the string that starts at `from`. */
const skipString = (json: string, from: number): number => {
  let at = from + 1;
  for (;;) {
    const quote = json.indexOf('"', at);
    if (quote < 0) return json.length;
    let before = quote - 1;
    while (json[before] === '\\') before--;
    // An even number of backslashes escape each other, not the quote.
    if ((quote - before) % 2 === 1) return quote + 1;
    at = quote + 1;
  }
};

/** Index after the value that starts at `from`. */
const skipValue = (json: string, from: number): number => {
  let depth = 0;
  let at = from;
  do {
    const char = json[at];
    if (char === '"') at = skipString(json, at);
    else if (char === '{' || char === '[') {
      depth++;
      at++;
    } else if (char === '}' || char === ']') {
      depth--;
      at++;
    } else at = depth === 0 ? skipScalar(json, at) : at + 1;
  } while (depth > 0 && at < json.length);
  return at;
};

const skipScalar = (json: string, from: number): number => {
  let at = from;
  while (at < json.length && !isDelimiter(json.charCodeAt(at))) at++;
  return at;
};

const isDelimiter = (code: number): boolean =>
  code <= 0x20 || code === 0x2c /* , */ || code === 0x7d /* } */ || code === 0x5d /* ] */;
