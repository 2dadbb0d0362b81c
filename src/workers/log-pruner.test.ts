import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'kysely'
import { CollectionRig } from '../../test/fakes/collection-rig.ts'
import { addLogEntry, listLogEntries } from '../metadata/log-entries.ts'
import { LogPruner } from './log-pruner.ts'

const noPause = async () => undefined

async function add(rig: CollectionRig, organizationId: number | undefined, count: number, nowMs: number) {
  await rig.metadata.transaction(async (tx) => {
    for (let turn = 0; turn < count; turn++) {
      await addLogEntry(tx, { organizationId, kind: 'pin', nowMs, metadata: { turn } })
    }
  })
}

test('entries go when they are older than the retention, in steps, and not a millisecond before', async (t) => {
  const rig = await CollectionRig.open(t)
  const { id } = await rig.organization()
  const keepMs = 1000
  await add(rig, id, 250, rig.nowMs - keepMs - 1)
  await add(rig, undefined, 1, rig.nowMs - keepMs - 1)
  await add(rig, id, 3, rig.nowMs - keepMs)
  let pauses = 0
  const pruner = new LogPruner({ metadata: rig.metadata, clock: () => rig.nowMs, keepMs })
  const pause = async () => {
    pauses += 1
  }
  assert.equal(await pruner.run(pause), 251)
  assert.ok(pauses >= 3)
  assert.equal((await listLogEntries(rig.metadata.db, id, { limit: 10 })).length, 3)
})

test('of each organization and the installation the newest are kept; a run goes on where the last one ended', async (t) => {
  const rig = await CollectionRig.open(t)
  const [{ id: first }, { id: second }] = [await rig.organization(), await rig.organization()]
  for (const id of [first, second, undefined]) await add(rig, id, 110, rig.nowMs)
  const limits = { entriesMax: 5, organizationsPerRun: 1 }
  const pruner = new LogPruner({ metadata: rig.metadata, clock: () => rig.nowMs, keepMs: 1000, limits })
  assert.equal(await pruner.run(noPause), 210, 'the installation and the first organization')
  assert.equal(await pruner.run(noPause), 105)
  assert.equal(await pruner.run(noPause), 0)
  for (const id of [first, second]) {
    const kept = await listLogEntries(rig.metadata.db, id, { limit: 10 })
    assert.deepEqual(
      kept.map(({ metadata }) => metadata['turn']),
      [109, 108, 107, 106, 105],
    )
  }
  await add(rig, second, 1, rig.nowMs)
  assert.deepEqual([await pruner.run(noPause), await pruner.run(noPause)].sort(), [0, 1])
})

test('pruning reads by index: it scans no table', async (t) => {
  const { metadata } = await CollectionRig.open(t)
  for (const query of [
    'select id, created_at from log_entry order by id limit 100',
    'select id from log_entry where organization_id = 1 order by id desc limit 1 offset 5',
    'select id from log_entry where organization_id is null order by id desc limit 1 offset 5',
    'select organization_id from log_entry where organization_id > 1 order by organization_id limit 1',
  ]) {
    const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(query)}`.execute(metadata.db)
    for (const { detail } of rows) assert.doesNotMatch(detail, /TEMP B-TREE/, query)
    if (query.includes('where')) assert.match(rows[0]?.detail ?? '', /USING (COVERING )?INDEX log_entry_organization/)
  }
})
