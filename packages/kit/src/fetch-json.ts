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

/** A response exceeds its size limit. */
export class TooLongError extends Error {
  override readonly name = 'TooLongError';
}

/** Reads a response body as text; throws {@link TooLongError} as soon as it exceeds `maxBytes`. */
export const readResponseText = async (response: Response, maxBytes: number): Promise<string> => {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new TooLongError(`the response has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
};
