/** Quay's avatars: a letter on a colour that follows from the name. Its hash is of an email; ours tells nothing. */
import { createHash } from 'node:crypto'

export type Avatar = { name: string; hash: string; color: string; kind: 'user' | 'org' | 'team' | 'robot' }

const COLORS = ['#0066cc', '#3d7317', '#5e40be', '#63bdbd', '#92c5f9', '#a60000', '#b98412', '#ca6c0f'] as const

export function avatarOf(name: string, kind: Avatar['kind']): Avatar {
  const digest = createHash('sha256').update(`${kind} ${name}`).digest()
  const color = COLORS[(digest[0] ?? 0) % COLORS.length] ?? COLORS[0]
  return { name, hash: digest.toString('hex').slice(0, 32), color, kind }
}
