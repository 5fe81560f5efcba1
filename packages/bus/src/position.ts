/** A place in a group's stream. Offsets count from 1; 0 is the place before the first publication. */
export interface GroupPosition {
  readonly offset: number;
  /** Random name of the stream's life. Offsets of different epochs cannot be compared. */
  readonly epoch: string;
}

/** A position from text that came from Redis; undefined when the offset is not a whole number ≥ 0. */
export const parseGroupPosition = (offset: unknown, epoch: string): GroupPosition | undefined => {
  const number = Number(offset);
  return Number.isSafeInteger(number) && number >= 0 ? { offset: number, epoch } : undefined;
};
