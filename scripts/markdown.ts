/** Pieces of the generated pages. */

export function generatedFrom(source: string): string {
  return `<!-- Generated from ${source} by scripts/generate-docs.ts: change it there. -->`
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}
