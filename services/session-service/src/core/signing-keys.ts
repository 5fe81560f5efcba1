import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

/** What sub-keys are for; each purpose has its own. */
export type KeyPurpose = 'cursor' | 'csrf' | 'ticket' | 'idempotency' | 'ip';

/** Makes and checks short MACs under sub-keys of the signing keys. */
export interface DerivedKeys {
  /** HMAC-SHA256 under the first key's sub-key, 32 bytes. */
  mac(purpose: KeyPurpose, text: string): Buffer;
  /** The same under every listed key, the first one first. */
  macs(purpose: KeyPurpose, text: string): Buffer[];
  /** True if any listed key made this MAC (or its first bytes, at least 16). Constant time. */
  verifies(purpose: KeyPurpose, text: string, mac: Uint8Array): boolean;
}

const MIN_MAC_BYTES = 16;

/** Sub-keys by HKDF-SHA256, so that no two purposes share key material with each other or with the cookie. */
export const createDerivedKeys = (secrets: readonly string[]): DerivedKeys => {
  const cache = new Map<string, Buffer>();
  const keyOf = (purpose: KeyPurpose, index: number): Buffer => {
    const name = `${purpose}:${index}`;
    const known = cache.get(name);
    if (known) return known;
    const made = Buffer.from(hkdfSync('sha256', secrets[index] ?? '', '', `muster/session/${purpose}`, 32));
    cache.set(name, made);
    return made;
  };
  const macWith = (purpose: KeyPurpose, index: number, text: string): Buffer =>
    createHmac('sha256', keyOf(purpose, index)).update(text).digest();

  return {
    mac: (purpose, text) => macWith(purpose, 0, text),
    macs: (purpose, text) => secrets.map((_, index) => macWith(purpose, index, text)),
    verifies: (purpose, text, mac) =>
      mac.length >= MIN_MAC_BYTES &&
      mac.length <= 32 &&
      secrets.some((_, index) => timingSafeEqual(macWith(purpose, index, text).subarray(0, mac.length), mac)),
  };
};
