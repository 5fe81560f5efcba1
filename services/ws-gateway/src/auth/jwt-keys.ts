import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';

/** A key that tokens may be signed with, and the algorithms that it is good for: a token never chooses for itself. */
export interface JwtKey {
  readonly algorithms: readonly string[];
  readonly key: KeyObject;
}

/** Algorithms of keys that are published. No HMAC: its key would be the public one. */
export const PUBLISHED_ALGORITHMS: readonly string[] = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** A secret must be as long as the hash (RFC 7518 §3.2), so a short one is good for fewer algorithms. */
const HMACS = [
  ['HS256', 32],
  ['HS384', 48],
  ['HS512', 64],
] as const;

/** The least bytes of a secret. */
export const MIN_HMAC_BYTES = 32;

const MIN_RSA_BITS = 2048;
const CURVES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
]);
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g;

/** A shared secret, as its UTF-8 bytes. */
export const hmacKey = (secret: string): JwtKey => {
  const bytes = Buffer.from(secret);
  return {
    algorithms: HMACS.flatMap(([name, size]) => (bytes.length >= size ? [name] : [])),
    key: createSecretKey(bytes),
  };
};

/**
 * Public keys or certificates in PEM, one after the other; `\n` written as two characters counts as a line break, for variables
 * that cannot hold one. Throws an Error that says what is wrong and shows nothing of the text.
 */
export const publicKeys = (pem: string): JwtKey[] => {
  const blocks = [...pem.replaceAll('\\n', '\n').matchAll(PEM_BLOCK)];
  if (blocks.length === 0) throw new Error('must hold one or more public keys in PEM');
  return blocks.map(([block, kind = '']) => {
    if (kind.includes('PRIVATE')) throw new Error('holds a private key: put the public one here');
    return publicKey(block);
  });
};

const publicKey = (pem: string): JwtKey => {
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw new Error('holds a key that cannot be read');
  }
  const algorithms = algorithmsOf(key);
  if (algorithms === undefined)
    throw new Error('holds a key that is not RSA, EC (P-256, P-384, P-521) or Ed25519');
  return { algorithms, key };
};

const algorithmsOf = ({
  asymmetricKeyType: kind,
  asymmetricKeyDetails: about,
}: KeyObject): string[] | undefined => {
  switch (kind) {
    case 'rsa':
      if ((about?.modulusLength ?? 0) < MIN_RSA_BITS)
        throw new Error(`holds an RSA key below ${MIN_RSA_BITS} bits`);
      return PUBLISHED_ALGORITHMS.filter((name) => /^[RP]S/.test(name));
    case 'ec': {
      const algorithm = CURVES.get(about?.namedCurve ?? '');
      return algorithm === undefined ? undefined : [algorithm];
    }
    case 'ed25519':
      return ['EdDSA', 'Ed25519'];
    default:
      return undefined;
  }
};
