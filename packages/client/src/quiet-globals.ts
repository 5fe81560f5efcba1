/**
 * Runs `make` while `globalThis.localStorage` is undefined where there is no window. The SDK looks for a debug flag there when a
 * client is made, and in Node the mere look prints a warning unless `--localstorage-file` is given.
 */
export const withoutLocalStorage = <T>(make: () => T): T => {
  const given = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
  const isBrowser = typeof window !== 'undefined';
  if (isBrowser || given?.get === undefined || given.configurable !== true) return make();
  Object.defineProperty(globalThis, 'localStorage', { value: undefined, configurable: true });
  try {
    return make();
  } finally {
    Object.defineProperty(globalThis, 'localStorage', given);
  }
};
