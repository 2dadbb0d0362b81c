/** What Prometheus is told. Labels are few and bounded: an organization, an outcome, a status, never a repository. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** Seconds: from a neighbour's answer to an upstream's time-out. */
const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

type Labels = Readonly<Record<string, string>>

/** A count that is raised on the hot path: a number in a map, made into a sample only when somebody looks. */
class FastCounter {
  readonly #samples = new Map<string, { labels: Labels; value: number }>()

  constructor(registry: Registry, name: string, help: string, labelNames: readonly string[]) {
    const samples = this.#samples
    const counter: Counter = new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        counter.reset()
        for (const { labels, value } of samples.values()) counter.inc(labels, value)
      },
    })
  }

  /** `key` names the labels; they are only made when it is new. */
  add(key: string, makeLabels: () => Labels, by = 1): void {
    const sample = this.#samples.get(key)
    if (sample === undefined) this.#samples.set(key, { labels: makeLabels(), value: by })
    else sample.value += by
  }
}

export class Metrics {
  readonly #registry = new Registry()
  readonly #pulls: FastCounter
  readonly #requests: FastCounter
  readonly #sentBytes: FastCounter
  readonly #upstreamRequests: Counter
  readonly #upstreamErrors: Counter
  readonly #upstreamLatency: Histogram
  readonly #upstreamUp: Gauge
  readonly #ingests: Counter
  readonly #ingestedBytes: Counter
  readonly #gauges = new Map<string, Gauge>()

  constructor() {
    const registry = this.#registry
    collectDefaultMetrics({ register: registry })
    const organization = ['organization', 'kind', 'outcome']
    this.#pulls = new FastCounter(registry, 'entrepot_pulls_total', 'Answered pulls by their outcome.', organization)
    this.#requests = new FastCounter(registry, 'entrepot_requests_total', 'Requests by kind and status.', [
      'kind',
      'status',
    ])
    this.#sentBytes = new FastCounter(registry, 'entrepot_sent_bytes_total', 'Bytes of bodies sent to clients.', [
      'kind',
    ])
    const registers = [registry]
    this.#upstreamRequests = new Counter({
      name: 'entrepot_upstream_requests_total',
      help: 'Requests to upstreams by kind and status (0: no answer).',
      labelNames: ['host', 'kind', 'status'],
      registers,
    })
    this.#upstreamErrors = new Counter({
      name: 'entrepot_upstream_errors_total',
      help: 'Requests to upstreams that failed, by how.',
      labelNames: ['host', 'failure'],
      registers,
    })
    this.#upstreamLatency = new Histogram({
      name: 'entrepot_upstream_latency_seconds',
      help: 'Time to the headers of an upstream’s answer.',
      labelNames: ['host', 'kind'],
      buckets: LATENCY_BUCKETS,
      registers,
    })
    this.#upstreamUp = new Gauge({
      name: 'entrepot_upstream_up',
      help: 'Whether an upstream answers: 0 while it is down; absent until it was down once.',
      labelNames: ['host'],
      registers,
    })
    this.#ingests = new Counter({
      name: 'entrepot_ingests_total',
      help: 'Blobs received from upstreams, by how it ended.',
      labelNames: ['result'],
      registers,
    })
    this.#ingestedBytes = new Counter({
      name: 'entrepot_ingested_bytes_total',
      help: 'Bytes of blobs received from upstreams.',
      registers,
    })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** All metrics in Prometheus's text format. */
  render(): Promise<string> {
    return this.#registry.metrics()
  }

  /** Of an organization that exists: its name becomes a label. */
  countPull(organization: string, kind: string, outcome: string): void {
    this.#pulls.add(`${organization} ${kind} ${outcome}`, () => ({ organization, kind, outcome }))
  }

  countRequest(kind: string, status: number, sentBytes: number): void {
    this.#requests.add(`${kind} ${status}`, () => ({ kind, status: String(status) }))
    if (sentBytes > 0) this.#sentBytes.add(kind, () => ({ kind }), sentBytes)
  }

  /** `status` and `failure` undefined when there was none; `ms` is the time to the headers. */
  countUpstreamRequest(event: {
    host: string
    kind: string
    status: number | undefined
    failure: string | undefined
    ms: number
  }): void {
    const { host, kind, status, failure, ms } = event
    this.#upstreamRequests.inc({ host, kind, status: String(status ?? 0) })
    if (failure !== undefined) this.#upstreamErrors.inc({ host, failure })
    this.#upstreamLatency.observe({ host, kind }, ms / 1000)
  }

  setUpstreamUp(host: string, isUp: boolean): void {
    this.#upstreamUp.set({ host }, isUp ? 1 : 0)
  }

  countIngest(result: 'published' | 'failed' | 'straight_through'): void {
    this.#ingests.inc({ result })
  }

  countIngestedBytes(bytes: number): void {
    this.#ingestedBytes.inc(bytes)
  }

  /**
   * A count that its owner raises; the label's value is one of a few.
   * The second call with a name is an error.
   */
  addCounter(name: string, help: string, label?: string): (by: number, labelValue?: string) => void {
    const labelNames = label === undefined ? [] : [label]
    const counter = new Counter({ name, help, labelNames, registers: [this.#registry] })
    return (by, value = '') => counter.inc(label === undefined ? {} : { [label]: value }, by)
  }

  /**
   * A number that is read when somebody looks.
   * The second call with a name is an error.
   */
  addGauge(name: string, help: string, read: () => number | Promise<number>): void {
    if (this.#gauges.has(name)) throw new Error(`the metric ${name} is there already`)
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [this.#registry],
      async collect() {
        gauge.set(await read())
      },
    })
    this.#gauges.set(name, gauge)
  }

  /** The same, for each value of a label; the caller bounds how many. What is not read any more is gone. */
  addGauges(name: string, help: string, label: string, read: () => Promise<Iterable<readonly [string, number]>>): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      async collect() {
        const values = await read()
        gauge.reset()
        for (const [value, number] of values) gauge.set({ [label]: value }, number)
      },
    })
  }
}
