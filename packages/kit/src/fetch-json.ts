import { readResponseText } from './response-text.ts';

const TIMEOUT_MS = 3_000;
const MAX_BYTES = 262_144;

/** Reads a JSON document of an issuer: within 3 s, at most 256 KiB, no redirects. Rejects otherwise. */
export const fetchJson = async (url: string): Promise<unknown> => {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the issuer answered ${response.status}`);
  }
  return JSON.parse(await readResponseText(response, MAX_BYTES));
};
