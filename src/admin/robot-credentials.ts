/** A robot's name and token in the form of every client that pulls, ready to be saved or run; ours. */
import { stringify } from 'yaml'

/** What to save, and where that client looks for it. */
export type CredentialFile = { file_name: string; save_as: string; content: string }

export type RobotCredentials = {
  username: string
  token: string
  registry: string
  /** Docker, nerdctl, BuildKit, crane, ORAS and everything else that reads Docker's file. */
  docker_config: CredentialFile
  /** podman, buildah, skopeo, CRI-O: the same content. */
  podman_auth: CredentialFile
  kubernetes_secret: CredentialFile
  /** Helm's own file, for charts in OCI registries. */
  helm: CredentialFile
  /** containerd asks Basic at once; one file below `/etc/containerd/certs.d`. */
  containerd_hosts: CredentialFile
  docker_login: string
  podman_login: string
  helm_login: string
}

export type CredentialFacts = {
  /** SERVER_HOSTNAME: `host[:port]`. */
  host: string
  /** `owner+short`, in a grammar that needs no quoting anywhere. */
  username: string
  token: string
}

export function makeRobotCredentials(facts: CredentialFacts): RobotCredentials {
  const { host, username, token } = facts
  const auth = Buffer.from(`${username}:${token}`).toString('base64')
  const config = `${JSON.stringify({ auths: { [host]: { auth } } }, undefined, 2)}\n`
  const stem = username.replace(/[^a-z0-9.-]/g, '-')
  return {
    username,
    token,
    registry: host,
    docker_config: { file_name: `${stem}-config.json`, save_as: '~/.docker/config.json', content: config },
    podman_auth: {
      file_name: `${stem}-auth.json`,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a shell expands it
      save_as: '${XDG_RUNTIME_DIR}/containers/auth.json',
      content: config,
    },
    kubernetes_secret: makeSecret(stem, config),
    helm: {
      file_name: `${stem}-helm-config.json`,
      save_as: '~/.config/helm/registry/config.json',
      content: config,
    },
    containerd_hosts: makeHosts(facts, auth, stem),
    docker_login: `docker login -u='${username}' -p='${token}' ${host}`,
    podman_login: `podman login -u='${username}' -p='${token}' ${host}`,
    helm_login: `helm registry login -u '${username}' -p '${token}' ${host}`,
  }
}

/** Kubernetes: names are RFC 1123 subdomains of at most 253 characters. */
function makeSecret(stem: string, config: string): CredentialFile {
  const suffix = '-pull-secret'
  const name = `${stem.slice(0, 253 - suffix.length)}${suffix}`
  const content = stringify(
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name },
      data: { '.dockerconfigjson': Buffer.from(config).toString('base64') },
      type: 'kubernetes.io/dockerconfigjson',
    },
    { lineWidth: 0 },
  )
  return { file_name: `${stem}-secret.yml`, save_as: `kubectl create -f ${stem}-secret.yml`, content }
}

/** Source: containerd's docs/hosts.md. A server on loopback has no certificate. */
function makeHosts({ host }: CredentialFacts, auth: string, stem: string): CredentialFile {
  const scheme = /^(?:localhost|127\.|\[::1\])/.test(host) ? 'http' : 'https'
  const content = [
    `server = "${scheme}://${host}"`,
    '',
    `[host."${scheme}://${host}"]`,
    '  capabilities = ["pull", "resolve"]',
    `  [host."${scheme}://${host}".header]`,
    `    Authorization = "Basic ${auth}"`,
    '',
  ].join('\n')
  return { file_name: `${stem}-hosts.toml`, save_as: `/etc/containerd/certs.d/${host}/hosts.toml`, content }
}
