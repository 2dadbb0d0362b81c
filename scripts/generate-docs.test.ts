import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { SETTINGS } from '../src/config/schema.ts'
import { REGISTRY_ERRORS } from '../src/errors.ts'
import { configurationPage, errorsPage, PAGES } from './generate-docs.ts'

for (const [path, make] of Object.entries(PAGES)) {
  test(`${path} says what the tables say`, async () => {
    assert.equal(await readFile(new URL(`../${path}`, import.meta.url), 'utf8'), make())
  })
}

test('no setting and no error is left out', () => {
  const configuration = configurationPage()
  for (const key of Object.keys(SETTINGS)) assert.ok(configuration.includes(`\`${key}\``), key)
  const errors = errorsPage()
  for (const { code, status } of Object.values(REGISTRY_ERRORS)) {
    assert.ok(errors.includes(`| ${status} | \`${code}\` |`), code)
  }
})
