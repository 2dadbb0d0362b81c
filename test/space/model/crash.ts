/** A process that dies at a chosen write: from then on nothing that it does reaches the database or the files. */
import type { KyselyPlugin, RootOperationNode } from 'kysely'
import type { BlobDraft, BlobStore } from '../../../src/blobs/blob-store.ts'
import type { Metadata } from '../../../src/metadata/open.ts'
import { transact } from '../../../src/metadata/transaction.ts'
import type { Activity } from './turns.ts'

export class Crashed extends Error {
  override readonly name = 'Crashed'
}

/** Before and after each write there is an instant at which the process may die. */
export class Life {
  #instantsLeft = Number.POSITIVE_INFINITY
  #isOver = false

  get isOver(): boolean {
    return this.#isOver
  }

  /** Die at the `instants`-th from now. */
  endIn(instants: number): void {
    this.#instantsLeft = instants
  }

  end(): void {
    this.#isOver = true
  }

  /** Errors: Crashed. */
  instant(): void {
    this.#instantsLeft -= 1
    if (this.#instantsLeft <= 0) this.#isOver = true
    this.check()
  }

  check(): void {
    if (this.#isOver) throw new Crashed('the process has died')
  }
}

export function mortalMetadata(metadata: Metadata, life: Life, activity: Activity): Metadata {
  const plugin: KyselyPlugin = {
    transformQuery({ node }): RootOperationNode {
      if (node.kind === 'SelectQueryNode') life.check()
      else life.instant()
      return node
    },
    transformResult: ({ result }) => Promise.resolve(result),
  }
  const db = metadata.db.withPlugin(plugin)
  return {
    db,
    dialect: metadata.dialect,
    transaction: (work) =>
      activity.during(async () => {
        life.instant()
        const result = await transact(db, work)
        life.instant()
        return result
      }),
    close: () => Promise.resolve(),
  }
}

export function mortalStore(store: BlobStore, life: Life, activity: Activity): BlobStore {
  const write = <Value>(work: () => Promise<Value>): Promise<Value> =>
    activity.during(async () => {
      life.instant()
      const result = await work()
      life.instant()
      return result
    })
  const read = <Value>(work: () => Promise<Value>): Promise<Value> =>
    activity.during(async () => {
      life.check()
      return work()
    })
  const mortalDraft = (draft: BlobDraft): BlobDraft => ({
    write: (block, position) => write(() => draft.write(block, position)),
    read: (buffer, position) => read(() => draft.read(buffer, position)),
    publish: (digest) => write(() => draft.publish(digest)),
    discard: () => write(() => draft.discard()),
    close: () => draft.close(),
  })
  return {
    find: (digest) => read(() => store.find(digest)),
    open: (digest) => read(() => store.open(digest)),
    create: () =>
      activity.during(async () => {
        life.instant()
        const draft = await store.create()
        try {
          life.instant()
        } catch (error) {
          await draft.close()
          throw error
        }
        return mortalDraft(draft)
      }),
    delete: (digest) => write(() => store.delete(digest)),
    list: (after) => store.list(after),
    capacity: () => store.capacity(),
    sweep: (isEnded) => store.sweep(isEnded),
  }
}
