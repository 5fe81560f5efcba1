/** Edges in seconds for work below a millisecond. */
export const MICRO = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
] as const;
/** Edges in seconds for requests and round trips. The limits of the objectives, 25 and 250 ms, are edges. */
export const STD = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;
/** Edges in seconds for lives: of connections, of whatever stays for hours. */
export const LONG = [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400] as const;
/** Edges in bytes. */
export const SIZE = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576] as const;
/** Edges for counts of things. */
export const COUNT = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 10_000] as const;
/** Edges in seconds around the bounds within which a loss must be seen. */
export const DETECTION = [0.5, 1, 2, 3, 5, 8, 13, 30] as const;
