import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import type { Random } from './random.ts';

/** What an app takes from outside besides its configuration. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}
