/** Text that both databases can hold: PostgreSQL has no NUL. */
import { z } from 'zod'

const charactersMax = 4096

export const storableText = z
  .string()
  .max(charactersMax)
  .refine((text) => !text.includes('\0'), { error: 'holds a NUL character' })
