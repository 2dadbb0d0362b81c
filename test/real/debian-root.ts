/** A real Debian root file system in several layers, made by debootstrap once and kept in `.cache` between runs. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { sha256 } from '../fakes/content.ts'
import { runCommand } from './command.ts'
import { getProgram } from './debian-packages.ts'
import { type Layer, makeLayer } from './layer.ts'
import { makeTar } from './tar.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

const CACHE = path.join(import.meta.dirname, '..', '..', '.cache')
/** To be counted up when the layers are made in another way. */
const RECIPE = 2
const SUITE = 'bookworm'
const MIRROR = 'http://deb.debian.org/debian'
const DEBOOTSTRAP_MS_MAX = 300_000

/** What each layer holds, as arguments of tar. */
const PARTS = [
  [...['./usr/share', './var', './dev/*'].map(exclude), '.'],
  // Thousands of small files that would only take time.
  [
    ...['./var/cache/apt', './var/lib/apt/lists', './usr/share/locale', './usr/share/zoneinfo'].map(exclude),
    './usr/share',
    './var',
  ],
]
/** A last layer that takes something away again: documents, by their whiteouts (image-spec layer.md). */
const WHITEOUTS = [{ path: 'usr/share/.wh.doc' }, { path: 'usr/share/.wh.man' }]

function exclude(pattern: string): string {
  return `--exclude=${pattern}`
}

/** Needs root, and the Debian mirror the first time. */
export async function debianLayers(): Promise<Layer[]> {
  const folder = path.join(CACHE, `debian-root-${SUITE}-${process.arch}-${RECIPE}`)
  return (await readLayers(folder)) ?? (await makeLayers(folder))
}

async function readLayers(folder: string): Promise<Layer[] | undefined> {
  const list = await readFile(path.join(folder, 'diff-ids'), 'utf8').catch(() => undefined) // Not made yet.
  if (list === undefined) return undefined
  return Promise.all(
    list.split('\n').map(async (diffId, position) => {
      const bytes = await readFile(path.join(folder, `${position}.tar.gz`))
      return { bytes, digest: sha256(bytes), diffId, compression: 'gzip' as const }
    }),
  )
}

async function makeLayers(folder: string): Promise<Layer[]> {
  const temporary = await makeTemporaryFolder('debian')
  try {
    const root = path.join(temporary.path, 'root')
    await runCommand(getProgram('debootstrap'), ['--variant=minbase', SUITE, root, MIRROR], {
      msMax: DEBOOTSTRAP_MS_MAX,
    })
    const tars: Buffer[] = []
    for (const [position, part] of PARTS.entries()) {
      const file = path.join(temporary.path, `${position}.tar`)
      const fixed = ['--sort=name', '--mtime=@0', '--numeric-owner', '--xattrs']
      await runCommand(getProgram('tar'), ['--create', '--file', file, ...fixed, '--directory', root, ...part])
      tars.push(await readFile(file))
    }
    tars.push(makeTar(WHITEOUTS))
    const layers = tars.map((tar) => makeLayer(tar))
    await keepLayers(folder, layers)
    return layers
  } finally {
    await temporary.remove()
  }
}

/** Whoever comes first wins: a folder that is there is whole. */
async function keepLayers(folder: string, layers: readonly Layer[]): Promise<void> {
  const draft = `${folder}.${process.pid}`
  await mkdir(draft, { recursive: true })
  for (const [position, layer] of layers.entries()) {
    await writeFile(path.join(draft, `${position}.tar.gz`), layer.bytes)
  }
  await writeFile(path.join(draft, 'diff-ids'), layers.map((layer) => layer.diffId).join('\n'))
  await rename(draft, folder).catch(() => rm(draft, { recursive: true }))
}
