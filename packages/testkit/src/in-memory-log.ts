import type { Logger } from '@muster/kit/logger';

/** One line that would have been logged. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A logger that prints nothing and remembers everything. */
export interface InMemoryLog extends Logger {
  readonly lines: readonly LogLine[];
  /** The lines of one event. */
  of(event: string): readonly LogLine[];
}

/** An empty log. Its children write into the same memory. */
export const createInMemoryLog = (): InMemoryLog => {
  const lines: LogLine[] = [];
  const loggerWith = (bound: object): Logger => {
    const at = (level: LogLine['level']) => (fields: object, event: string) =>
      void lines.push({ level, event, fields: { ...bound, ...fields } });
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => loggerWith({ ...bound, ...fields }),
    };
  };
  return { ...loggerWith({}), lines, of: (event) => lines.filter((line) => line.event === event) };
};
