/** An answer is longer than it may be. */
export class TooLongError extends Error {
  override readonly name = 'TooLongError';
}

/** The body of an answer as text; throws {@link TooLongError} as soon as it is more than `maxBytes`. */
export const readResponseText = async (response: Response, maxBytes: number): Promise<string> => {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new TooLongError(`the answer has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
};
