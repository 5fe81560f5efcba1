/** Keeps known items at their positions; new items follow at the end. */
export const keepOrder = <T>(before: readonly T[], next: readonly T[], idOf: (item: T) => string): readonly T[] => {
  const positions = new Map(before.map((item, index) => [idOf(item), index]));
  const positionOf = (item: T): number => positions.get(idOf(item)) ?? Number.POSITIVE_INFINITY;
  // Subtracting two infinities gives no order.
  return next.toSorted((a, b) => (positionOf(a) === positionOf(b) ? 0 : positionOf(a) < positionOf(b) ? -1 : 1));
};

/** Tracks pointer and focus in a list, whose order must not change while it is in use. */
export class InteractionTracker {
  #isHovered = false;
  #isFocused = false;

  get isActive(): boolean {
    return this.#isHovered || this.#isFocused;
  }

  /** Handlers for the container of the list. */
  readonly handlers = {
    onPointerEnter: (): void => {
      this.#isHovered = true;
    },
    onPointerLeave: (): void => {
      this.#isHovered = false;
    },
    onFocusIn: (): void => {
      this.#isFocused = true;
    },
    onFocusOut: (): void => {
      this.#isFocused = false;
    },
  };
}
