import { fileURLToPath } from 'node:url';

const FAKE = fileURLToPath(new URL('./fake-service.ts', import.meta.url));

/** The fake service for every kind of service. */
export const FAKE_ENTRY_POINTS = {
  'session-service': FAKE,
  'ws-gateway': FAKE,
  'health-aggregator': FAKE,
};
