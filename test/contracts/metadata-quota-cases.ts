/** Quotas, what they come to, and what is told of them: log entries and notifications. */
import assert from 'node:assert/strict'
import { listLargestCharges } from '../../src/metadata/largest-charges.ts'
import { lockUsage } from '../../src/metadata/ledger.ts'
import { addLogEntry, EVENT_METADATA_LIMITS, listLogEntries } from '../../src/metadata/log-entries.ts'
import { addNotification, listNotifications, notificationsMax } from '../../src/metadata/notifications.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { findOrganizationById } from '../../src/metadata/organizations.ts'
import {
  createQuota,
  createQuotaLimit,
  DuplicateLimitError,
  deleteQuota,
  deleteQuotaLimit,
  findLimit,
  findQuota,
  forgetWarning,
  notifyRefused,
  type Quota,
  refusalCooldownMs,
  updateQuota,
  updateQuotaLimit,
  WARNING_LIMITS,
  warnIfCrossed,
} from '../../src/metadata/quotas.ts'
import { type MetadataCase, NOW_MS, newOrganization, tenTimes } from './metadata-case.ts'

const ON = { hasQuotaManagement: true, systemRejectBytes: undefined }

async function newQuota(
  { db }: Metadata,
  limitBytes: number,
  limits: readonly (readonly ['Warning' | 'Reject', number])[],
): Promise<Quota> {
  const { id: organizationId } = await newOrganization(db)
  const quota = await createQuota(db, { organizationId, limitBytes, nowMs: NOW_MS })
  assert.ok(quota !== undefined)
  for (const [type, percent] of limits) await createQuotaLimit(db, quota.id, { type, percent })
  return quota
}

/** What was told when the charge came to these bytes, one after the other. */
async function warnings(
  metadata: Metadata,
  organizationId: number,
  charges: readonly number[],
  nowMs = NOW_MS,
): Promise<unknown[]> {
  const told: unknown[] = []
  for (const chargeBytes of charges) {
    const percent = await metadata.transaction(async (tx) => {
      await lockUsage(tx, organizationId)
      const limit = await findLimit(tx, organizationId, ON)
      return warnIfCrossed(tx, { organizationId, chargeBytes, limit, nowMs })
    })
    told.push(percent)
  }
  return told
}

export const QUOTA_CASES: readonly MetadataCase[] = [
  {
    title: 'an organization has one quota, whose limits are told apart by type and percentage',
    async check({ db }) {
      const { id: organizationId } = await newOrganization(db)
      assert.equal(await findQuota(db, organizationId), undefined)
      const quota = await createQuota(db, { organizationId, limitBytes: 1000, nowMs: NOW_MS })
      assert.deepEqual(quota, { id: quota?.id, organizationId, limitBytes: 1000, limits: [] })
      assert.equal(await createQuota(db, { organizationId, limitBytes: 5, nowMs: NOW_MS }), undefined)
      const { id } = quota
      const warning = await createQuotaLimit(db, id, { type: 'Warning', percent: 80 })
      const reject = await createQuotaLimit(db, id, { type: 'Reject', percent: 80 })
      await assert.rejects(createQuotaLimit(db, id, { type: 'Warning', percent: 80 }), DuplicateLimitError)
      await assert.rejects(updateQuotaLimit(db, id, { ...reject, type: 'Warning' }), DuplicateLimitError)
      assert.equal(await updateQuotaLimit(db, id, { ...warning, percent: 90 }), true)
      assert.equal(await updateQuota(db, { organizationId, id, limitBytes: 2 ** 53 - 1 }), true)
      const limits = [{ ...warning, percent: 90 }, reject]
      assert.deepEqual(await findQuota(db, organizationId), { id, organizationId, limitBytes: 2 ** 53 - 1, limits })
      assert.equal(await deleteQuotaLimit(db, id, warning.id), true)
      assert.equal(await deleteQuotaLimit(db, id, warning.id), false)
      assert.equal(await deleteQuota(db, organizationId), true)
      assert.equal(await deleteQuota(db, organizationId), false)
      assert.equal(await findQuota(db, organizationId), undefined)
    },
  },
  {
    title: "another organization's quota is neither changed nor deleted by its number",
    async check(metadata) {
      const theirs = await newQuota(metadata, 1000, [['Reject', 50]])
      const ours = await newQuota(metadata, 1000, [])
      const { db } = metadata
      const limit = (await findQuota(db, theirs.organizationId))?.limits[0]
      assert.ok(limit !== undefined)
      const { organizationId } = ours
      assert.equal(await updateQuota(db, { organizationId, id: theirs.id, limitBytes: 1 }), false)
      assert.equal(await updateQuotaLimit(db, ours.id, { ...limit, percent: 99 }), false)
      assert.equal(await deleteQuotaLimit(db, ours.id, limit.id), false)
      assert.equal(await deleteQuota(db, organizationId), true)
      assert.deepEqual(await findQuota(db, theirs.organizationId), { ...theirs, limits: [limit] })
    },
  },
  {
    title: 'of ten who give an organization its quota at once, one does',
    async check({ db }) {
      const { id: organizationId } = await newOrganization(db)
      const made = await tenTimes((turn) => createQuota(db, { organizationId, limitBytes: 1 + turn, nowMs: NOW_MS }))
      assert.equal(made.filter((quota) => quota !== undefined).length, 1)
    },
  },
  {
    title: 'the limit is the smallest of quota and Reject percentages, or else the default of the system',
    async check(metadata) {
      const { db } = metadata
      const of = (organizationId: number, systemRejectBytes?: number) =>
        findLimit(db, organizationId, { hasQuotaManagement: true, systemRejectBytes })
      const none = { limitBytes: undefined, quotaBytes: undefined, warningPercents: [] }
      const { id: bare } = await newOrganization(db)
      assert.deepEqual(await of(bare), none)
      assert.deepEqual(await of(bare, 0), none)
      assert.deepEqual(await of(bare, 77), { limitBytes: 77, quotaBytes: 77, warningPercents: [] })
      const limits = [
        ['Warning', 90],
        ['Reject', 95],
        ['Reject', 33],
        ['Warning', 10],
      ] as const
      const quota = await newQuota(metadata, 1001, [...limits])
      const expected = { limitBytes: 330, quotaBytes: 1001, warningPercents: [10, 90] }
      assert.deepEqual(await of(quota.organizationId), expected)
      assert.deepEqual(await of(quota.organizationId, 7), expected)
      const off = { hasQuotaManagement: false, systemRejectBytes: 7 }
      assert.deepEqual(await findLimit(db, quota.organizationId, off), none)
      const warned = await newQuota(metadata, 1001, [['Warning', 50]])
      assert.equal((await of(warned.organizationId)).limitBytes, 1001)
    },
  },
  {
    title: 'each crossing of a threshold is told once, and again after the charge fell below it',
    async check(metadata) {
      const { organizationId } = await newQuota(metadata, 1000, [
        ['Warning', 50],
        ['Warning', 80],
      ])
      const charges = [499, 500, 500, 799, 900, 1000, 600, 800, 0, 1000]
      const told = [undefined, 50, undefined, undefined, 80, undefined, undefined, 80, undefined, 80]
      assert.deepEqual(await warnings(metadata, organizationId, charges), told)
      const notifications = await listNotifications(metadata.db, organizationId, 10)
      assert.deepEqual(
        notifications.map(({ kind, metadata: { threshold_percent } }) => [kind, threshold_percent]),
        [80, 80, 80, 50].map((percent) => ['quota_warning', percent]),
      )
      const entries = await listLogEntries(metadata.db, organizationId, { limit: 10 })
      assert.deepEqual(
        entries.map(({ kind }) => kind),
        Array(4).fill('quota_warning'),
      )
      assert.deepEqual(entries[3]?.metadata, {
        threshold_percent: 50,
        quota_bytes: 500,
        configured_quota: 1000,
        limit_bytes: 1000,
      })
      await metadata.transaction((tx) => forgetWarning(tx, organizationId))
      assert.deepEqual(await warnings(metadata, organizationId, [1000]), [80])
    },
  },
  {
    title: 'a charge that swings about a threshold is told once a day, at once after it fell by 5 % of the quota',
    async check(metadata) {
      const { organizationId } = await newQuota(metadata, 1000, [
        ['Warning', 3],
        ['Warning', 90],
      ])
      const { againMs } = WARNING_LIMITS
      const told = (charges: number[], nowMs?: number) => warnings(metadata, organizationId, charges, nowMs)
      const swings = [899, 900, 899, 900, 851, 1000]
      assert.deepEqual(await told([900, ...swings]), [90, ...swings.map(() => undefined)])
      assert.deepEqual(await told(swings, NOW_MS + againMs - 1), Array(6).fill(undefined))
      const aDayLater = await told([899, 900, 899, 900], NOW_MS + againMs)
      assert.deepEqual(aDayLater, [undefined, 90, undefined, undefined])
      assert.deepEqual(await told([900, 900], NOW_MS + 3 * againMs), [90, undefined], 'it had fallen since')
      assert.deepEqual(await told([900, 1000], NOW_MS + 9 * againMs), [undefined, undefined], 'it has not')
      assert.deepEqual(await told([850, 900], NOW_MS + 9 * againMs), [undefined, 90], 'by 5 %')
      assert.deepEqual(await told([1, 30, 0, 30], NOW_MS + 9 * againMs), [undefined, undefined, undefined, 3])
    },
  },
  {
    title: 'the organizations that are charged for most are listed with their limits, the largest first',
    async check(metadata) {
      const { db } = metadata
      const limited = await newQuota(metadata, 1001, [
        ['Reject', 95],
        ['Reject', 33],
        ['Warning', 10],
      ])
      const { id: bare } = await newOrganization(db)
      const { id: deleted } = await newOrganization(db)
      const huge = 2 ** 50
      for (const [id, bytes] of [
        [limited.organizationId, huge],
        [bare, huge + 1],
        [deleted, huge + 2],
      ] as const) {
        await db.updateTable('usage').set({ charge_bytes: bytes }).where('organization_id', '=', id).execute()
      }
      await db.updateTable('organization').set({ deleted_at: NOW_MS }).where('id', '=', deleted).execute()
      const nameOf = async (id: number) => (await findOrganizationById(db, id))?.name
      assert.deepEqual(await listLargestCharges(db, { ...ON, systemRejectBytes: 77 }, 2), [
        { organization: await nameOf(bare), chargeBytes: huge + 1, limitBytes: 77 },
        { organization: await nameOf(limited.organizationId), chargeBytes: huge, limitBytes: 330 },
      ])
      const [, off] = await listLargestCharges(db, { hasQuotaManagement: false, systemRejectBytes: 77 }, 2)
      assert.equal(off?.limitBytes, undefined)
      for (const id of [limited.organizationId, bare, deleted]) {
        await db.updateTable('usage').set({ charge_bytes: 0 }).where('organization_id', '=', id).execute()
      }
    },
  },
  {
    title: 'an organization without thresholds is never warned',
    async check(metadata) {
      const { organizationId } = await newQuota(metadata, 1000, [['Reject', 50]])
      assert.deepEqual(await warnings(metadata, organizationId, [1000, 0, 500]), [undefined, undefined, undefined])
      assert.deepEqual(await listNotifications(metadata.db, organizationId, 1), [])
    },
  },
  {
    title: 'refusals are told once an hour for each organization, also while the clock goes back',
    async check(metadata) {
      const [{ id: first }, { id: second }] = [await newOrganization(metadata.db), await newOrganization(metadata.db)]
      const refuse = (organizationId: number, nowMs: number) =>
        metadata.transaction(async (tx) => {
          await lockUsage(tx, organizationId)
          return notifyRefused(tx, { organizationId, nowMs, metadata: { needed_bytes: 7 } })
        })
      const atOnce = await tenTimes(() => refuse(first, NOW_MS))
      assert.equal(atOnce.filter(Boolean).length, 1)
      assert.equal(await refuse(second, NOW_MS), true)
      assert.equal(await refuse(first, NOW_MS - 1), false)
      assert.equal(await refuse(first, NOW_MS + refusalCooldownMs - 1), false)
      assert.equal(await refuse(first, NOW_MS + refusalCooldownMs), true)
      const [last] = await listNotifications(metadata.db, first, 1)
      assert.deepEqual(last?.metadata, { needed_bytes: 7 })
    },
  },
  {
    title: 'the oldest notifications of an organization are dropped at its maximum, and no others',
    async check(metadata) {
      const [{ id: first }, { id: second }] = [await newOrganization(metadata.db), await newOrganization(metadata.db)]
      const notify = (organizationId: number, turn: number) =>
        metadata.transaction((tx) =>
          addNotification(tx, { organizationId, kind: 'image_evicted', nowMs: NOW_MS, metadata: { turn } }),
        )
      await notify(second, 0)
      for (let turn = 0; turn < notificationsMax + 2; turn++) await notify(first, turn)
      const kept = await listNotifications(metadata.db, first, notificationsMax * 2)
      assert.equal(kept.length, notificationsMax)
      assert.deepEqual(kept.at(-1)?.metadata, { turn: 2 })
      assert.equal((await listNotifications(metadata.db, second, 10)).length, 1)
    },
  },
  {
    title: 'log entries are listed by pages, and hostile metadata is stored, shortened and harmless',
    async check({ db }) {
      const { id: organizationId } = await newOrganization(db)
      const hostile = { tag: 'a\0"\ud800', tags: Array(1000).fill('x'.repeat(5000)), note: 'kept' }
      await addLogEntry(db, { organizationId, kind: 'pin', nowMs: NOW_MS, metadata: {} })
      await addLogEntry(db, { organizationId, kind: 'evict_image', nowMs: NOW_MS, metadata: hostile })
      const unbounded = {
        organizationId,
        kind: 'unpin',
        nowMs: NOW_MS,
        address: '::1'.repeat(999),
        metadata: {},
      } as const
      await addLogEntry(db, unbounded)
      await addLogEntry(db, { organizationId: undefined, kind: 'pin', nowMs: NOW_MS, metadata: {} })
      const [unpin, evict, ...rest] = await listLogEntries(db, organizationId, { limit: 2 })
      assert.equal(rest.length, 0)
      assert.ok((unpin?.address?.length ?? 0) < 100)
      assert.deepEqual(evict?.metadata, { tag: 'a\0"\ud800', note: 'kept', is_shortened: true })
      assert.ok(JSON.stringify(evict?.metadata).length <= EVENT_METADATA_LIMITS.jsonCharactersMax)
      const older = await listLogEntries(db, organizationId, { beforeId: evict?.id, limit: 2 })
      assert.deepEqual(
        older.map(({ kind, accountId, address }) => [kind, accountId, address]),
        [['pin', undefined, undefined]],
      )
    },
  },
]
