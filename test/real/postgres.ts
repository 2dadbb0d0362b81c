/** A private PostgreSQL from Debian's package, without durability: everything in it ends with the test. */
import { randomBytes } from 'node:crypto'
import { chown, mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import pg from 'pg'
import { runCommand } from './command.ts'
import { findFreePort, startDaemon } from './daemon.ts'
import { findProgram, getProgram, skipUnless } from './debian-packages.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

export type Postgres = {
  /** Of the database `postgres`, as its superuser. */
  uri: string
  /** A new, empty database; resolves to its URI. */
  createDatabase(): Promise<string>
  stop(): Promise<void>
}

/** Set by `scripts/test.ts`, so that all suites share one cluster. */
export const SHARED_POSTGRES = 'ENTREPOT_TEST_POSTGRES_URI'

const VERSIONS = '/usr/lib/postgresql'
/** PostgreSQL refuses to run as root; the package makes this user. */
const SERVER_USER = 'postgres'

/** Why there can be no PostgreSQL here, as the `skip` option of a test takes it. */
export function skipWithoutPostgres(): string | false {
  return process.env[SHARED_POSTGRES] === undefined ? skipUnless(['postgresql', 'util-linux']) : false
}

/** The cluster of this test run, or else a new one. */
export async function startPostgres(): Promise<Postgres> {
  const shared = process.env[SHARED_POSTGRES]
  if (shared !== undefined) return openPostgres(shared, async () => {})
  const folder = await makeTemporaryFolder('postgres')
  try {
    return await startCluster(folder.path, folder.remove)
  } catch (error) {
    await folder.remove()
    throw error
  }
}

async function startCluster(folder: string, remove: () => Promise<void>): Promise<Postgres> {
  const programs = path.join(VERSIONS, await newestVersion(), 'bin')
  const isRoot = process.getuid?.() === 0
  const password = randomBytes(12).toString('hex')
  const passwordFile = path.join(folder, 'password')
  const data = path.join(folder, 'data')
  const sockets = path.join(folder, 'sockets')
  await writeFile(passwordFile, password)
  for (const owned of [data, sockets]) await mkdir(owned, { mode: 0o700 })
  if (isRoot) {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => runCommand(getProgram('id'), [flag, SERVER_USER])))
    for (const owned of [data, sockets, passwordFile]) await chown(owned, Number(uid), Number(gid))
  }

  // A collation that is not that of code units: what sorts by it by accident shows.
  const initdb = ['--pgdata', data, '--username', SERVER_USER, '--pwfile', passwordFile, '--auth', 'scram-sha-256']
  initdb.push('--no-sync', '--encoding=UTF8', '--locale=C.UTF-8', '--locale-provider=icu', '--icu-locale=en')
  const asUser = isRoot ? [getProgram('runuser'), '-u', SERVER_USER, '--'] : []
  const [command = '', ...args] = [...asUser, path.join(programs, 'initdb'), ...initdb]
  await runCommand(command, args)

  const port = await findFreePort()
  const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', `unix_socket_directories=${sockets}`]
  settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=200')
  settings.push('shared_buffers=64MB')
  const uri = `postgresql://${SERVER_USER}:${password}@127.0.0.1:${port}/postgres`
  const daemon = await startDaemon({
    command: path.join(programs, 'postgres'),
    args: ['-D', data, ...settings.flatMap((setting) => ['-c', setting])],
    ...(isRoot ? { user: SERVER_USER } : {}),
    // Immediate shutdown: nobody needs the data again, and open connections do not hold it up.
    stopSignal: 'SIGQUIT',
    isReady: () => query(uri, 'SELECT 1').then(() => true),
  })
  return openPostgres(uri, async () => {
    await daemon.stop()
    await remove()
  })
}

function openPostgres(uri: string, stop: () => Promise<void>): Postgres {
  return {
    uri,
    stop,
    createDatabase: async () => {
      const name = `test_${randomBytes(8).toString('hex')}`
      await query(uri, `CREATE DATABASE ${name} TEMPLATE template0`)
      const own = new URL(uri)
      own.pathname = `/${name}`
      return own.href
    },
  }
}

async function query(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri })
  client.on('error', () => {}) // A server that stops while it is asked: the query rejects.
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

async function newestVersion(): Promise<string> {
  const versions = (await readdir(VERSIONS)).filter((version) => findProgram(`../lib/postgresql/${version}/bin/initdb`))
  const newest = versions.sort((one, other) => Number(other) - Number(one))[0]
  if (newest === undefined) throw new Error(`no PostgreSQL under ${VERSIONS}`)
  return newest
}
