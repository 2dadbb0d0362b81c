import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metrics } from './metrics.ts'

test('what is counted is what Prometheus reads', async () => {
  const metrics = new Metrics()
  metrics.countPull('hub', 'getManifest', 'hit')
  metrics.countPull('hub', 'getManifest', 'hit')
  metrics.countRequest('getBlob', 206, 10)
  metrics.countUpstreamRequest({ host: 'quay.io', kind: 'blob', status: undefined, failure: 'timeout', ms: 250 })
  metrics.setUpstreamUp('quay.io', false)
  metrics.countIngest('failed')
  metrics.countIngestedBytes(42)
  metrics.addGauge('entrepot_ingests_running', 'Blobs that are being received.', () => 3)
  const charges = new Map([
    ['hub', 7],
    ['lab', 8],
  ])
  metrics.addGauges('entrepot_charge_bytes', 'Charges.', 'organization', async () => charges)
  await metrics.render()
  charges.delete('lab')
  const text = await metrics.render()
  assert.doesNotMatch(text, /"lab"/, 'what is gone is not measured')
  for (const line of [
    'entrepot_pulls_total{organization="hub",kind="getManifest",outcome="hit"} 2',
    'entrepot_requests_total{kind="getBlob",status="206"} 1',
    'entrepot_sent_bytes_total{kind="getBlob"} 10',
    'entrepot_upstream_requests_total{host="quay.io",kind="blob",status="0"} 1',
    'entrepot_upstream_errors_total{host="quay.io",failure="timeout"} 1',
    'entrepot_upstream_up{host="quay.io"} 0',
    'entrepot_ingests_total{result="failed"} 1',
    'entrepot_ingested_bytes_total 42',
    'entrepot_ingests_running 3',
    'entrepot_charge_bytes{organization="hub"} 7',
  ]) {
    assert.ok(text.split('\n').includes(line), `${line} is not in\n${text}`)
  }
  assert.throws(() => metrics.addGauge('entrepot_ingests_running', '', () => 0), /there already/)
})
