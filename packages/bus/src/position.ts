/** Position in a group's stream. Offsets count from 1; 0 is before the first publication. */
export interface GroupPosition {
  readonly offset: number;
  /** Random identity of the stream. Offsets of different epochs do not compare. */
  readonly epoch: string;
}

/** Parses a position from Redis; undefined when the offset is not an integer ≥ 0. */
export const parseGroupPosition = (offset: unknown, epoch: string): GroupPosition | undefined => {
  const number = Number(offset);
  return Number.isSafeInteger(number) && number >= 0 ? { offset: number, epoch } : undefined;
};
