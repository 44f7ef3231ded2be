/** Debian's docker-registry on loopback for one test: a free port, data in a temporary directory, gone afterwards. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runOk, start } from '../../src/base/process.ts'
import { freePort } from './etcd.ts'
import { eventually } from './eventually.ts'

export interface TestRegistry {
  /** `127.0.0.1:<port>` */
  host: string
  port: number
  /** Copies a docker-archive to `repository:tag` with skopeo. */
  push(archive: Uint8Array, repositoryAndTag: string, options?: { oci?: boolean }): Promise<void>
  stop(): Promise<void>
}

export interface TestRegistryOptions {
  /** With basic authentication for this one user. */
  user?: { username: string; password: string }
}

export async function startRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'drvt-registry-'))
  const port = await freePort()
  const host = `127.0.0.1:${port}`
  const { user } = options
  const auth = user === undefined ? [] : ['auth:', '  htpasswd:', '    realm: drvt', `    path: ${directory}/htpasswd`]
  if (user !== undefined) {
    // The registry takes bcrypt only; Perl, which every Debian has, passes it to libcrypt.
    const script = 'print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))'
    const hash = await runOk('perl', ['-e', script, user.password])
    await writeFile(join(directory, 'htpasswd'), `${user.username}:${hash}\n`)
  }
  const config = [
    'version: 0.1',
    'log: {level: error}',
    `storage: {filesystem: {rootdirectory: ${directory}/data}}`,
    `http: {addr: "${host}"}`,
    ...auth,
  ]
  await writeFile(join(directory, 'config.yml'), `${config.join('\n')}\n`)
  const child = start('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' })
  const exited = new Promise<void>((done) => child.once('exit', () => done()))
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`)
    return (await status(`http://${host}/v2/`)) > 0
  })
  return {
    host,
    port,
    async push(archive, repositoryAndTag, { oci = false } = {}) {
      const file = join(directory, 'push.tar')
      await writeFile(file, archive)
      const credentials = user === undefined ? [] : ['--dest-creds', `${user.username}:${user.password}`]
      const format = oci ? ['--format', 'oci'] : []
      const target = `docker://${host}/${repositoryAndTag}`
      const args = ['copy', '--quiet', '--dest-tls-verify=false', ...credentials, ...format]
      await runOk('skopeo', [...args, `docker-archive:${file}`, target])
    },
    async stop() {
      child.kill('SIGKILL')
      await exited
      await rm(directory, { recursive: true, force: true })
    },
  }
}

function status(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    }).on('error', reject)
  })
}
