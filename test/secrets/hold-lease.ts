/** A process that serves a data folder until its input ends: `node hold-lease.ts FOLDER`. */
import { loadConfig } from '../../src/config/load.ts'
import { openDatabase } from '../../src/foundations.ts'

const { metadata, lease } = await openDatabase(loadConfig({ env: { ENTREPOT_DATA: process.argv[2] } }), () => undefined)
process.stdout.write('held\n')
process.stdin.resume().once('end', async () => {
  await lease.release()
  await metadata.close()
})
