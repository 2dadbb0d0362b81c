/** Registries that want credentials, pulled through by podman; the server keeps its metadata in PostgreSQL. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { assertArrived } from './arrival.ts'
import type { Client } from './client.ts'
import { skipUnless } from './debian-packages.ts'
import { type DockerRegistry, type Login, startDockerRegistry } from './docker-registry.ts'
import { type PushedImage, pushImages } from './images.ts'
import { startPodman } from './podman.ts'
import { skipWithoutPostgres, startPostgres } from './postgres.ts'
import { RegistryWriter } from './registry-writer.ts'
import { type RunningEntrepot, startEntrepot } from './start-entrepot.ts'
import { startTokenService, type TokenService } from './token-service.ts'

const LOGIN: Login = { username: 'ada', password: 'a difficult one' }
const WRONG: Login = { ...LOGIN, password: 'not this one' }

const needs = skipUnless(['apache2-utils', 'busybox-static', 'conmon', 'docker-registry', 'podman', 'runc'], {
  asRoot: true,
})

describe('registries that want credentials', { skip: needs || skipWithoutPostgres() }, () => {
  let entrepot: RunningEntrepot
  let tokens: TokenService
  let podman: Client
  let image: PushedImage
  const registries = new Map<string, DockerRegistry>()
  const stops: (() => Promise<void>)[] = []

  before(async () => {
    const postgres = await startPostgres()
    stops.push(() => postgres.stop())
    entrepot = await startEntrepot({ databaseUri: await postgres.createDatabase() })
    stops.push(() => entrepot.stop())
    podman = await startPodman()
    stops.push(() => podman.stop())
    tokens = await startTokenService({ users: [LOGIN] })
    stops.push(() => tokens.stop())
    registries.set('htpasswd', await startDockerRegistry({ auth: 'htpasswd', login: LOGIN }))
    registries.set('token', await startDockerRegistry({ auth: 'token', token: tokens }))
    for (const [name, registry] of registries) {
      stops.push(() => registry.remove())
      const pushed = (await pushImages(new RegistryWriter(registry.url, LOGIN), ['index'])).get('index')
      assert.ok(pushed)
      image = pushed
      await entrepot.createOrganization(name, { upstream: registry.host, login: LOGIN })
      await entrepot.createOrganization(`${name}-wrong`, { upstream: registry.host, login: WRONG })
      await entrepot.createOrganization(`${name}-nobody`, { upstream: registry.host })
    }
  })

  after(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  const pull = (organization: string) => {
    const repository = `${organization}/${image.repository}`
    return podman.pull({ host: entrepot.host, repository, reference: image.tag, login: entrepot.login })
  }

  for (const authentication of ['htpasswd', 'token']) {
    test(`with the right password podman pulls through a registry with ${authentication}`, async () => {
      assertArrived(await pull(authentication), image, 'own')
    })

    test(`what is cached of a registry with ${authentication} is pulled while that is away`, async () => {
      await registries.get(authentication)?.stop()
      assertArrived(await pull(authentication), image, 'own')
      await registries.get(authentication)?.start()
    })

    test(`without the right password podman says that a registry with ${authentication} refuses`, async () => {
      for (const organization of [`${authentication}-wrong`, `${authentication}-nobody`]) {
        const host = registries.get(authentication)?.host
        await assert.rejects(pull(organization), (error: Error) => {
          assert.ok(error.message.includes(`denied: ${host} refuses ${image.repository}`), error.message)
          return true
        })
      }
    })
  }

  test('one token serves the whole pull', () => {
    // One push, one pull; the wrong password and no password may be tried again once each.
    assert.ok(tokens.requestCount() <= 6, `${tokens.requestCount()} tokens were asked for`)
  })

  test('no password is in the log', () => {
    for (const secret of [LOGIN.password, WRONG.password, entrepot.login.password]) {
      assert.ok(!entrepot.output().includes(secret))
    }
  })
})
