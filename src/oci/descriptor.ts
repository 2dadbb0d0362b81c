/** Descriptors: what names content in the OCI image-spec. */
import type { Digest } from './digest.ts'

export type Platform = { os: string; architecture: string; variant?: string }

/** Only what we use of a descriptor; manifests are passed on byte for byte, so nothing else is lost. */
export type Descriptor = { mediaType: string; digest: Digest; size: number }
