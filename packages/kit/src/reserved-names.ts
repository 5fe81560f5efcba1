/** Names by which a merge in some application would reach the prototype of all objects. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype']);

/** True for a member name that no stored JSON may have, at any depth. */
export const isReservedName = (name: string): boolean => RESERVED.has(name);
