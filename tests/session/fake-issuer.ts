import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

export interface TokenOptions {
  readonly claims?: Record<string, unknown>;
  readonly header?: Record<string, unknown>;
  readonly algorithm?: string;
  /** Another key than the published one of that algorithm. */
  readonly key?: CryptoKey | Uint8Array;
  /** Claims to leave out. */
  readonly without?: readonly string[];
}

/** An OpenID provider on loopback: it publishes keys and signs any token. */
export interface TestIssuer extends AsyncDisposable {
  readonly url: string;
  /** Requests for the key set so far. */
  keyRequests(): number;
  /** `ok`, or what goes wrong with every answer from now on. */
  behave(how: 'ok' | 'error' | 'garbage' | 'huge' | 'hang'): void;
  /** Publishes one more key; its tokens carry its id. */
  addKey(kid: string, algorithm: string): Promise<CryptoKey>;
  publicKeyPem(): string;
  idToken(options?: TokenOptions): Promise<string>;
  logoutToken(options?: TokenOptions): Promise<string>;
}

export const CLIENT_ID = 'muster-web';
export const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout';

const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];

/** Starts one, with a key for each of RS256, ES256 and EdDSA; `key-<algorithm>` is its id. */
export const startIssuer = async (): Promise<TestIssuer> => {
  const keys = new Map<string, CryptoKey>();
  const published: object[] = [];
  let rsaPem = '';
  let asked = 0;
  let mood: Parameters<TestIssuer['behave']>[0] = 'ok';
  let url = '';
  const addKey = async (kid: string, algorithm: string): Promise<CryptoKey> => {
    const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
    const jwk = await exportJWK(publicKey);
    published.push({ ...jwk, kid, alg: algorithm, use: 'sig' });
    if (algorithm === 'RS256') rsaPem = JSON.stringify(jwk);
    keys.set(kid, privateKey);
    return privateKey;
  };
  for (const algorithm of ALGORITHMS) await addKey(`key-${algorithm}`, algorithm);

  const server: Server = createServer((req, res) => {
    if (req.url === '/jwks') asked += 1;
    if (mood === 'hang') return;
    if (mood === 'error') return void res.writeHead(500).end();
    if (mood === 'huge') return void res.writeHead(200).end(JSON.stringify({ keys: [], x: 'x'.repeat(300_000) }));
    if (mood === 'garbage') return void res.writeHead(200).end('<html>');
    const answers: Record<string, object> = {
      '/jwks': { keys: published },
      '/.well-known/openid-configuration': { issuer: url, jwks_uri: `${url}/jwks` },
    };
    const answer = answers[req.url ?? ''];
    res.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const sign = (base: JWTPayload, type: string, options: TokenOptions): Promise<string> => {
    const algorithm = options.algorithm ?? 'RS256';
    const claims = Object.fromEntries(
      Object.entries({ ...base, ...options.claims }).filter(([name]) => !options.without?.includes(name)),
    );
    const kid = (options.header?.['kid'] as string | undefined) ?? `key-${algorithm}`;
    return new SignJWT(claims)
      .setProtectedHeader({ alg: algorithm, typ: type, kid, ...options.header })
      .sign(options.key ?? keys.get(kid)!);
  };
  const base = (): JWTPayload => {
    const now = Math.floor(Date.now() / 1000);
    return { iss: url, aud: CLIENT_ID, iat: now, exp: now + 300, jti: crypto.randomUUID() };
  };
  return {
    url,
    keyRequests: () => asked,
    behave: (how) => {
      mood = how;
    },
    addKey,
    publicKeyPem: () => rsaPem,
    idToken: (options = {}) => sign({ ...base(), sub: 'ann' }, 'JWT', options),
    logoutToken: (options = {}) =>
      sign({ ...base(), sub: 'ann', events: { [LOGOUT_EVENT]: {} } }, 'logout+jwt', options),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
