/**
 * What an eviction would take, as pure functions over facts that were loaded under the organization's lock (DESIGN part
 * 5, Admission). Nothing here asks a database or changes anything.
 */
import type { ManifestFacts, RootFacts } from '../metadata/eviction-facts.ts'

type Item = ManifestFacts['items'][number]

/** An item of the ledger by name. */
export function itemKey(item: { kind: 'blob' | 'manifest'; digest: string }): string {
  return `${item.kind} ${item.digest}`
}

/**
 * Which manifests, and with them which bytes, would go if roots went. A manifest goes when it is no remaining root and
 * no remaining manifest holds it; an item of the ledger is freed with the last manifest that names it.
 */
export class EvictionSimulation {
  /** Items that stay whatever goes: what is asked for names them. */
  readonly #kept: ReadonlySet<string>
  readonly #roots = new Set<number>()
  readonly #gone = new Map<number, ManifestFacts>()
  /** Manifests under roots that went, which something else still holds. */
  readonly #held = new Map<number, ManifestFacts>()
  readonly #namers = new Map<string, number>()
  #freedBytes = 0

  constructor(kept: ReadonlySet<string>) {
    this.#kept = kept
  }

  get freedBytes(): number {
    return this.#freedBytes
  }

  /** The bytes that this frees. */
  removeRoot(root: RootFacts): number {
    const before = this.#freedBytes
    this.#roots.add(root.manifestId)
    for (const manifest of root.manifests) if (!this.#gone.has(manifest.manifestId)) this.#hold(manifest)
    this.#dropUnheld()
    return this.#freedBytes - before
  }

  /** One platform of an index goes with all that is under it, though the index stays. The bytes that this frees. */
  removeSibling(sibling: RootFacts): number {
    const before = this.#freedBytes
    const [top, ...rest] = sibling.manifests
    if (top !== undefined && !this.#gone.has(top.manifestId)) this.#drop(top)
    for (const manifest of rest) if (!this.#gone.has(manifest.manifestId)) this.#hold(manifest)
    this.#dropUnheld()
    return this.#freedBytes - before
  }

  /** It stays after all: a root, or a sibling, with all that is under it. */
  restore(facts: RootFacts): void {
    this.#roots.delete(facts.manifestId)
    for (const manifest of facts.manifests) this.#restore(manifest)
  }

  #hold(manifest: ManifestFacts): void {
    this.#held.set(manifest.manifestId, manifest)
  }

  #dropUnheld(): void {
    for (let hasDropped = true; hasDropped; ) {
      hasDropped = false
      for (const manifest of this.#held.values()) {
        if (manifest.isRoot && !this.#roots.has(manifest.manifestId)) continue
        if (manifest.parentIds.some((id) => !this.#gone.has(id))) continue
        this.#drop(manifest)
        hasDropped = true
      }
    }
  }

  #drop(manifest: ManifestFacts): void {
    this.#held.delete(manifest.manifestId)
    this.#gone.set(manifest.manifestId, manifest)
    for (const item of manifest.items) this.#count(item, 1)
  }

  #restore(manifest: ManifestFacts): void {
    this.#held.delete(manifest.manifestId)
    if (!this.#gone.delete(manifest.manifestId)) return
    for (const item of manifest.items) this.#count(item, -1)
  }

  #count(item: Item, change: 1 | -1): void {
    const key = itemKey(item)
    if (this.#kept.has(key)) return
    const before = this.#namers.get(key) ?? 0
    const after = before + change
    this.#namers.set(key, after)
    if (change === 1 && after === item.holders) this.#freedBytes += item.sizeBytes
    if (change === -1 && before === item.holders) this.#freedBytes -= item.sizeBytes
  }
}

/** Where candidates come from, in the order in which they go; each is asked for when those before do not suffice. */
export type EvictionSource = {
  roots: AsyncIterable<RootFacts>
  /** Platforms of the index that holds what is asked for, least recently used first. */
  siblings: AsyncIterable<RootFacts>
}

export type EvictionPlan = { isEnough: boolean; roots: RootFacts[]; siblings: RootFacts[]; freedBytes: number }

/**
 * Take roots, then siblings, until `deficitBytes` are freed; then put back, newest first, each without which they still
 * are. When it is not enough, what was taken is said all the same.
 */
export async function planEviction(
  deficitBytes: number,
  kept: ReadonlySet<string>,
  source: EvictionSource,
): Promise<EvictionPlan> {
  const simulation = new EvictionSimulation(kept)
  const isEnough = () => simulation.freedBytes >= deficitBytes
  const roots: RootFacts[] = []
  const siblings: RootFacts[] = []
  if (!isEnough()) {
    for await (const root of source.roots) {
      simulation.removeRoot(root)
      roots.push(root)
      if (isEnough()) break
    }
  }
  if (!isEnough()) {
    for await (const sibling of source.siblings) {
      simulation.removeSibling(sibling)
      siblings.push(sibling)
      if (isEnough()) break
    }
  }
  if (!isEnough()) return { isEnough: false, roots, siblings, freedBytes: simulation.freedBytes }
  return {
    isEnough: true,
    siblings: putBack(siblings, simulation, isEnough, (sibling) => simulation.removeSibling(sibling)),
    roots: putBack(roots, simulation, isEnough, (root) => simulation.removeRoot(root)),
    freedBytes: simulation.freedBytes,
  }
}

/** Those that are needed, in the order in which they were taken. */
function putBack(
  taken: readonly RootFacts[],
  simulation: EvictionSimulation,
  isEnough: () => boolean,
  remove: (facts: RootFacts) => void,
): RootFacts[] {
  const needed: RootFacts[] = []
  for (const facts of taken.toReversed()) {
    simulation.restore(facts)
    if (isEnough()) continue
    remove(facts)
    needed.push(facts)
  }
  return needed.reverse()
}
