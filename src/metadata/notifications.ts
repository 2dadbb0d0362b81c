/** What the administrators of an organization are told. */
import type { Db } from './db.ts'
import { type EventMetadata, formatEventMetadata } from './log-entries.ts'

/** The first two are Quay's. */
export const NOTIFICATION_KINDS = ['quota_warning', 'quota_error', 'image_evicted', 'store_low'] as const
export type NotificationKind = (typeof NOTIFICATION_KINDS)[number]

/** Of one organization; the oldest are dropped, since nobody reads on. */
export const notificationsMax = 500

export type NewNotification = {
  organizationId: number
  kind: NotificationKind
  nowMs: number
  metadata: EventMetadata
}

/** Add a notification, and drop the oldest beyond `notificationsMax`. Metadata that is too large is shortened. */
export async function addNotification(tx: Db, notification: NewNotification): Promise<void> {
  const { organizationId } = notification
  await tx
    .insertInto('notification')
    .values({
      organization_id: organizationId,
      kind: notification.kind,
      created_at: notification.nowMs,
      metadata: formatEventMetadata(notification.metadata),
    })
    .execute()
  await tx
    .deleteFrom('notification')
    .where('organization_id', '=', organizationId)
    .where('id', '<=', (eb) =>
      eb
        .selectFrom('notification as newer')
        .select('newer.id')
        .where('newer.organization_id', '=', organizationId)
        .orderBy('newer.id', 'desc')
        .limit(1)
        .offset(notificationsMax),
    )
    .execute()
}

/**
 * The same, unless the organization was told of this kind less than `cooldownMs` ago, or after now by a clock that was
 * set back since; resolves to whether it was added. Under a lock, if it must not happen twice at once.
 */
export async function addNotificationAtTimes(
  tx: Db,
  notification: NewNotification,
  cooldownMs: number,
): Promise<boolean> {
  const last = await tx
    .selectFrom('notification')
    .select('created_at')
    .where('organization_id', '=', notification.organizationId)
    .where('kind', '=', notification.kind)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
  if (last !== undefined && Math.abs(notification.nowMs - last.created_at) < cooldownMs) return false
  await addNotification(tx, notification)
  return true
}

export type Notification = { id: number; kind: string; createdAtMs: number; metadata: EventMetadata }

/** An organization's notifications, the newest first. */
export async function listNotifications(db: Db, organizationId: number, limit: number): Promise<Notification[]> {
  const rows = await db
    .selectFrom('notification')
    .select(['id', 'kind', 'created_at', 'metadata'])
    .where('organization_id', '=', organizationId)
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    createdAtMs: row.created_at,
    metadata: JSON.parse(row.metadata),
  }))
}
