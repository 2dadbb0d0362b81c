/** What a fake upstream holds under one name. It may change at any time. */
import { blobsOf, type FakeBlob, type FakeManifest } from './content.ts'

/** Tag to content. */
export type FakeTags = Readonly<Record<string, FakeManifest>>

export class FakeRepository {
  readonly tags = new Map<string, string>()
  readonly manifests = new Map<string, FakeManifest>()
  readonly blobs = new Map<string, Buffer>()

  constructor(tags: FakeTags = {}) {
    for (const [tag, content] of Object.entries(tags)) this.tag(tag, content)
  }

  /** Point a tag at content, new or known; what it named before stays by digest. */
  tag(tag: string, content: FakeManifest): void {
    this.add(content)
    this.tags.set(tag, content.digest)
  }

  /** Add content that no tag names. */
  add(content: FakeManifest): void {
    this.manifests.set(content.digest, content)
    for (const { digest, bytes } of blobsOf(content)) this.blobs.set(digest, bytes)
    for (const child of content.children) this.add(child)
  }

  addBlob(blob: FakeBlob): void {
    this.blobs.set(blob.digest, blob.bytes)
  }

  untag(tag: string): void {
    this.tags.delete(tag)
  }

  /** Forget a manifest or blob, and the tags that name it. */
  delete(digest: string): void {
    this.manifests.delete(digest)
    this.blobs.delete(digest)
    for (const [tag, named] of this.tags) if (named === digest) this.tags.delete(tag)
  }

  find(reference: string): FakeManifest | undefined {
    return this.manifests.get(this.tags.get(reference) ?? reference)
  }

  referrersOf(subject: string): FakeManifest[] {
    return [...this.manifests.values()].filter((content) => content.subject === subject)
  }
}
