import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { createTokenSigner, type TokenSigner } from '@muster/session/token';

/** The purposes of sub-keys; each purpose has its own. */
type KeyPurpose = 'cursor' | 'csrf' | 'ticket' | 'idempotency' | 'ip';

/** MACs under sub-keys of the signing keys. */
export type DerivedKeys = ReturnType<typeof createDerivedKeys>;

const MIN_MAC_BYTES = 16;
const MAX_MAC_BYTES = 32;

/** Derives sub-keys by HKDF-SHA256: no two purposes share key material with each other or with the cookie. */
export const createDerivedKeys = (secrets: readonly string[]) => {
  const cache = new Map<string, Buffer>();
  const keyOf = (purpose: KeyPurpose, index: number): Buffer => {
    const name = `${purpose}:${index}`;
    const cached = cache.get(name);
    if (cached) return cached;
    const key = Buffer.from(hkdfSync('sha256', secrets[index] ?? '', '', `muster/session/${purpose}`, 32));
    cache.set(name, key);
    return key;
  };
  const macWith = (purpose: KeyPurpose, index: number, text: string): Buffer =>
    createHmac('sha256', keyOf(purpose, index)).update(text).digest();

  return {
    /** HMAC-SHA256 under the sub-key of the first signing key, 32 bytes. */
    mac: (purpose: KeyPurpose, text: string): Buffer => macWith(purpose, 0, text),
    /** One MAC per listed signing key, in their order. */
    macs: (purpose: KeyPurpose, text: string): Buffer[] => secrets.map((_, index) => macWith(purpose, index, text)),
    /** True if the MAC, or its first bytes (at least 16), was made with any listed key. Constant time. */
    verifies: (purpose: KeyPurpose, text: string, mac: Uint8Array): boolean =>
      mac.length >= MIN_MAC_BYTES &&
      mac.length <= MAX_MAC_BYTES &&
      secrets.some((_, index) => timingSafeEqual(macWith(purpose, index, text).subarray(0, mac.length), mac)),
  };
};

/** The signing keys, which can be replaced while requests are in progress. */
export type KeyRing = ReturnType<typeof createKeyRing>;

/** A signer and sub-keys that always use the current signing keys. */
export const createKeyRing = (secrets: readonly string[]) => {
  let currentSigner = createTokenSigner(secrets);
  let currentKeys = createDerivedKeys(secrets);
  const signer: TokenSigner = {
    issue: (id, secret) => currentSigner.issue(id, secret),
    verify: (token) => currentSigner.verify(token),
  };
  const keys: DerivedKeys = {
    mac: (purpose, text) => currentKeys.mac(purpose, text),
    macs: (purpose, text) => currentKeys.macs(purpose, text),
    verifies: (purpose, text, mac) => currentKeys.verifies(purpose, text, mac),
  };
  return {
    signer,
    keys,
    /** Takes effect for the next request. Throws for an empty list and changes nothing then. */
    replace: (next: readonly string[]): void => {
      currentSigner = createTokenSigner(next);
      currentKeys = createDerivedKeys(next);
    },
  };
};
