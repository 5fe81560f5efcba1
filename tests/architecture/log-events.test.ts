import { LOG_EVENTS } from '@muster/telemetry/log-events';
import { expect, test } from 'vitest';
import { isTest, read, sourceFiles } from './source-files.ts';

const CATALOGUE = 'packages/telemetry/src/log-events.ts';
/** Names that are composed from a closed list where they are written. */
const COMPOSED = ['gateway.handshake_refused', 'gateway.connect_refused', 'gateway.api_refused'];

test('[MC9] every event of the catalogue is logged somewhere', () => {
  const text = sourceFiles()
    .filter((file) => file !== CATALOGUE && !isTest(file))
    .map(read)
    .join('\n');
  const unused = Object.keys(LOG_EVENTS).filter((event) => !text.includes(`'${event}'`));
  expect(unused).toEqual(COMPOSED);
});
