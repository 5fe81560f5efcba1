import { z } from 'zod';

/** What a setting holds down, beside its value. */
export interface Ceiling {
  /** What is counted, such as `sockets`. */
  readonly unit: string;
  /** The answer to one more. */
  readonly refusal: string;
  /** The series that counts refusals. */
  readonly metric: string;
  /** The rule whose test proves it. */
  readonly rule: string;
}

/** Marks a setting as a ceiling: `field.count(…).describe(…).meta(ceiling(…))`. docs/operations/sizing.md is written from the marks. */
export const ceiling = (
  unit: string,
  refusal: string,
  metric: string,
  rule: string,
): { readonly ceiling: Ceiling } => ({ ceiling: { unit, refusal, metric, rule } });

/** A setting that is marked, and its default. */
export interface MarkedSetting extends Ceiling {
  readonly name: string;
  readonly fallback: unknown;
}

/** The ceilings among the settings of a service. */
export const ceilingsOf = (settings: z.ZodObject): MarkedSetting[] =>
  Object.entries(settings.shape).flatMap(([name, type]) => {
    const mark = (type as z.ZodType).meta()?.['ceiling'] as Ceiling | undefined;
    const fallback = type instanceof z.ZodDefault ? type.def.defaultValue : undefined;
    return mark === undefined ? [] : [{ name, fallback, ...mark }];
  });
