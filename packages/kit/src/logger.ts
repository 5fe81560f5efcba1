import { inspect } from 'node:util';
import type { LogEvent } from '@muster/telemetry/log-events';
import { pino } from 'pino';
import { defined } from './defined.ts';

/** Levels in rising order of severity. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Structured log: fields first, then an event of the catalogue with that level. */
export interface Logger {
  debug(fields: object, event: LogEvent<'debug'>): void;
  info(fields: object, event: LogEvent<'info'>): void;
  warn(fields: object, event: LogEvent<'warn'>): void;
  error(fields: object, event: LogEvent<'error'>): void;
  /** A logger that adds these fields to every line. */
  child(fields: object): Logger;
}

/** Fields that are redacted, up to two objects deep. */
const SECRET_FIELDS = [
  'authorization',
  'cookie',
  'set-cookie',
  'token',
  'ticket',
  'secret',
  'password',
  'apiKey',
  'x-api-key',
];

/** JSON lines on standard output; tokens, cookies and keys are replaced by `[redacted]`. */
export const createLogger = (options: { level: LogLevel; service: string; instance: string }): Logger =>
  pino({
    level: options.level,
    base: { service: options.service, instance: options.instance },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    messageKey: 'event',
    errorKey: 'error',
    serializers: { error: errorFields },
    redact: {
      paths: SECRET_FIELDS.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]),
      censor: '[redacted]',
    },
  });

/** Type, message, code, stack and cause of an error. */
const errorFields = (error: unknown): object => {
  if (!(error instanceof Error)) return { message: inspect(error, { depth: 1 }) };
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    message: error.message,
    ...defined({ code }),
    stack: error.stack,
    ...defined({ cause: error.cause === undefined ? undefined : errorFields(error.cause) }),
  };
};
