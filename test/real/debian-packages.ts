/** The Debian packages that the real parts of the tests come from, and what is missing here. */
import { existsSync } from 'node:fs'

const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** Package to the program that shows that it is there. `scripts/test.ts` installs them where it can. */
export const DEBIAN_PACKAGES = {
  'apache2-utils': 'htpasswd',
  'busybox-static': 'busybox',
  conmon: 'conmon',
  containerd: 'containerd',
  debootstrap: 'debootstrap',
  'docker-registry': 'docker-registry',
  'docker.io': 'dockerd',
  iptables: 'iptables',
  podman: 'podman',
  postgresql: 'pg_ctlcluster',
  runc: 'runc',
  skopeo: 'skopeo',
  'util-linux': 'setpriv',
} as const

export type DebianPackage = keyof typeof DEBIAN_PACKAGES

/** Where Debian keeps a program: other copies that happen to come first in PATH are other versions. */
export function findProgram(name: string): string | undefined {
  return FOLDERS.map((folder) => `${folder}/${name}`).find((file) => existsSync(file))
}

/** As `findProgram`. Errors: when it is not there. */
export function getProgram(name: string): string {
  const file = findProgram(name)
  if (file === undefined) throw new Error(`cannot run ${name}: it is in none of ${FOLDERS.join(', ')}`)
  return file
}

/**
 * Why a test that needs `packages` cannot run here, as the `skip` option of a test takes it; false when it can.
 * `asRoot`: the client mounts, so it needs root too.
 */
export function skipUnless(packages: readonly DebianPackage[], options: { asRoot?: boolean } = {}): string | false {
  const missing = packages.filter((name) => findProgram(DEBIAN_PACKAGES[name]) === undefined)
  if (missing.length > 0) return `needs the Debian packages ${missing.join(', ')}`
  return options.asRoot === true && process.getuid?.() !== 0 ? 'needs root' : false
}
