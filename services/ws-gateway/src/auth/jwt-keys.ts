import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { ASYMMETRIC_ALGORITHMS, type JwtKey } from '@muster/kit/jwt';

/** HMAC algorithms with the least secret length in bytes: that of the hash (RFC 7518 §3.2). */
const HMACS = [
  ['HS256', 32],
  ['HS384', 48],
  ['HS512', 64],
] as const;

/** Least length of an HMAC secret in bytes. */
export const MIN_HMAC_BYTES = 32;

const MIN_RSA_BITS = 2048;
const CURVES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
]);
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g;

/** The HMAC key of a shared secret, as its UTF-8 bytes. */
export const hmacKey = (secret: string): JwtKey => {
  const bytes = Buffer.from(secret);
  return {
    algorithms: HMACS.flatMap(([name, size]) => (bytes.length >= size ? [name] : [])),
    key: createSecretKey(bytes),
  };
};

/**
 * Parses concatenated public keys or certificates in PEM. A literal `\n` counts as a line break, for variables that cannot hold
 * one. Throws an Error with the problem, without any of the text.
 */
export const publicKeys = (pem: string): JwtKey[] => {
  const blocks = [...pem.replaceAll('\\n', '\n').matchAll(PEM_BLOCK)];
  if (blocks.length === 0) throw new Error('expected one or more public keys in PEM');
  return blocks.map(([block, kind = '']) => {
    if (kind.includes('PRIVATE')) throw new Error('contains a private key. Use the public key');
    return publicKey(block);
  });
};

const publicKey = (pem: string): JwtKey => {
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw new Error('contains a malformed key');
  }
  const algorithms = algorithmsOf(key);
  if (algorithms === undefined)
    throw new Error('contains a key of an unsupported type. Supported: RSA, EC (P-256, P-384, P-521), Ed25519');
  return { algorithms, key };
};

const algorithmsOf = ({ asymmetricKeyType: kind, asymmetricKeyDetails: details }: KeyObject): string[] | undefined => {
  switch (kind) {
    case 'rsa':
      if ((details?.modulusLength ?? 0) < MIN_RSA_BITS)
        throw new Error(`contains an RSA key below ${MIN_RSA_BITS} bits`);
      return ASYMMETRIC_ALGORITHMS.filter((name) => /^[RP]S/.test(name));
    case 'ec': {
      const algorithm = CURVES.get(details?.namedCurve ?? '');
      return algorithm === undefined ? undefined : [algorithm];
    }
    case 'ed25519':
      return ['EdDSA', 'Ed25519'];
    default:
      return undefined;
  }
};
