/** The rows of a large store, inserted in bulk: images of ten blobs, one of all and one of many, each with a tag. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import { type Metadata, openMetadata } from '../../src/metadata/open.ts'
import { createOrganization, type Organization } from '../../src/metadata/organizations.ts'

export const BLOBS_PER_IMAGE = 10
export const BLOB_BYTES = 1_000_000
export const WINDOW_SECONDS = 86_400
/** When everything was stored and last used, a millisecond for each image. */
export const START_MS = Date.UTC(2030, 0, 1)

/** Images that share their second blob; all share their first. */
const IMAGES_PER_BASE = 400
const REPOSITORIES = 1000
const MANIFEST_BYTES = 600

/** `uri` undefined: SQLite. */
export type FilledStore = { metadata: Metadata; organization: Organization; folder: string; close(): Promise<void> }

/** Where the two databases differ in what fills them. */
type Filler = { run(sql: string): Promise<void>; series(count: number): string; bytes: string; close(): Promise<void> }

export async function fillStore(images: number, uri: string | undefined): Promise<FilledStore> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-scale-'))
  const empty = await openMetadata({ uri, dataFolder: folder })
  const organization = await createOrganization(empty.db, {
    ...{ name: 'large', nowMs: START_MS, tagExpirationSeconds: WINDOW_SECONDS },
  })
  await empty.close()
  const filler = uri === undefined ? openSqliteFiller(folder) : await openPostgresFiller(uri)
  for (const statement of statements(filler, images, organization.id)) await filler.run(statement)
  await filler.close()
  const metadata = await openMetadata({ uri, dataFolder: folder })
  const close = async () => {
    await metadata.close()
    await rm(folder, { recursive: true })
  }
  return { metadata, organization, folder, close }
}

function statements({ series, bytes }: Filler, images: number, organization: number): string[] {
  const repository = `n % ${REPOSITORIES} + 1`
  // In an order that has nothing to do with that of the rows.
  const usedAt = `${START_MS} + (n * 7919) % ${images}`
  const expiresAt = `${START_MS} + 4000000000000`
  const blobs = `
    ${series(images * BLOBS_PER_IMAGE)}, link(image, position) as (
      select n / ${BLOBS_PER_IMAGE}, n % ${BLOBS_PER_IMAGE} from series
    ), named(image, position, digest) as (
      select image, position, digest_of(case position when 0 then 'of all'
        when 1 then 'base ' || (image / ${IMAGES_PER_BASE})
        else 'own ' || image || ' ' || position end)
      from link
    )`
  return [
    `insert into repository (id, organization_id, generation, name, is_public, created_at)
      ${series(REPOSITORIES)} select n + 1, ${organization}, 1, 'repository/' || n, 0, ${START_MS} from series`,
    `insert into manifest (id, organization_id, repository_id, digest, media_type, size_bytes, depth, created_at,
        last_used_at, is_by_digest, bytes)
      ${series(images)} select n + 1, ${organization}, ${repository}, digest_of('manifest ' || n),
        'application/vnd.oci.image.manifest.v1+json', ${MANIFEST_BYTES}, 1, ${START_MS}, ${usedAt}, 0, ${bytes}
      from series`,
    `insert into manifest_blob (manifest_id, organization_id, repository_id, position, digest, media_type, size_bytes,
        kind, has_urls)
      ${blobs} select image + 1, ${organization}, image % ${REPOSITORIES} + 1, position, digest,
        'application/vnd.oci.image.layer.v1.tar+gzip', ${BLOB_BYTES}, 'layer', 0 from named`,
    `insert into tag (organization_id, repository_id, name, digest, started_at, confirmed_at, last_used_at, expires_at)
      ${series(images)} select ${organization}, ${repository}, 'v' || n, digest_of('manifest ' || n), ${START_MS},
        ${START_MS}, ${usedAt}, ${expiresAt} from series`,
    `insert into blob (digest, size_bytes, stored_at)
      select distinct digest, ${BLOB_BYTES}, ${START_MS} from manifest_blob order by digest`,
    `insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
      select ${organization}, 'blob', digest, size_bytes, stored_at from blob order by digest`,
    `insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
      select ${organization}, 'manifest', digest, size_bytes, created_at from manifest order by digest`,
    `insert into root (manifest_id, organization_id, repository_id, last_used_at, expires_at, is_pinned)
      select id, organization_id, repository_id, last_used_at, ${expiresAt}, 0 from manifest`,
    `update usage set charge_bytes = (select sum(size_bytes) from ledger)`,
    `update store_usage set blob_bytes = (select sum(size_bytes) from blob)`,
  ]
}

function openSqliteFiller(folder: string): Filler {
  const db = new Sqlite(join(folder, 'entrepot.db'))
  db.pragma('synchronous = OFF')
  db.pragma('cache_size = -400000')
  db.function('digest_of', { deterministic: true }, (text) => `sha256:${hexOf(String(text))}`)
  return {
    run: async (sql) => void db.exec(sql),
    series: (count) =>
      `with recursive series(n) as (select 0 union all select n + 1 from series where n + 1 < ${count})`,
    bytes: `zeroblob(${MANIFEST_BYTES})`,
    close: async () => {
      db.pragma('wal_checkpoint(TRUNCATE)')
      db.close()
    },
  }
}

async function openPostgresFiller(uri: string): Promise<Filler> {
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  const hash = `'sha256:' || encode(sha256(convert_to($1, 'UTF8')), 'hex')`
  await client.query(`create function digest_of(text) returns text language sql immutable as $$ select ${hash} $$`)
  return {
    run: async (sql) => void (await client.query(sql)),
    series: (count) => `with series(n) as (select generate_series(0::bigint, ${count - 1}))`,
    bytes: `decode(repeat('00', ${MANIFEST_BYTES}), 'hex')`,
    close: async () => {
      for (const table of ['repository', 'manifest']) {
        await client.query(`select setval(pg_get_serial_sequence('${table}', 'id'), (select max(id) from ${table}))`)
      }
      // As its autovacuum does sooner or later.
      await client.query('vacuum analyze')
      await client.end()
    },
  }
}

function hexOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
