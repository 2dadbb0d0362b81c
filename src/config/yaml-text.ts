/** YAML to values, with mistakes that name the line and never repeat what stands there: it can be a secret. */
import { type Document, isScalar, LineCounter, parseDocument, visit, type YAMLError } from 'yaml'

export type ParsedYaml = { value: unknown; mistakes: readonly string[] }

const mistakesMax = 20

const SENTENCES: Partial<Record<YAMLError['code'], string>> = {
  BAD_ALIAS: 'an alias names no anchor before it',
  BAD_INDENT: 'the indentation does not fit the lines before',
  BLOCK_AS_IMPLICIT_KEY: 'a nested map does not fit here; is the indentation right?',
  MISSING_CHAR: 'a quote, bracket, comma, colon or blank is missing',
  MULTILINE_IMPLICIT_KEY: 'a colon after the key is missing',
  MULTIPLE_DOCS: 'there must be one document only',
  TAB_AS_INDENT: 'a tab indents the line; use blanks',
  UNEXPECTED_TOKEN: 'something stands here that does not fit',
}

/** Parse one YAML 1.2 document. Never throws: mistakes are sentences that begin with the line. */
export function parseYamlText(text: string): ParsedYaml {
  const lineCounter = new LineCounter()
  try {
    // The parser's own check for keys that stand twice compares each with each; ours takes a set.
    const document = parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false, logLevel: 'silent' })
    const broken = document.errors.map((error) => at(error.pos[0], lineCounter, sentenceOf(error)))
    const twice = findKeysThatStandTwice(document).map((offset) => at(offset, lineCounter, 'this key stands twice'))
    const mistakes = [...broken, ...twice].slice(0, mistakesMax)
    return { value: mistakes.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 }), mistakes }
  } catch {
    // The parser gives up on aliases that multiply and on nesting that is deeper than its stack.
    return { value: undefined, mistakes: ['nested too deeply, or aliases that refer to each other too often'] }
  }
}

function sentenceOf(error: YAMLError): string {
  return SENTENCES[error.code] ?? error.code.toLowerCase().replaceAll('_', ' ')
}

function findKeysThatStandTwice(document: Document.Parsed): number[] {
  const offsets: number[] = []
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>()
      for (const { key } of map.items) {
        if (!isScalar(key)) continue
        if (seen.has(key.value)) offsets.push(key.range?.[0] ?? 0)
        seen.add(key.value)
      }
    },
  })
  return offsets
}

function at(offset: number, lineCounter: LineCounter, sentence: string): string {
  const { line, col } = lineCounter.linePos(offset)
  return `line ${line}, column ${col}: ${sentence}`
}
