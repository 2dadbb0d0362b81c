/** An installation without a server: its configuration, its database, and secrets in every sealed column. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { openInstallationKey } from '../../src/admin/installation-key.ts'
import type { SecretBox } from '../../src/base/secret-box.ts'
import { type Config, loadConfig } from '../../src/config/load.ts'
import { keySourceOf, openDatabase } from '../../src/foundations.ts'
import { insertAccessToken } from '../../src/metadata/access-tokens.ts'
import { insertAppToken } from '../../src/metadata/app-tokens.ts'
import { insertInstanceValue } from '../../src/metadata/instance.ts'
import { insertOAuthApplication } from '../../src/metadata/oauth-applications.ts'
import type { Db } from '../../src/metadata/open.ts'
import { createOrganization } from '../../src/metadata/organizations.ts'
import { insertProxyCache } from '../../src/metadata/proxy-caches.ts'
import { insertRobot, setRobotToken } from '../../src/metadata/robots.ts'
import { SEALED_PLACES, type SealedPlace } from '../../src/metadata/sealed-columns.ts'

const NOW_MS = 1_900_000_000_000

export function placeOf(table: string, column: string): SealedPlace {
  const place = SEALED_PLACES.find((candidate) => candidate.table === table && candidate.column === column)
  assert.ok(place, `${table}.${column} is not declared`)
  return place
}

export class Installation {
  readonly folder: string
  readonly env: Record<string, string>

  constructor(folder: string, env: Record<string, string>) {
    this.folder = folder
    this.env = env
  }

  get config(): Config {
    return loadConfig({ env: { ENTREPOT_DATA: this.folder, ...this.env } })
  }

  /** As a server would: the key it starts with, and the database. */
  async withServer<Result>(work: (box: SecretBox, db: Db) => Promise<Result>): Promise<Result> {
    const { config } = this
    const { metadata, lease } = await openDatabase(config, () => undefined, 0)
    try {
      return await work(await openInstallationKey(metadata.db, keySourceOf(config)), metadata.db)
    } finally {
      await lease.release()
      await metadata.close()
    }
  }

  /** Every sealed value, opened; also those of instance, except the signing key, which a rotation drops. */
  async readAll(box: SecretBox, db: Db): Promise<string[]> {
    const opened: string[] = []
    for (const place of SEALED_PLACES) {
      if (place.table === 'instance') continue
      for (const { sealed, context } of await readPlace(db, place)) opened.push(box.open(sealed, context))
    }
    return opened.sort()
  }
}

export async function readPlace(db: Db, place: SealedPlace) {
  const [id, key] = [sql.ref(place.id), sql.ref(place.key ?? place.id)]
  const { rows } = await sql<{ id: string | number; key: string | number; sealed: string }>`
    select ${id} as id, ${key} as key, ${sql.ref(place.column)} as sealed from ${sql.table(place.table)}
    where ${sql.ref(place.column)} is not null
      ${place.onlyIds === undefined ? sql`` : sql`and ${id} in (${sql.join(place.onlyIds)})`}
    order by ${id}
  `.execute(db)
  return rows.map((row) => ({ id: row.id, sealed: row.sealed, context: place.contextOf(String(row.key)) }))
}

/** Add rows with secrets: `count` organizations with an upstream, and as many of everything else. */
export function addSecrets(box: SecretBox, db: Db, count: number): Promise<string[]> {
  return db.transaction().execute((tx) => addSecretsIn(box, tx, count))
}

async function addSecretsIn(box: SecretBox, db: Db, count: number): Promise<string[]> {
  const secrets: string[] = []
  const seal = (table: string, column: string, key: string | number) => {
    const secret = `secret-${randomBytes(8).toString('hex')}`
    secrets.push(secret)
    return box.seal(secret, placeOf(table, column).contextOf(String(key)))
  }
  const hex = () => randomBytes(16).toString('hex')
  await insertInstanceValue(db, 'registry_token_key', box.seal('signing key', 'instance:registry_token_key'))
  for (let turn = 0; turn < count; turn++) {
    const name = `o${hex()}`
    const organization = await createOrganization(db, { name, nowMs: NOW_MS, tagExpirationSeconds: 86_400 })
    const organizationId = organization.id
    await insertProxyCache(db, {
      ...{ organizationId, upstreamRegistry: 'quay.io', expirationSeconds: 60, insecure: false, createdAtMs: NOW_MS },
      usernameEncrypted: seal('proxy_cache', 'username_encrypted', organizationId),
      passwordEncrypted: seal('proxy_cache', 'password_encrypted', organizationId),
    })
    const robot = await insertRobot(db, {
      ...{ owner: { kind: 'organization', id: organizationId }, username: `${name}+ci`, nowMs: NOW_MS },
      ...{ description: '', unstructuredMetadata: '{}' },
    })
    const tokenEncrypted = seal('account', 'token_encrypted', robot.id)
    await setRobotToken(db, robot.id, { tokenSha256: hex(), tokenEncrypted })
    const [tokenSha256, uuid, clientId] = [hex(), hex(), hex()]
    const common = { accountId: robot.id, title: 't', createdAtMs: NOW_MS }
    await insertAccessToken(db, {
      ...{ ...common, tokenSha256, scope: 'repo:read' },
      tokenEncrypted: seal('access_token', 'token_encrypted', tokenSha256),
    })
    await insertAppToken(db, {
      ...{ ...common, uuid, tokenSha256, expiresAtMs: undefined },
      tokenEncrypted: seal('app_token', 'token_encrypted', uuid),
    })
    await insertOAuthApplication(db, {
      ...{ organizationId, clientId, name: 'a', createdAtMs: NOW_MS, redirectUri: '', applicationUri: '' },
      ...{ avatarEmail: undefined, description: '' },
      clientSecretEncrypted: seal('oauth_application', 'client_secret_encrypted', clientId),
    })
  }
  return secrets
}

export async function makeInstallation(
  t: { after: (work: () => Promise<void>) => void },
  env: Record<string, string> = {},
): Promise<Installation> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-secrets-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return new Installation(folder, env)
}
