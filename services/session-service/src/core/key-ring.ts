import { createTokenSigner, type TokenSigner } from '@muster/session/token';
import { createDerivedKeys, type DerivedKeys } from './signing-keys.ts';

/** The signing keys, which may be replaced while requests are under way. */
export interface KeyRing {
  readonly signer: TokenSigner;
  readonly keys: DerivedKeys;
  /** From the next request on these keys count. Throws for an empty list, and then nothing has changed. */
  replace(secrets: readonly string[]): void;
}

/** A signer and sub-keys that always speak for the present keys. */
export const createKeyRing = (secrets: readonly string[]): KeyRing => {
  let signer = createTokenSigner(secrets);
  let keys = createDerivedKeys(secrets);
  return {
    signer: {
      issue: (id, secret) => signer.issue(id, secret),
      verify: (token) => signer.verify(token),
    },
    keys: {
      mac: (purpose, text) => keys.mac(purpose, text),
      macs: (purpose, text) => keys.macs(purpose, text),
      verifies: (purpose, text, mac) => keys.verifies(purpose, text, mac),
    },
    replace: (next) => {
      signer = createTokenSigner(next);
      keys = createDerivedKeys(next);
    },
  };
};
