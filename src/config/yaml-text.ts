/** YAML to values, with mistakes that name the line and never repeat what stands there: it can be a secret. */
import { LineCounter, parseDocument, type YAMLError } from 'yaml'

export type ParsedYaml = { value: unknown; mistakes: readonly string[] }

const mistakesMax = 20

const SENTENCES: Partial<Record<YAMLError['code'], string>> = {
  BAD_ALIAS: 'an alias names no anchor before it',
  BAD_INDENT: 'the indentation does not fit the lines before',
  BLOCK_AS_IMPLICIT_KEY: 'a nested map does not fit here; is the indentation right?',
  DUPLICATE_KEY: 'this key stands twice',
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
    const document = parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: true, logLevel: 'silent' })
    const mistakes = document.errors.slice(0, mistakesMax).map((error) => describe(error, lineCounter))
    if (mistakes.length > 0) return { value: undefined, mistakes }
    return { value: document.toJS({ maxAliasCount: 100 }), mistakes }
  } catch {
    // The parser gives up on aliases that multiply and on nesting that is deeper than its stack.
    return { value: undefined, mistakes: ['nested too deeply, or aliases that refer to each other too often'] }
  }
}

function describe(error: YAMLError, lineCounter: LineCounter): string {
  const { line, col } = lineCounter.linePos(error.pos[0])
  return `line ${line}, column ${col}: ${SENTENCES[error.code] ?? error.code.toLowerCase().replaceAll('_', ' ')}`
}
