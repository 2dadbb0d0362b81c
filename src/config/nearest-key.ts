/** The key that somebody meant. */

/** Longer names are no slip of the pen, and comparing them costs their product. */
const keyCharactersMax = 64

/** The known key that differs least from `key`, if it differs by no more than a third of its letters. */
export function nearestKey(key: string, known: Iterable<string>): string | undefined {
  if (key.length > keyCharactersMax) return undefined
  let nearest: string | undefined
  let fewest = Math.max(1, Math.floor(key.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - key.length) >= fewest) continue
    const edits = countEdits(key.toUpperCase(), candidate)
    if (edits < fewest) [fewest, nearest] = [edits, candidate]
  }
  return nearest
}

/** Levenshtein's distance, row by row. */
function countEdits(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    above = current
  }
  return above[to.length] ?? 0
}
