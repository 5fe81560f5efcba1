import { fileURLToPath } from 'node:url';

const FAKE = fileURLToPath(new URL('./fake-service.ts', import.meta.url));

/** The same stand-in for every service. */
export const FAKE_ENTRY_POINTS = {
  'session-service': FAKE,
  'ws-gateway': FAKE,
  'health-aggregator': FAKE,
};
