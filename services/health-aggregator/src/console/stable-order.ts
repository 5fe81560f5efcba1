/** Keeps known items at their places; new ones follow at the end. */
export const keepOrder = <T>(
  before: readonly T[],
  next: readonly T[],
  idOf: (item: T) => string,
): readonly T[] => {
  const places = new Map(before.map((item, place) => [idOf(item), place]));
  const placeOf = (item: T): number => places.get(idOf(item)) ?? Number.POSITIVE_INFINITY;
  // Subtracting two infinities gives no order.
  return next.toSorted((a, b) => (placeOf(a) === placeOf(b) ? 0 : placeOf(a) < placeOf(b) ? -1 : 1));
};

/** Whether somebody points at a list, or has the focus in it: nothing may move under the hand. */
export class InteractionTracker {
  #isPointed = false;
  #isFocused = false;

  get isActive(): boolean {
    return this.#isPointed || this.#isFocused;
  }

  /** Handlers for the element that holds the list. */
  readonly handlers = {
    onPointerEnter: (): void => {
      this.#isPointed = true;
    },
    onPointerLeave: (): void => {
      this.#isPointed = false;
    },
    onFocusIn: (): void => {
      this.#isFocused = true;
    },
    onFocusOut: (): void => {
      this.#isFocused = false;
    },
  };
}
