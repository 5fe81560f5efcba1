import { z } from 'zod';

/** A UUID as callers may spell it: RFC 9562 accepts both cases. The output is lower case, the one spelling of stores. */
export const uuidSchema = z.uuid().toLowerCase();
