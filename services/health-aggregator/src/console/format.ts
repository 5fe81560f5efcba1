const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** An age with one unit: `0.8 s`, `12 s`, `3 min`, `2 h`, `5 d`. */
export const shortAge = (ms: number): string => {
  const age = Math.max(0, ms);
  if (age < 10 * SECOND) return `${(age / SECOND).toFixed(1)} s`;
  if (age < 2 * MINUTE) return `${Math.round(age / SECOND)} s`;
  if (age < 2 * HOUR) return `${Math.round(age / MINUTE)} min`;
  return age < 2 * DAY ? `${Math.round(age / HOUR)} h` : `${Math.round(age / DAY)} d`;
};

/** A duration with up to two units: `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export const uptime = (ms: number): string => {
  const age = Math.max(0, ms);
  if (age < MINUTE) return `${Math.round(age / SECOND)} s`;
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min`;
  if (age < DAY) return `${Math.floor(age / HOUR)} h ${Math.floor((age % HOUR) / MINUTE)} min`;
  return `${Math.floor(age / DAY)} d ${Math.floor((age % DAY) / HOUR)} h`;
};

/** A measured duration: `0.4 ms`, `12 ms`, `1.2 s`. */
export const latency = (ms: number): string => {
  if (ms >= SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
};

/** An integer with thousands separated by a narrow no-break space. */
export const count = (value: number): string => value.toLocaleString('en').replaceAll(',', '\u202f');

const FIRST_NAMES = ['Quiet', 'Amber', 'Brisk', 'Calm', 'Early', 'Gentle', 'Keen', 'Lucky'];
const LAST_NAMES = ['Heron', 'Finch', 'Otter', 'Lynx', 'Plover', 'Marten', 'Wren', 'Hare'];

/** A readable name derived from an id; the same id always gives the same name. */
export const nickname = (id: string): string => {
  let hash = 2_166_136_261;
  for (const char of id) hash = Math.imul(hash ^ char.charCodeAt(0), 16_777_619) >>> 0;
  return `${FIRST_NAMES[hash % FIRST_NAMES.length]} ${LAST_NAMES[(hash >>> 8) % LAST_NAMES.length]}`;
};
