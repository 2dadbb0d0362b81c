import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keep, startWithRepository } from '../../../test/api/cached-repository.ts'
import { basic, PASSWORD } from '../../../test/api/start-api.ts'
import { makeManifest } from '../../../test/contracts/metadata-case.ts'
import { runProgram } from '../../cli/program.ts'
import { findChargeBytes } from '../../metadata/ledger.ts'
import { PURGE_LIMITS } from '../../registry/purge.ts'

const images = PURGE_LIMITS.rootsAtOnceMax + 1

test('a purge of many images goes on behind its answer: the command watches it, and no second begins', async (t) => {
  const cached = await startWithRepository(t)
  const { api, organization } = cached
  for (let turn = 0; turn < images; turn++) {
    await keep(cached, makeManifest({ layers: [], annotations: { turn: String(turn) } }), [`v${turn}`])
  }
  const url = await api.fastify.listen({ host: '127.0.0.1', port: 0 })
  const path = '/api/v1/organization/cache/purge'
  const statuses: number[] = []
  const printed: string[] = []
  let looks = 0
  const code = await runProgram(['purge', 'cache', '--yes', '--json', '--user', 'owner', '--server', url], {
    version: '0',
    serve: () => assert.fail(),
    // Between two looks of the command: the purge has begun, and is over when the command looks again.
    delayMs: async () => {
      looks += 1
      statuses.push((await api.send({ method: 'POST', path, as: 'owner', body: {} })).statusCode)
      await api.admin.purges.settled()
    },
    terminal: {
      env: { ENTREPOT_PASSWORD: PASSWORD },
      writeOut: (text) => void printed.push(text),
      writeError: () => undefined,
      readSecret: async () => undefined,
      isWatched: false,
      readAnswer: async () => undefined,
      onInterrupt: () => () => undefined,
      close: () => undefined,
    },
  })
  assert.equal(code, 0)
  const { state, total, removed_images } = JSON.parse(printed.join(''))
  assert.deepEqual([state, total, removed_images], ['done', images, images])
  assert.deepEqual([looks, statuses], [1, [409]])
  assert.equal(await findChargeBytes(api.metadata.db, organization.id), 0)
  const answer = await fetch(url + path, { headers: { authorization: basic('owner', PASSWORD) } })
  assert.equal(JSON.parse(await answer.text()).removed_images, images, 'it can be asked for afterwards')
})
