import type { Logger } from '@muster/kit/logger';

/** A logged line. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Logger that keeps its lines in memory and prints nothing. */
export interface InMemoryLog extends Logger {
  readonly lines: readonly LogLine[];
  /** The lines of one event. */
  of(event: string): readonly LogLine[];
}

/** Creates an empty log; child loggers write to the same lines. */
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
