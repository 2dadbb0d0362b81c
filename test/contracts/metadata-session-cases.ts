/** Sessions, application tokens, OAuth applications and the changes of users. */
import assert from 'node:assert/strict'
import {
  countApplicationTokens,
  deleteApplicationToken,
  findAccessToken,
  insertAccessToken,
  listApplicationTokens,
  touchAccessTokens,
} from '../../src/metadata/access-tokens.ts'
import { hasOtherSuperuser, listOrganizationsOnlyOf, updateAccount } from '../../src/metadata/account-changes.ts'
import { createAccount, findAccountById } from '../../src/metadata/accounts.ts'
import {
  countAppTokens,
  deleteAppToken,
  findAppToken,
  findAppTokenByHash,
  insertAppToken,
  listAppTokens,
  touchAppTokens,
} from '../../src/metadata/app-tokens.ts'
import {
  countOAuthApplications,
  deleteOAuthApplication,
  findOAuthApplication,
  insertOAuthApplication,
  listOAuthApplications,
  setClientSecret,
  updateOAuthApplication,
} from '../../src/metadata/oauth-applications.ts'
import type { Db } from '../../src/metadata/open.ts'
import { collectOrganizationStep, markOrganizationDeleted } from '../../src/metadata/organizations.ts'
import {
  deleteSession,
  deleteSessionsOf,
  findSession,
  insertSession,
  renewSession,
  sweepSessions,
  touchSession,
} from '../../src/metadata/sessions.ts'
import { addTeamMember, createTeam } from '../../src/metadata/teams.ts'
import { freshDigest, freshName, type MetadataCase, NOW_MS, newOrganization } from './metadata-case.ts'

export const SESSION_CASES: readonly MetadataCase[] = [
  {
    title: 'a session is found by its hash, and its times only grow',
    async check({ db }) {
      const { id: accountId } = await newAccount(db)
      const idSha256 = freshHash()
      await insertSession(db, { idSha256, accountId, nowMs: NOW_MS }, 10)
      await touchSession(db, idSha256, NOW_MS + 9)
      await touchSession(db, idSha256, NOW_MS + 5)
      await renewSession(db, idSha256, NOW_MS + 7)
      assert.deepEqual(await findSession(db, idSha256), {
        idSha256,
        accountId,
        createdAtMs: NOW_MS,
        lastSeenAtMs: NOW_MS + 9,
        signedInAtMs: NOW_MS + 7,
      })
      await deleteSession(db, idSha256)
      assert.equal(await findSession(db, idSha256), undefined)
    },
  },
  {
    title: 'beyond its limit an account loses the sessions that were seen least recently, and nobody else does',
    async check({ db }) {
      const [{ id: accountId }, { id: otherId }] = [await newAccount(db), await newAccount(db)]
      const other = freshHash()
      await insertSession(db, { idSha256: other, accountId: otherId, nowMs: NOW_MS - 100 }, 2)
      const ids = [freshHash(), freshHash(), freshHash()]
      for (const [index, idSha256] of ids.entries()) {
        await insertSession(db, { idSha256, accountId, nowMs: NOW_MS + index }, 2)
        if (index === 1) await touchSession(db, ids[0] ?? '', NOW_MS + 50)
      }
      const kept = await Promise.all([...ids, other].map(async (id) => (await findSession(db, id)) !== undefined))
      // The newest stays, though it was seen before the first.
      assert.deepEqual(kept, [true, false, true, true])
      await deleteSessionsOf(db, accountId)
      assert.equal(await findSession(db, ids[2] ?? ''), undefined)
      assert.notEqual(await findSession(db, other), undefined)
    },
  },
  {
    title: 'sessions that are over by idleness or by age are swept in steps',
    async check({ db }) {
      const { id: accountId } = await newAccount(db)
      const [idle, old, live] = [freshHash(), freshHash(), freshHash()]
      // Long before the sessions of other cases, so that only these are over.
      await insertSession(db, { idSha256: idle, accountId, nowMs: 1_000 }, 10)
      await insertSession(db, { idSha256: old, accountId, nowMs: 500 }, 10)
      await touchSession(db, old, 5_000)
      await insertSession(db, { idSha256: live, accountId, nowMs: 2_000 }, 10)
      const over = { seenBeforeMs: 1_000, createdBeforeMs: 500, rowsMax: 1 }
      assert.equal(await sweepSessions(db, over), 1)
      assert.equal(await sweepSessions(db, over), 1)
      assert.equal(await sweepSessions(db, over), 0)
      const left = await Promise.all([idle, old, live].map(async (id) => (await findSession(db, id)) !== undefined))
      assert.deepEqual(left, [false, false, true])
      await deleteSession(db, live)
    },
  },
  {
    title: 'an application token is found by hash, and by its own account only',
    async check({ db }) {
      const [{ id: accountId }, { id: otherId }] = [await newAccount(db), await newAccount(db)]
      const fields = { ...appTokenFields(accountId), expiresAtMs: NOW_MS + 10 }
      const token = await insertAppToken(db, fields)
      const lasting = await insertAppToken(db, { ...appTokenFields(accountId), expiresAtMs: undefined })
      assert.deepEqual(token, { id: token.id, ...fields, lastUsedAtMs: undefined })
      await touchAppTokens(db, [[token.id, NOW_MS + 5]])
      await touchAppTokens(db, [[token.id, NOW_MS + 3]])
      assert.deepEqual(await findAppTokenByHash(db, token.tokenSha256), { ...token, lastUsedAtMs: NOW_MS + 5 })
      assert.equal(await findAppToken(db, otherId, token.uuid), undefined)
      assert.equal((await findAppToken(db, accountId, token.uuid))?.id, token.id)
      const list = async (page: Parameters<typeof listAppTokens>[2]) =>
        (await listAppTokens(db, accountId, page)).map(({ id }) => id)
      assert.deepEqual(await list({ limit: 1 }), [token.id])
      assert.deepEqual(await list({ limit: 9, afterId: token.id }), [lasting.id])
      assert.deepEqual(await list({ limit: 9, expiresBeforeMs: NOW_MS + 10 }), [token.id])
      assert.deepEqual([await countAppTokens(db, accountId), await countAppTokens(db, otherId)], [2, 0])
      assert.equal(await deleteAppToken(db, otherId, token.uuid), undefined)
      assert.equal((await deleteAppToken(db, accountId, token.uuid))?.id, token.id)
      assert.equal(await findAppTokenByHash(db, token.tokenSha256), undefined)
    },
  },
  {
    title: 'an OAuth application belongs to one organization, and takes its tokens along',
    async check({ db }) {
      const [organization, other] = [await newOrganization(db), await newOrganization(db)]
      const { id: accountId } = await newAccount(db)
      const fields = applicationFields(organization.id)
      const application = await insertOAuthApplication(db, fields)
      assert.deepEqual(application, { id: application.id, ...fields })
      assert.equal(await findOAuthApplication(db, other.id, fields.clientId), undefined)
      const changes = { name: 'b', redirectUri: 'r', applicationUri: 'u', avatarEmail: undefined, description: 'd' }
      await updateOAuthApplication(db, application.id, changes)
      await setClientSecret(db, application.id, 'sealed again')
      assert.deepEqual(await findOAuthApplication(db, organization.id, fields.clientId), {
        ...application,
        ...changes,
        clientSecretEncrypted: 'sealed again',
      })
      const second = await insertOAuthApplication(db, applicationFields(organization.id))
      const page = await listOAuthApplications(db, organization.id, { afterId: application.id, limit: 5 })
      assert.deepEqual(
        page.map(({ id }) => id),
        [second.id],
      )
      assert.equal(await countOAuthApplications(db, organization.id), 2)
      const token = await insertAccessToken(db, { ...accessTokenFields(accountId), applicationId: application.id })
      const kept = await insertAccessToken(db, { ...accessTokenFields(accountId), applicationId: second.id })
      await touchAccessTokens(db, [[token.id, NOW_MS + 1]])
      assert.equal((await listApplicationTokens(db, application.id, { limit: 5 }))[0]?.lastUsedAtMs, NOW_MS + 1)
      assert.equal(await countApplicationTokens(db, application.id), 1)
      assert.equal(await deleteApplicationToken(db, { applicationId: second.id, id: token.id }), false)
      await deleteOAuthApplication(db, application.id)
      assert.equal(await findAccessToken(db, token.tokenSha256), undefined)
      assert.notEqual(await findAccessToken(db, kept.tokenSha256), undefined)
      assert.equal(await deleteApplicationToken(db, { applicationId: second.id, id: kept.id }), true)
    },
  },
  {
    title: "an organization that is deleted ends its applications' tokens at once, and its rows go",
    async check({ db }) {
      const organization = await newOrganization(db)
      const { id: accountId } = await newAccount(db)
      const { id: applicationId } = await insertOAuthApplication(db, applicationFields(organization.id))
      const token = await insertAccessToken(db, { ...accessTokenFields(accountId), applicationId })
      assert.notEqual(await findAccessToken(db, token.tokenSha256), undefined)
      await markOrganizationDeleted(db, organization.id, NOW_MS)
      assert.equal(await findAccessToken(db, token.tokenSha256), undefined)
      assert.equal(await collectOrganizationStep(db, organization.id, 1000, NOW_MS), true)
      assert.deepEqual(await listApplicationTokens(db, applicationId, { limit: 1 }), [])
      assert.equal(await countOAuthApplications(db, organization.id), 0)
    },
  },
  {
    title: 'of an account only what is named changes',
    async check({ db }) {
      const account = await newAccount(db)
      await updateAccount(db, account.id, { passwordHash: 'hash' })
      await updateAccount(db, account.id, {})
      await updateAccount(db, account.id, { email: 'b@example.test' })
      await updateAccount(db, account.id, { isEnabled: false })
      const changed = { ...account, passwordHash: 'hash', email: 'b@example.test', isEnabled: false }
      assert.deepEqual(await findAccountById(db, account.id), changed)
      await updateAccount(db, account.id, { email: undefined })
      assert.equal((await findAccountById(db, account.id))?.email, undefined)
    },
  },
  {
    title: 'organizations are told in which an account is the only enabled administrator',
    async check({ db }) {
      const [alone, shared] = [await newOrganization(db), await newOrganization(db)]
      const [account, other] = [await newAccount(db), await newAccount(db)]
      for (const { id: organizationId } of [alone, shared]) {
        const owners = await createTeam(db, { organizationId, name: 'owners', role: 'admin', nowMs: NOW_MS })
        await addTeamMember(db, owners.id, account.id)
        if (organizationId === shared.id) await addTeamMember(db, owners.id, other.id)
        const members = await createTeam(db, { organizationId, name: 'members', role: 'member', nowMs: NOW_MS })
        await addTeamMember(db, members.id, other.id)
      }
      assert.deepEqual(await listOrganizationsOnlyOf(db, account.id, 10), [alone.name])
      assert.deepEqual(await listOrganizationsOnlyOf(db, other.id, 10), [])
      await updateAccount(db, other.id, { isEnabled: false })
      assert.deepEqual(await listOrganizationsOnlyOf(db, account.id, 10), [alone.name, shared.name].sort())
      await markOrganizationDeleted(db, alone.id, NOW_MS)
      assert.deepEqual(await listOrganizationsOnlyOf(db, account.id, 10), [shared.name])
    },
  },
  {
    title: 'another superuser is one that is marked or named, and enabled',
    async check({ db }) {
      const [account, named] = [await newAccount(db), await newAccount(db)]
      const isLeft = () => hasOtherSuperuser(db, account.id, [named.username])
      assert.equal(await isLeft(), true)
      assert.equal(
        await hasOtherSuperuser(db, account.id, [account.username]),
        await hasOtherSuperuser(db, account.id, []),
      )
    },
  },
]

function freshHash(): string {
  return freshDigest().slice(7)
}

function newAccount(db: Db) {
  return createAccount(db, { username: freshName(), passwordHash: undefined, isSuperuser: false, nowMs: NOW_MS })
}

function appTokenFields(accountId: number) {
  return {
    uuid: freshName(),
    accountId,
    title: 'ci',
    tokenSha256: freshHash(),
    tokenEncrypted: 'x',
    createdAtMs: NOW_MS,
  }
}

function accessTokenFields(accountId: number) {
  const secrets = { tokenSha256: freshHash(), tokenEncrypted: 'x' }
  return { accountId, title: 'ci', scope: 'repo:read', createdAtMs: NOW_MS, ...secrets }
}

function applicationFields(organizationId: number) {
  return {
    organizationId,
    clientId: freshName(),
    clientSecretEncrypted: 'sealed',
    name: 'a',
    createdAtMs: NOW_MS,
    redirectUri: '',
    applicationUri: '',
    avatarEmail: 'a@example.test',
    description: '',
  }
}
