import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ScriptedUpstream } from '../../test/fakes/scripted-upstream.ts'
import { KiB } from '../base/units.ts'
import { digestOf } from '../oci/digest.ts'
import { parseTag, type Tag } from '../oci/reference.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { LIST_LIMITS, OrganizationLists } from './organization-lists.ts'
import type { ManifestsDeps, OrganizationManifests } from './organization-manifests.ts'
import type { OrganizationView } from './organization-view.ts'

const subject = digestOf(Buffer.from('subject'))
const listCharacters = LIST_LIMITS.looseCharactersMax / 8

/** Repositories of which nothing is held, so that no database is asked; the upstream lists much, and counts. */
class LongListUpstream extends ScriptedUpstream {
  readonly asked: string[] = []

  override async listTags(name: RepositoryName): Promise<Tag[]> {
    this.asked.push(name)
    return Array.from(
      { length: LIST_LIMITS.tagsMax },
      (_, index) => parseTag(`${index}`.padEnd(128, 'x')) ?? assert.fail(),
    )
  }

  override async listReferrers(name: RepositoryName): Promise<[]> {
    this.asked.push(name)
    const annotations = { text: 'x'.repeat(KiB) }
    const referrer = { mediaType: 'a/b', digest: subject, size: 1, annotations }
    return Array.from({ length: listCharacters / KiB }, () => referrer) as unknown as []
  }
}

function open() {
  const upstream = new LongListUpstream()
  const view = { name: 'org', frozen: false, upstream: { client: upstream } } as unknown as OrganizationView
  const deps = { clock: () => 1_000_000, delayMs: () => new Promise<void>(() => {}) } as unknown as ManifestsDeps
  const manifests = {
    enter: async (name: string) => ({ names: { stored: name, upstream: name }, held: undefined }),
    refuseWhenDenied: () => {},
  } as unknown as OrganizationManifests
  return { upstream, lists: new OrganizationLists(view, deps, manifests) }
}

test('a hostile upstream with endless lists of tags fills no memory: the oldest are asked for again', async () => {
  const { upstream, lists } = open()
  for (const name of ['one', 'two', 'three', 'three', 'one']) await lists.listTags(name)
  assert.deepEqual(upstream.asked, ['one', 'two', 'three', 'one'])
})

test('nor with endless lists of referrers; what fell out counts as never asked: an outage is said, not an empty list', async () => {
  const { upstream, lists } = open()
  const names = Array.from({ length: 10 }, (_, index) => `r${index}`)
  for (const name of names) await lists.listReferrers(name, subject)
  upstream.availability = 'down'
  assert.equal((await lists.listReferrers('r9', subject)).length, 1) // The same digest again and again.
  assert.deepEqual(upstream.asked, names)
  await lists.listReferrers('r0', subject)
  assert.equal(upstream.asked.at(-1), 'r0', 'it was asked although it is down, since nothing else is known')
})
