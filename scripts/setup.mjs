/**
 * Installs what package-lock.json names, when it is not installed yet; runs before `npm start` and `npm test`.
 * Plain JavaScript for the Node that the machine has: our own Node 26 comes with what is installed here.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR_MIN = 20
const NPM_MAJOR_MIN = 10

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const omitsDev = process.argv.includes('--omit=dev')
const modules = path.join(root, 'node_modules')
const nodePackage = path.join(modules, 'node')
const environment = outsideEnvironment()

requireVersion('Node', process.versions.node, NODE_MAJOR_MIN, 'install Node 20 or later, for example from nodejs.org')
if (!isInstalled()) install()

/**
 * npm is run by the machine's Node, never by the one that is about to be replaced; and without the settings that an
 * outer npm hands down (its working folder among them).
 */
function outsideEnvironment() {
  const own = path.join(root, 'node_modules', '.bin')
  const entries = Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(?:registry|cache|userconfig|offline)$)/i.test(name),
  )
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => path.resolve(folder) !== own)
  return { ...Object.fromEntries(entries), PATH: folders.join(path.delimiter) }
}

function requireVersion(what, version, majorMin, fix) {
  if (Number(version.trim().split('.')[0]) >= majorMin) return
  fail(`${what} ${version.trim()} is too old for the installation: ${fix}`)
}

function fail(message) {
  process.stderr.write(`setup: ${message}\n`)
  process.exit(1)
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined // Absent or cut short: not installed.
  }
}

/** npm writes its own record of what it installed last of all, so an interrupted installation has none. */
function isInstalled() {
  const wanted = readJson(path.join(root, 'package-lock.json'))
  const installed = readJson(path.join(modules, '.package-lock.json'))
  if (wanted === undefined) fail('package-lock.json is missing: clone the repository again')
  if (installed === undefined || !isRightNode(wanted.packages['node_modules/node'].version)) return false
  return Object.entries(wanted.packages).every(([place, entry]) => {
    if (place === '' || entry.optional || (omitsDev && entry.dev)) return true
    const found = installed.packages[place]
    return found !== undefined && found.version === entry.version && found.integrity === entry.integrity
  })
}

function isRightNode(version) {
  return runNode().stdout === `v${version}\n`
}

/** What our own Node says its version is; nothing when it is not there. */
function runNode() {
  const { stdout, stderr } = spawnSync(path.join(modules, '.bin', 'node'), ['--version'], { encoding: 'utf8' })
  return { stdout: stdout ?? '', stderr: stderr ?? '' }
}

function run(command, args, options) {
  const shell = process.platform === 'win32'
  return spawnSync(command, args, { cwd: root, env: environment, encoding: 'utf8', shell, ...options })
}

function install() {
  const npm = run('npm', ['--version'])
  if (npm.status !== 0) fail('npm was not found: install Node together with npm')
  requireVersion('npm', npm.stdout, NPM_MAJOR_MIN, 'run `npm install --global npm@10`')

  process.stdout.write('setup: installing what package-lock.json names\n')
  // No install scripts: better-sqlite3 ships its binaries, but npm would run node-gyp for it all the same, which fails
  // where there is no compiler. Only errors: npm would warn of packages that the machine's Node is too old for, and
  // they run on our own.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--engine-strict=false']
  const packages = run('npm', omitsDev ? [...args, '--omit=dev'] : args, { stdio: 'inherit' })
  if (packages.status !== 0) fail('`npm ci` failed; its message is above')

  // The one install script that is needed: it fetches the binary of Node for this machine.
  const binary = run('node', ['installArchSpecificPackage.js'], {
    cwd: nodePackage,
    env: { ...environment, npm_config_loglevel: 'error', npm_config_audit: 'false', npm_config_fund: 'false' },
  })
  // Its name among the commands: npm leaves out a command whose file is not there yet.
  const link = run('npm', ['rebuild', 'node', '--ignore-scripts', '--loglevel=error'])
  const version = readJson(path.join(nodePackage, 'package.json'))?.version
  const library = /loading shared libraries: ([^:\s]+)/.exec(runNode().stderr)?.[1]
  if (library !== undefined) {
    const fix = library.startsWith('libatomic.') ? ' (`apt-get install libatomic1`, or `dnf install libatomic`)' : ''
    fail(`Node ${version} needs the library ${library} of the system: install it${fix}, then try again`)
  }
  if (binary.status === 0 && link.status === 0 && isRightNode(version)) return
  fail(`Node ${version} could not be installed:\n${binary.stdout}${binary.stderr}${link.stderr}`)
}
