/**
 * Checks what formatter, linter and compiler do not: import direction, sizes, calls outside their home, names.
 * `--require-tests`: a module without a test beside it is an error, not a warning. `--root DIR`: another tree.
 */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as ast from 'typescript/unstable/ast'
import { API } from 'typescript/unstable/sync'
import * as rules from './tidy-rules.ts'

type Source = { file: string; text: string; lines: readonly string[]; tree: ast.SourceFile; imports: Import[] }
type Import = { target: string; line: number }

const { values: options } = parseArgs({
  options: { root: { type: 'string' }, 'require-tests': { type: 'boolean', default: false } },
})
const root = path.resolve(options.root ?? path.join(import.meta.dirname, '..'))
const errors: string[] = []
const warnings: string[] = []

function report(source: Source, position: ast.Node | number, message: string): void {
  const line = typeof position === 'number' ? position : lineOf(source.tree, position)
  errors.push(`${source.file}:${line}: ${message}`)
}

function lineOf(tree: ast.SourceFile, node: ast.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
}

function readSources(): Source[] {
  const files = globSync('{src,test,scripts,bench}/**/*.ts', { cwd: root }).sort()
  const api = new API({ cwd: root })
  const project = api.updateSnapshot({ openProjects: [path.join(root, 'tsconfig.json')] }).getProjects()[0]
  const sources = files.flatMap((file) => {
    const tree = project?.program.getSourceFile(path.join(root, file))
    if (tree === undefined) return []
    const text = readFileSync(path.join(root, file), 'utf8')
    return [{ file, text, lines: text.trimEnd().split('\n'), tree, imports: findImports(file, tree) }]
  })
  const unread = files.filter((file) => !sources.some((source) => source.file === file))
  for (const file of unread) errors.push(`${file}:1: tsconfig.json does not include it`)
  api.close()
  return sources
}

/** What a file imports, re-exports or imports later: relative targets as paths from the root. */
function findImports(file: string, tree: ast.SourceFile): Import[] {
  const imports: Import[] = []
  visit(tree, (node) => {
    const specifier = specifierOf(node)
    if (specifier === undefined || !ast.isStringLiteral(specifier)) return
    const isRelative = specifier.text.startsWith('.')
    const target = isRelative ? path.posix.join(path.posix.dirname(file), specifier.text) : specifier.text
    imports.push({ target, line: lineOf(tree, node) })
  })
  return imports
}

/** Where a node names another module, if it does: a statement, `import()`, or `import()` as a type. */
function specifierOf(node: ast.Node): ast.Node | undefined {
  if (ast.isImportDeclaration(node) || ast.isExportDeclaration(node)) return node.moduleSpecifier
  if (ast.isImportTypeNode(node)) return ast.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined
  const isDynamic = ast.isCallExpression(node) && node.expression.kind === ast.SyntaxKind.ImportKeyword
  return isDynamic ? node.arguments[0] : undefined
}

function visit(node: ast.Node, enter: (node: ast.Node) => void): void {
  enter(node)
  node.forEachChild((child) => visit(child, enter))
}

function isProduct(source: Source): boolean {
  return source.file.startsWith('src/') && !source.file.endsWith('.test.ts')
}

/** `src/http/api/x.ts` to `http`, `src/errors.ts` to `errors`. */
function partOf(file: string): string | undefined {
  return file.startsWith('src/') ? file.split('/')[1]?.replace(/\.ts$/, '') : undefined
}

function checkDirection(source: Source): void {
  const part = partOf(source.file)
  if (part === undefined || rules.WIRING.includes(part)) return
  const allowed = rules.MAY_IMPORT[part]
  if (allowed === undefined) {
    report(source, 1, `src/${part} is no part that scripts/tidy-rules.ts knows: say there what it may import`)
    return
  }
  for (const { target, line } of source.imports) {
    const other = partOf(target)
    const isLocal = target.startsWith('src/') || target.startsWith('test/') || target.startsWith('scripts/')
    if (!isLocal || other === part) continue
    const name = target.replace(/^src\//, '').replace(/\.ts$/, '')
    if (other !== undefined && (allowed.includes(other) || allowed.includes(name))) continue
    report(source, line, `${part} must not import ${name}; it may import: ${allowed.join(', ') || 'nothing'}`)
  }
}

/** Depth first; a file that is met again on the way to itself closes a cycle. */
function checkCycles(sources: readonly Source[]): void {
  const byFile = new Map(sources.map((source) => [source.file, source]))
  const done = new Set<string>()
  const follow = (file: string, way: readonly string[]): void => {
    const source = byFile.get(file)
    if (source === undefined || done.has(file)) return
    for (const { target, line } of source.imports) {
      const start = way.indexOf(target)
      if (start >= 0) report(source, line, `import cycle: ${[...way.slice(start), target].join(' -> ')}`)
      else follow(target, [...way, target])
    }
    done.add(file)
  }
  for (const { file } of sources) follow(file, [file])
}

/** Classes of other parts than the free ones are made in `app.ts`: everyone else is handed an interface. */
function checkWiring(source: Source): void {
  const part = partOf(source.file)
  if (part === undefined || rules.WIRING.includes(part)) return
  const foreign = new Map<string, string>()
  visit(source.tree, (node) => {
    if (ast.isImportDeclaration(node) && ast.isStringLiteral(node.moduleSpecifier)) {
      const { text } = node.moduleSpecifier
      const other = text.startsWith('.') ? partOf(path.posix.join(path.posix.dirname(source.file), text)) : undefined
      const bindings = node.importClause?.namedBindings
      if (other === undefined || other === part || rules.FREELY_MADE.includes(other)) return
      if (bindings === undefined || !ast.isNamedImports(bindings)) return
      for (const element of bindings.elements) foreign.set(element.name.text, other)
    }
    if (!ast.isNewExpression(node) || !ast.isIdentifier(node.expression)) return
    const { text } = node.expression
    if (!foreign.has(text) || text.endsWith('Error')) return
    report(source, node, `new ${text} of ${foreign.get(text)}: only src/app.ts makes it; take an interface instead`)
  })
}

function checkSizes(source: Source): void {
  const { file, lines, tree } = source
  if (isProduct(source) && lines.length > rules.LINES_OF_FILE_MAX && rules.MAY_BE_LONGER[file] === undefined) {
    report(
      source,
      rules.LINES_OF_FILE_MAX,
      `${lines.length} lines; at most ${rules.LINES_OF_FILE_MAX}: one noun a file`,
    )
  }
  lines.forEach((line, index) => {
    if (line.length <= rules.CHARACTERS_OF_LINE_MAX || rules.UNBREAKABLE_STRING.test(line)) return
    report(source, index + 1, `${line.length} characters; at most ${rules.CHARACTERS_OF_LINE_MAX}`)
  })
  visit(tree, (node) => {
    if (!isFunction(node)) return
    const end = tree.getLineAndCharacterOfPosition(node.end).line + 1
    const length = end - lineOf(tree, node) + 1
    if (length <= rules.LINES_OF_FUNCTION_MAX || isSuiteOfTests(node)) return
    const name = nameOf(node) ?? 'a function'
    const isExcused = [file, `${file}#${name}`].some((key) => rules.MAY_BE_LONGER[key] !== undefined)
    if (!isExcused) report(source, node, `${name} has ${length} lines; at most ${rules.LINES_OF_FUNCTION_MAX}`)
  })
}

function isFunction(node: ast.Node): boolean {
  return (
    ast.isFunctionDeclaration(node) ||
    ast.isFunctionExpression(node) ||
    ast.isArrowFunction(node) ||
    ast.isMethodDeclaration(node) ||
    ast.isConstructorDeclaration(node)
  )
}

/** What is handed to `describe`, and a contract, is a list of tests, not a function to be understood at once. */
function isSuiteOfTests(node: ast.Node): boolean {
  const { parent } = node
  if (ast.isFunctionDeclaration(node) && node.name?.text.endsWith('Contract') === true) return true
  return ast.isCallExpression(parent) && ast.isIdentifier(parent.expression) && parent.expression.text === 'describe'
}

function nameOf(node: ast.Node): string | undefined {
  const named = 'name' in node && node.name !== undefined ? node : node.parent
  const name = 'name' in named ? (named.name as ast.Node | undefined) : undefined
  return name !== undefined && ast.isIdentifier(name) ? name.text : undefined
}

function checkForbidden(source: Source): void {
  const forbid = (name: string, at: ast.Node | number) => {
    const rule = rules.FORBIDDEN[name]
    if (rule === undefined || rule.homes.some((home) => source.file.startsWith(home))) return
    report(source, at, `${name} is not used here: ${rule.instead}`)
  }
  for (const { target, line } of source.imports) forbid(target, line)
  visit(source.tree, (node) => {
    if (ast.isPropertyAccessExpression(node)) forbid(`${node.expression.getText(source.tree)}.${node.name.text}`, node)
    if (ast.isNewExpression(node) && node.getText(source.tree) === 'new Date()') forbid('new Date()', node)
    if (!ast.isIdentifier(node)) return
    const { parent } = node
    const isMember = ast.isPropertyAccessExpression(parent) && parent.name === node
    const isOwner = ast.isPropertyAccessExpression(parent) && parent.expression === node
    const isCalled = ast.isCallExpression(parent) && parent.expression === node
    if (!isMember && (isCalled || isOwner)) forbid(node.text, node)
  })
}

function checkNames(source: Source): void {
  const check = (name: string, at: ast.Node | number) => {
    if (rules.PROTOCOL_NAMES.test(name)) return
    const words = name.split(/[^a-zA-Z]+|(?<=[a-z])(?=[A-Z])/).map((word) => word.toLowerCase())
    for (const word of words) {
      const better = rules.BANNED_WORDS[word]
      if (better !== undefined) report(source, at, `"${name}": not "${word}"; ${better}`)
    }
  }
  check(path.posix.basename(source.file, '.ts'), 1)
  visit(source.tree, (node) => {
    const isDeclaration =
      ast.isFunctionDeclaration(node) ||
      ast.isClassDeclaration(node) ||
      ast.isInterfaceDeclaration(node) ||
      ast.isTypeAliasDeclaration(node) ||
      ast.isMethodDeclaration(node) ||
      ast.isVariableDeclaration(node)
    const name = isDeclaration ? nameOf(node) : undefined
    if (name !== undefined) check(name, node)
    if (ast.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      report(source, node, 'no re-exports: import from the file that declares it')
    }
  })
}

function checkText(source: Source): void {
  source.lines.forEach((line, index) => {
    const word = rules.UNFINISHED.exec(line)?.[0]
    if (word !== undefined) report(source, index + 1, `${word}: finish it, or open an issue`)
  })
}

function checkTested(source: Source, files: ReadonlySet<string>): void {
  const isExporting = source.tree.statements.some(
    (statement) =>
      (ast.isFunctionDeclaration(statement) || ast.isClassDeclaration(statement)) &&
      (statement.modifiers ?? []).some((modifier) => modifier.kind === ast.SyntaxKind.ExportKeyword),
  )
  const beside = source.file.replace(/\.ts$/, '.test.ts')
  if (!isExporting || files.has(beside) || rules.TESTED_ELSEWHERE[source.file] !== undefined) return
  const message = `${source.file}:1: exports code, but ${path.posix.basename(beside)} is not beside it`
  const list = options['require-tests'] ? errors : warnings
  list.push(message)
}

const sources = readSources()
const files = new Set(sources.map(({ file }) => file))
const product = sources.filter(isProduct)
for (const source of sources) {
  checkSizes(source)
  checkText(source)
}
for (const source of product) {
  checkDirection(source)
  checkWiring(source)
  checkForbidden(source)
  checkNames(source)
  checkTested(source, files)
}
checkCycles(product)

for (const warning of warnings) process.stdout.write(`warning ${warning}\n`)
for (const error of errors) process.stdout.write(`${error}\n`)
process.stdout.write(`${sources.length} files, ${errors.length} errors, ${warnings.length} warnings\n`)
process.exitCode = errors.length > 0 || sources.length === 0 ? 1 : 0
