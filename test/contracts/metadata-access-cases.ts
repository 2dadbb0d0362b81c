/** Accounts, tokens, teams, leases and the facts of an installation. */
import assert from 'node:assert/strict'
import {
  deleteAccessToken,
  findAccessToken,
  insertAccessToken,
  listAccessTokens,
  touchAccessTokens,
} from '../../src/metadata/access-tokens.ts'
import { createAccount, findAccount, findAccountById, listAccounts } from '../../src/metadata/accounts.ts'
import { findInstanceValue, insertInstanceValue } from '../../src/metadata/instance.ts'
import { acquireLease, heartbeatLease, listLiveLeaseIds, releaseLease } from '../../src/metadata/leases.ts'
import { NameTakenError } from '../../src/metadata/names.ts'
import type { Db } from '../../src/metadata/open.ts'
import { markOrganizationDeleted } from '../../src/metadata/organizations.ts'
import { addTeamMember, createTeam, findRoles, listMemberships, listTeams } from '../../src/metadata/teams.ts'
import { freshDigest, freshName, type MetadataCase, NOW_MS, newOrganization, tenTimes } from './metadata-case.ts'

export const ACCESS_CASES: readonly MetadataCase[] = [
  {
    title: 'an account is found by name and id, and hostile names find nothing',
    async check({ db }) {
      const username = freshName()
      const account = await createAccount(db, {
        username,
        email: 'a@example.test',
        passwordHash: '$argon2id$…',
        isSuperuser: true,
        nowMs: NOW_MS,
      })
      assert.deepEqual(account, {
        id: account.id,
        username,
        email: 'a@example.test',
        passwordHash: '$argon2id$…',
        isSuperuser: true,
        isEnabled: true,
        createdAtMs: NOW_MS,
        kind: 'user',
        ownerOrganizationId: undefined,
        ownerAccountId: undefined,
        tokenSha256: undefined,
      })
      assert.deepEqual(await findAccount(db, username), account)
      assert.deepEqual(await findAccountById(db, account.id), account)
      for (const hostile of [`${username}\0`, `${username}' or '1'='1`, '%', '', username.toUpperCase(), '\ud800']) {
        assert.equal(await findAccount(db, hostile), undefined)
      }
    },
  },
  {
    title: 'an account cannot have the name of an organization, and accounts are listed by name',
    async check({ db }) {
      const { name } = await newOrganization(db)
      await assert.rejects(newAccount(db, name), NameTakenError)
      const prefix = freshName()
      for (const end of ['c', 'a', 'b']) await newAccount(db, prefix + end)
      const page = await listAccounts(db, { after: `${prefix}a`, limit: 2 })
      assert.deepEqual(
        page.map(({ username }) => username),
        [`${prefix}b`, `${prefix}c`],
      )
    },
  },
  {
    title: 'an access token is found by its hash, remembers its last use, and is deleted by its account only',
    async check({ db }) {
      const [account, other] = [await newAccount(db), await newAccount(db)]
      const fields = {
        accountId: account.id,
        title: 'ci',
        tokenSha256: freshDigest().slice(7),
        tokenEncrypted: 'x',
        scope: 'repo:read org:admin',
        createdAtMs: NOW_MS,
      }
      const token = await insertAccessToken(db, fields)
      const unset = { expiresAtMs: undefined, lastUsedAtMs: undefined, applicationId: undefined }
      assert.deepEqual(token, { id: token.id, ...fields, ...unset })
      await touchAccessTokens(db, [[token.id, NOW_MS + 5]])
      await touchAccessTokens(db, [[token.id, NOW_MS + 3]])
      assert.deepEqual(await findAccessToken(db, fields.tokenSha256), { ...token, lastUsedAtMs: NOW_MS + 5 })
      assert.equal(await findAccessToken(db, freshDigest().slice(7)), undefined)
      assert.equal((await listAccessTokens(db, account.id)).length, 1)
      assert.deepEqual(await listAccessTokens(db, other.id), [])
      assert.equal(await deleteAccessToken(db, { accountId: other.id, id: token.id }), false)
      assert.equal(await deleteAccessToken(db, { accountId: account.id, id: token.id }), true)
      assert.equal(await findAccessToken(db, fields.tokenSha256), undefined)
    },
  },
  {
    title: 'teams give roles in their own organization only, each once',
    async check({ db }) {
      const [first, second] = [await newOrganization(db), await newOrganization(db)]
      const { id: accountId } = await newAccount(db)
      const team = (organizationId: number, name: string, role: 'admin' | 'member') =>
        createTeam(db, { organizationId, name, role, nowMs: NOW_MS })
      const owners = await team(first.id, 'owners', 'admin')
      assert.deepEqual(owners, {
        id: owners.id,
        organizationId: first.id,
        name: 'owners',
        role: 'admin',
        description: '',
        createdAtMs: NOW_MS,
      })
      await assert.rejects(team(first.id, 'owners', 'member'), NameTakenError)
      const members = [await team(first.id, 'b', 'member'), await team(first.id, 'a', 'member')]
      await team(second.id, 'owners', 'admin')
      await tenTimes(() => addTeamMember(db, owners.id, accountId))
      for (const { id } of members) await addTeamMember(db, id, accountId)
      assert.deepEqual(
        (await listTeams(db, first.id)).map(({ name }) => name),
        ['a', 'b', 'owners'],
      )
      assert.deepEqual(await findRoles(db, { organizationId: first.id, accountId }), ['admin', 'member'])
      assert.deepEqual(await findRoles(db, { organizationId: second.id, accountId }), [])
      const membership = { organizationId: first.id, organizationName: first.name }
      assert.deepEqual(await listMemberships(db, accountId), [
        { ...membership, role: 'admin' },
        { ...membership, role: 'member' },
      ])
      await markOrganizationDeleted(db, first.id, NOW_MS)
      assert.deepEqual(await listMemberships(db, accountId), [])
    },
  },
  {
    title: 'of ten that want a lease at once one gets it, and the others learn who has it',
    async check({ db }) {
      const name = freshName()
      const acquire = (leaseId: string, nowMs: number) =>
        acquireLease(db, { name, leaseId, holder: `holder of ${leaseId}`, nowMs, staleAfterMs: 30 })
      const answers = await tenTimes((turn) => acquire(`${name}-${turn}`, NOW_MS))
      const winner = answers.findIndex(({ acquired }) => acquired)
      const held = { acquired: false, holder: `holder of ${name}-${winner}`, heartbeatAtMs: NOW_MS }
      for (const [turn, answer] of answers.entries()) {
        assert.deepEqual(answer, turn === winner ? { acquired: true } : held)
      }
      assert.deepEqual(await acquire(`${name}-${winner}`, NOW_MS + 1), { acquired: true }, 'its own holder may again')
    },
  },
  {
    title: 'a lease lives as long as its heart beats, and then another takes it',
    async check({ db }) {
      const name = freshName()
      const [one, two] = [`${name}-one`, `${name}-two`]
      const acquire = async (leaseId: string, nowMs: number) =>
        (await acquireLease(db, { name, leaseId, holder: leaseId, nowMs, staleAfterMs: 30 })).acquired
      const isLive = async (leaseId: string, nowMs: number) => (await listLiveLeaseIds(db, nowMs, 30)).includes(leaseId)
      assert.equal(await acquire(one, NOW_MS), true)
      assert.equal(await heartbeatLease(db, { name, leaseId: one, nowMs: NOW_MS + 20 }), true)
      assert.deepEqual([await acquire(two, NOW_MS + 49), await isLive(one, NOW_MS + 49)], [false, true])
      assert.deepEqual([await isLive(one, NOW_MS + 50), await acquire(two, NOW_MS + 50)], [false, true])
      assert.equal(await heartbeatLease(db, { name, leaseId: one, nowMs: NOW_MS + 51 }), false)
      assert.equal(await releaseLease(db, { name, leaseId: one }), false)
      assert.equal(await releaseLease(db, { name, leaseId: two }), true)
      assert.equal(await acquire(one, NOW_MS + 52), true)
      assert.equal(await isLive(two, NOW_MS + 52), false)
    },
  },
  {
    title: 'of ten that insert a fact at once the first wins, and all learn what stands',
    async check({ db }) {
      const key = freshName()
      assert.equal(await findInstanceValue(db, key), undefined)
      const values = await tenTimes((turn) => insertInstanceValue(db, key, `value ${turn}`))
      assert.equal(new Set(values).size, 1)
      assert.equal(await findInstanceValue(db, key), values[0])
    },
  },
]

function newAccount(db: Db, username = freshName()) {
  return createAccount(db, { username, passwordHash: undefined, isSuperuser: false, nowMs: NOW_MS })
}
