import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINUTE_MS } from '../base/units.ts'
import { PASSWORD_LIMITS, Passwords, PasswordsBusyError, passwordProblem } from './passwords.ts'
import { networkOf, SIGN_IN_LIMITS, SignInLimit } from './sign-in-limit.ts'

const address = '192.0.2.1'

test('a password is right for its own hash only, and the hash says how it was made', async () => {
  const passwords = new Passwords(() => 0)
  const stored = await passwords.hash('correct horse', address)
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  assert.equal(await passwords.verify(stored, 'correct horse', address), true)
  assert.equal(await passwords.verify(stored, 'correct horsf', address), false)
  assert.notEqual(stored, await passwords.hash('correct horse', address))
})

test('the same letters in another Unicode form are the same password', async () => {
  const passwords = new Passwords(() => 0)
  const stored = await passwords.hash('cafe\u0301 secret', address)
  assert.equal(await passwords.verify(stored, 'caf\u00e9 secret', address), true)
})

test('nobody has the password of an account that does not exist', async () => {
  const passwords = new Passwords(() => 0)
  assert.equal(await passwords.verify(undefined, 'correct horse', address), false)
  assert.equal(await passwords.verify(undefined, 'x'.repeat(PASSWORD_LIMITS.bytesMax + 1), address), false)
})

test('a success is remembered for five minutes and for that hash only', async () => {
  let nowMs = 0
  const passwords = new Passwords(() => nowMs)
  const stored = await passwords.hash('correct horse', address)
  assert.equal(passwords.recall(stored, 'correct horse'), false)
  await passwords.verify(stored, 'wrong horse!', address)
  assert.equal(passwords.recall(stored, 'wrong horse!'), false)
  await passwords.verify(stored, 'correct horse', address)
  assert.equal(passwords.recall(stored, 'correct horse'), true)
  assert.equal(passwords.recall(await passwords.hash('correct horse', address), 'correct horse'), false)
  nowMs = 5 * MINUTE_MS
  assert.equal(passwords.recall(stored, 'correct horse'), false)
})

test('one address cannot take every place in the queue', async () => {
  const passwords = new Passwords(() => 0)
  const flood = Array.from({ length: PASSWORD_LIMITS.hashesPerAddressMax + 1 }, () =>
    passwords.hash('correct horse', address).then(
      () => 'done',
      (error: unknown) => error,
    ),
  )
  const other = passwords.hash('correct horse', '192.0.2.2')
  const outcomes = await Promise.all(flood)
  assert.equal(outcomes.filter((outcome) => outcome === 'done').length, PASSWORD_LIMITS.hashesPerAddressMax)
  assert.ok(outcomes.at(-1) instanceof PasswordsBusyError)
  assert.match(await other, /^\$argon2id/)
})

test('a password has at least eight characters and at most a kilobyte', () => {
  assert.equal(passwordProblem('correct horse'), undefined)
  assert.match(passwordProblem('seven77') ?? '', /at least 8/)
  assert.match(passwordProblem('ü'.repeat(513)) ?? '', /at most 1024/)
  assert.match(passwordProblem('line\nbreak line') ?? '', /control/)
})

test('after ten failures an account waits at that address, and nowhere else', () => {
  let nowMs = 0
  const limit = new SignInLimit(() => nowMs)
  for (let count = 0; count < SIGN_IN_LIMITS.failuresMax; count += 1)
    assert.equal(limit.begin('ann', address), undefined)
  assert.deepEqual(limit.begin('Ann', '::ffff:192.0.2.1'), { waitMs: SIGN_IN_LIMITS.windowMs })
  assert.equal(limit.begin('ann', '192.0.2.2'), undefined)
  assert.equal(limit.begin('bob', address), undefined)
  nowMs = SIGN_IN_LIMITS.windowMs
  assert.equal(limit.begin('ann', address), undefined)
})

test('a success forgets the failures before it, and what was not judged does not count', () => {
  const limit = new SignInLimit(() => 0)
  for (let round = 0; round < 30; round += 1) {
    assert.equal(limit.begin('ann', address), undefined)
    limit.withdraw('ann', address)
  }
  for (let count = 0; count < SIGN_IN_LIMITS.failuresMax; count += 1) limit.begin('ann', address)
  limit.succeed('ann', address)
  assert.equal(limit.begin('ann', address), undefined)
})

test('addresses of one IPv6 network count as one', () => {
  assert.equal(networkOf('2001:db8:0:1::1'), networkOf('2001:DB8::1:aaaa:bbbb:cccc:dddd'))
  assert.notEqual(networkOf('2001:db8:0:1::1'), networkOf('2001:db8:0:2::1'))
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
  assert.equal(networkOf('::1'), '0:0:0:0::/64')
  assert.equal(networkOf('unix'), 'unix')
})
