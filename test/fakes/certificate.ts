/** A certificate for loopback and Docker Hub's name that nobody trusts unless told to; made once per process. */
import { generate } from 'selfsigned'

export type Certificate = { key: string; cert: string }

let made: Promise<Certificate> | undefined

export function loopbackCertificate(): Promise<Certificate> {
  made ??= makeCertificate()
  return made
}

async function makeCertificate(): Promise<Certificate> {
  const pems = await generate([{ name: 'commonName', value: 'fake upstream' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 2, value: 'registry-1.docker.io' },
          { type: 7, ip: '127.0.0.1' },
        ],
      },
    ],
  })
  return { key: pems.private, cert: pems.cert }
}
