const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;
/** Segments that URL parsers resolve or drop: empty, `.` and `..`, percent-encoded too. */
const UNSTABLE_SEGMENT = /^(?:\.|%2e){0,2}$/i;
const LONGEST_SHOWN = 60;

/**
 * An id as one segment of a path. Throws {@link TypeError} unless it is a UUID: an empty id or `.` would address
 * the whole collection, and a DELETE would end all of it.
 */
export const uuidSegment = (name: string, id: string): string => {
  if (typeof id === 'string' && UUID.test(id)) return id.toLowerCase();
  throw new TypeError(`${name}: expected a UUID, got ${shown(id)}`);
};

/** A name, such as a user id, as one segment of a path. Throws {@link TypeError} for one that no path can hold. */
export const nameSegment = (name: string, value: string): string => {
  if (typeof value !== 'string' || UNSTABLE_SEGMENT.test(value)) {
    throw new TypeError(`${name}: expected text other than "", "." and "..", got ${shown(value)}`);
  }
  return encodeURIComponent(value);
};

/** Throws {@link TypeError} for a path that a URL parser would change. */
export const requireStablePath = (path: string): void => {
  const [, ...segments] = path.split('/');
  if (!path.startsWith('/') || segments.some((segment) => UNSTABLE_SEGMENT.test(segment))) {
    throw new TypeError(`path: expected /segments, none of them empty, "." or "..", got ${shown(path)}`);
  }
  if (/[?#\\]/.test(path)) throw new TypeError(`path: expected no "?", "#" and "\\", got ${shown(path)}`);
};

const shown = (value: unknown): string =>
  typeof value === 'string' ? JSON.stringify(value.slice(0, LONGEST_SHOWN)) : String(value);
