/** `GET /config`: what the console begins with. Source: quay-behaviour.md 1.0; outside `/api/v1`, as in Quay. */
import type { FastifyInstance } from 'fastify'
import { sendAnswer } from './answer.ts'

/** Only what anyone may know: it is answered without credentials. */
export type ClientConfigView = {
  config: Readonly<Record<string, unknown>>
  features: Readonly<Record<string, boolean>>
  version: string
  /** There is no user yet, and the console may offer to create the first. */
  isUninitialized: () => Promise<boolean>
}

export function registerClientConfig(fastify: FastifyInstance, view: ClientConfigView): void {
  fastify.get('/config', async (_request, reply) =>
    sendAnswer(reply, {
      status: 200,
      body: {
        config: view.config,
        features: view.features,
        oauth: {},
        external_login: [],
        registry_state: 'normal',
        account_recovery_mode: false,
        version_number: view.version,
        // Ours.
        is_uninitialized: await view.isUninitialized(),
      },
    }),
  )
}
