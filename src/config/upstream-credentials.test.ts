import assert from 'node:assert/strict'
import { test } from 'node:test'
import { credentialsOf } from './upstream-credentials.ts'

test('a credential is a file whose path is made absolute, or a command that is kept as it is', () => {
  const shared = { registry: 'quay.io', username: 'robot', insecure: false, organization_ca: false }
  const rows = {
    hub: { ...shared, password_file: 'hub.txt' },
    ecr: { ...shared, password_command: ['print', 'me'] },
  }
  const credentials = credentialsOf(rows, (value) => `/etc/${value}`)
  const common = { registry: 'quay.io', username: 'robot', insecure: false, organizationCa: false }
  assert.deepEqual(
    [...credentials],
    [
      ['hub', { ...common, kind: 'file', passwordFile: '/etc/hub.txt' }],
      ['ecr', { ...common, kind: 'command', passwordCommand: ['print', 'me'] }],
    ],
  )
})
