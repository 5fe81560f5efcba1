import { createSecretKey } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT } from 'jose';

export const TOKEN_SECRET = 'b1946ac92492d2347c6235b4d2611184-tokens';
export const CALLBACK_SECRET = '591785b794601e212b260e25925636fd-callbacks';

/** A request of the gateway. */
export interface Question {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An application on loopback with answers of the test. */
export interface TestApplication extends AsyncDisposable {
  readonly url: string;
  readonly questions: Question[];
  /** From now on every question is answered like this: a JSON value with 200, or as the function does. */
  answer(how: object | ((question: Question, res: ServerResponse) => void)): void;
}

export const startApplication = async (): Promise<TestApplication> => {
  const questions: Question[] = [];
  let how: object | ((question: Question, res: ServerResponse) => void) = { result: {} };
  const server = createServer(async (req, res) => {
    let body = '';
    for await (const chunk of req.setEncoding('utf8')) body += chunk;
    const question = { path: req.url ?? '', headers: req.headers, body };
    questions.push(question);
    if (typeof how === 'function') how(question, res);
    else res.setHeader('content-type', 'application/json').end(JSON.stringify(how));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    questions,
    answer: (next) => {
      how = next;
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

/** A token of the application, by default of ann and good for an hour. */
export const signToken = (claims: Record<string, unknown> = {}, secret = TOKEN_SECRET): Promise<string> =>
  new SignJWT({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3_600, ...claims })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(createSecretKey(Buffer.from(secret)));
