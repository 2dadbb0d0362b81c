/**
 * `npm run bench [-- NAME…]`: each measure beside its reference in the same run. Needs Debian's nginx, wrk and
 * docker-registry, and two cores.
 */
import { benchColdPull, benchHerd, benchMemory } from './cold.ts'
import { benchManifests } from './manifests.ts'
import { leaveServerCore } from './rig.ts'
import { benchWarmBlob } from './warm-blob.ts'

const BENCHES: Record<string, () => Promise<string[]>> = {
  manifests: benchManifests,
  'warm-blob': benchWarmBlob,
  'cold-pull': benchColdPull,
  'herd-20': () => benchHerd(20),
  'herd-8': () => benchHerd(8),
  'memory-20': () => benchMemory(20),
}

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !(name in BENCHES))
if (unknown.length > 0) {
  process.stderr.write(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}\n`)
  process.exit(2)
}
leaveServerCore()
for (const [name, bench] of Object.entries(BENCHES)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  process.stdout.write(`\n${name}\n`)
  for (const line of await bench()) process.stdout.write(`  ${line}\n`)
}
process.exit(0)
