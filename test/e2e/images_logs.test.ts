/**
 * What a user does with images, logs and usage from the command line, on a cluster of two hosts with a registry that asks for
 * a password beside it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Pod } from '../../src/api/pod.ts'
import { dockerArchive, rootfsTar } from '../support/archives.ts'
import { eventually } from '../support/eventually.ts'
import { DROVER, LocalCluster, output, runProgram } from '../support/local_cluster.ts'
import { startRegistry, type TestRegistry } from '../support/registry.ts'

const HELLO = 'drover.local/hello:1'
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const USER = { username: 'ada', password: 'p:w d' }
const cluster = new LocalCluster()
const hosts = [1, 2].map((number) => `${cluster.name}-${number}`)
let registry: TestRegistry
let directory = ''
let app = ''

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-images-'))
  registry = await startRegistry({ user: USER })
  app = `${registry.host}/team/app`
  const layers = [await rootfsTar(['sh', 'echo', 'sleep', 'id'])]
  const config = {
    Env: ['GREETING=hi'],
    User: 'web',
    WorkingDir: '/tmp',
    StopSignal: 'SIGUSR1',
    Entrypoint: ['/bin/sh', '-c'],
    Cmd: [
      'echo $GREETING from $(id -un), $(id -gn) in $PWD; trap "echo told; exit 0" USR1; while true; do sleep 0.1; done',
    ],
  }
  await registry.push(await dockerArchive([{ tags: ['a:1'], layers, config }]), 'team/app:v1')
  await cluster.start('--nodes', '2', '--sample')
})
afterAll(async () => {
  await cluster.remove()
  await registry.stop()
  await rm(directory, { recursive: true, force: true })
})

/** Nodes that have it, by `image ls`. */
async function nodesWith(name: string): Promise<string[]> {
  const line = (await cluster.ask('image', 'ls')).split('\n').find((text) => text.startsWith(`${name} `))
  return line === undefined ? [] : (line.trim().split(/\s+/).at(-1) ?? '').split(',')
}

interface Inspected {
  id: string
  names: string[]
  nodes: string[]
  layers: number
  config: { env: string[] }
}

const inspect = async (name: string): Promise<Inspected[]> =>
  JSON.parse(await cluster.ask('image', 'inspect', name)) as Inspected[]

const stored = (name: string): Promise<string> => {
  const credentials = `${USER.username}:${USER.password}`
  const args = ['inspect', '--tls-verify=false', '--creds', credentials, '--format', '{{.Digest}}', `docker://${name}`]
  return output('skopeo', args)
}

describe('an image', () => {
  it('is pulled to every node with a password, which is asked for or found where Docker keeps it', async () => {
    const none = { env: { DOCKER_CONFIG: join(directory, 'nothing') } }
    const refused = await cluster.drover(['image', 'pull', `${app}:v1`], none)
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('failed on 2 of 2 nodes')])
    expect(refused.stderr).toContain(registry.host)
    const wrong = { ...none, input: 'no' }
    const login = ['--username', USER.username, '--password-stdin']
    expect((await cluster.drover(['image', 'pull', `${app}:v1`, ...login], wrong)).code).toBe(4)
    expect(await nodesWith(`${app}:v1`)).toEqual([])

    const pulled = await cluster.drover(['image', 'pull', `${app}:v1`, ...login, '--node', hosts[0] ?? ''], {
      ...none,
      input: `${USER.password}\n`,
    })
    expect([pulled.code, pulled.stdout]).toEqual([0, expect.stringContaining(`${hosts[0]}: done`)])
    expect(await nodesWith(`${app}:v1`)).toEqual([hosts[0]])

    const auth = Buffer.from(`${USER.username}:${USER.password}`).toString('base64')
    await mkdir(join(directory, 'docker'))
    await writeFile(join(directory, 'docker/config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }))
    const docker = { env: { DOCKER_CONFIG: join(directory, 'docker') } }
    expect((await cluster.drover(['image', 'pull', `${app}:v1`], docker)).code).toBe(0)
    expect(await nodesWith(`${app}:v1`)).toEqual(hosts)
    expect(await inspect(`${app}:v1`)).toMatchObject([
      { nodes: hosts, layers: 1, config: { env: ['GREETING=hi'], user: 'web' } },
    ])
  })

  it('has another name, goes to the registry, comes back from a file, and is the same', async () => {
    const [{ id = '' } = {}] = await inspect(`${app}:v1`)
    await cluster.ask('image', 'tag', `${app}:v1`, `${app}:v2`)
    expect(await nodesWith(`${app}:v2`)).toEqual(hosts)
    await expect(stored(`${app}:v2`)).rejects.toThrow(/manifest unknown|unknown manifest/)
    const login = ['--username', USER.username, '--password-stdin', '--node', hosts[1] ?? '']
    const pushed = await cluster.drover(['image', 'push', `${app}:v2`, ...login], { input: USER.password })
    expect(pushed.code, pushed.stderr).toBe(0)
    expect(pushed.stdout).toContain(`Pushed ${app}:v2 ${(await stored(`${app}:v2`)).trim()}`)

    const file = join(directory, 'app.tar')
    await cluster.ask('image', 'save', `${app}:v1`, '-o', file)
    expect(existsSync(`${file}.part`)).toBe(false)
    expect(JSON.parse(await output('skopeo', ['inspect', '--config', `docker-archive:${file}`]))).toMatchObject({
      config: { Env: ['GREETING=hi'] },
    })
    await cluster.ask('image', 'rm', `${app}:v1`)
    await cluster.ask('image', 'rm', `${app}:v2`)
    expect(await nodesWith(`${app}:v1`)).toEqual([])
    await cluster.ask('image', 'load', file)
    expect(await inspect(`${app}:v1`)).toMatchObject([{ id, nodes: hosts }])
    const unknown = await cluster.drover(['image', 'inspect', `${app}:none`])
    expect([unknown.code, unknown.stderr]).toEqual([3, expect.stringContaining(`${app}:none`)])
  })

  it('that nothing uses is cleared away, and none that something does', async () => {
    await cluster.ask('image', 'tag', HELLO, 'spare:1')
    // Of the same image as one that runs: kept with it.
    expect(await cluster.ask('image', 'prune')).not.toContain('Removed')
    const pruned = await cluster.ask('image', 'prune', '--all')
    for (const host of hosts) expect(pruned).toMatch(new RegExp(`^${host}: Removed ${app}:v[12], [0-9.]+ MB$`, 'm'))
    expect(await nodesWith(`${app}:v1`)).toEqual([])
    expect(await nodesWith(HELLO)).toEqual(hosts)
  })

  it('is asked for at each start where the policy is Always, with the secrets of the pod; never pulled where it is Never', async () => {
    const auth = { username: USER.username, password: USER.password }
    const dockerconfig = JSON.stringify({ auths: { [registry.host]: auth } })
    const pod = (name: string, imagePullPolicy: string, more: object = {}): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        nodeName: hosts[0],
        containers: [
          { name: 'main', image: `${app}:v1`, imagePullPolicy, command: ['sh', '-c', 'echo $GREETING; sleep 1000'] },
        ],
        terminationGracePeriodSeconds: 0,
        ...more,
      },
    })
    const login = { imagePullSecrets: [{ name: 'login' }] }
    await cluster.apply([
      {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'kubernetes.io/dockerconfigjson',
        metadata: { name: 'login' },
        stringData: { '.dockerconfigjson': dockerconfig },
      },
      pod('never', 'Never', login),
      pod('stranger', 'Always'),
    ])
    const waiting = async (name: string): Promise<{ reason?: string; message?: string }> => {
      const { status } = await cluster.json<Pod>('get', `pod/${name}`)
      return status?.containerStatuses?.[0]?.state?.waiting ?? {}
    }
    await eventually(async () => (await waiting('never')).reason === 'ErrImageNeverPull', WAIT)
    await eventually(async () => (await waiting('stranger')).reason === 'ImagePullBackOff', WAIT)
    expect((await waiting('stranger')).message).toContain(registry.host)
    expect(await nodesWith(`${app}:v1`)).toEqual([])
    const running = (name: string) =>
      eventually(async () => (await cluster.json<Pod>('get', `pod/${name}`)).status?.phase === 'Running', WAIT)
    await cluster.apply(pod('member', 'Always', login))
    await running('member')
    expect(await nodesWith(`${app}:v1`)).toEqual([hosts[0]])
    await eventually(async () => (await cluster.ask('logs', 'member')) === 'hi\n', WAIT)
    // It is here now: one that does not insist takes it as it is, one that insists is still asked who it is.
    await cluster.apply([pod('content', 'IfNotPresent'), pod('insists', 'Always')])
    await running('content')
    await eventually(async () => /ErrImagePull|ImagePullBackOff/.test((await waiting('insists')).reason ?? ''), WAIT)
    await cluster.ask('delete', 'pod', 'never', 'stranger', 'member', 'content', 'insists')
  })

  it('says what its container runs, as whom, where, and by which signal it ends, where the pod does not', async () => {
    const pod = (name: string, container: object): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        nodeName: hosts[0],
        restartPolicy: 'Never',
        containers: [{ name: 'main', image: `${app}:v1`, imagePullPolicy: 'IfNotPresent', ...container }],
      },
    })
    await cluster.apply([
      pod('plain', {}),
      pod('args', { args: ['echo args: $GREETING'] }),
      pod('own', { command: ['/bin/sh', '-c', 'pwd'], workingDir: '/bin' }),
    ])
    await eventually(async () => (await cluster.ask('logs', 'plain')) === 'hi from web, web in /tmp\n', WAIT)
    await eventually(async () => (await cluster.ask('logs', 'args')) === 'args: hi\n', WAIT)
    await eventually(async () => (await cluster.ask('logs', 'own')) === '/bin\n', WAIT)
    const following = spawn(process.execPath, [DROVER, '--cluster', cluster.name, 'logs', '-f', 'plain'])
    const ended = once(following, 'close')
    let said = ''
    following.stdout.on('data', (data: Buffer) => {
      said += data.toString('utf8')
    })
    // Whoever comes after the deletion finds no pod: the follower is there first.
    await eventually(() => said.startsWith('hi from'), WAIT)
    await cluster.ask('delete', 'pod', 'plain', 'args', 'own')
    await ended
    expect(said).toMatch(/told\n$/)
  })
})

describe('the logs of a service', () => {
  const lines = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => /^\[(\S+)\] (\S+) (\d+)$/.exec(line)?.slice(1) ?? [line])

  beforeAll(async () => {
    const script = 'i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo $i; sleep 0.05; done; sleep 1000'
    const labels = { app: 'chatty' }
    const container = { name: 'main', image: HELLO, command: ['sh', '-c', script] }
    await cluster.apply([
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'chatty' },
        spec: {
          replicas: 3,
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: { terminationGracePeriodSeconds: 0, containers: [container] },
          },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'chatty' },
        spec: { selector: labels, ports: [{ port: 80 }] },
      },
    ])
    await cluster.ask('rollout', 'status', 'deploy/chatty', '--timeout', '60')
    await eventually(async () => (await cluster.ask('logs', 'svc/chatty')).match(/ 40$/gm)?.length === 3, WAIT)
  })

  it('come in the order of time, each line with its pod’s name, none lost', async () => {
    const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods', '-l', 'app=chatty')
    const names = items.map(({ metadata }) => metadata.name ?? '').sort()
    // Of more hosts than one, or the order would be one host's own.
    expect(new Set(items.map(({ spec }) => spec.nodeName)).size).toBe(2)
    const told = lines(await cluster.ask('logs', 'svc/chatty', '--timestamps'))
    expect(told).toHaveLength(120)
    expect(new Set(told.map(([name]) => name))).toEqual(new Set(names))
    const times = told.map(([, time = '']) => time)
    expect(times).toEqual([...times].sort())
    for (const name of names) {
      const own = told.flatMap(([from, , count]) => (from === name ? [Number(count)] : []))
      expect(own).toEqual(Array.from({ length: 40 }, (_, index) => index + 1))
    }
    expect(lines(await cluster.ask('logs', '-l', 'app=chatty', '--tail', '2', '--timestamps'))).toHaveLength(6)
  })

  it('have a colour for each pod on a terminal, and none elsewhere or where that is asked for', async () => {
    const command = `${process.execPath} ${DROVER} --cluster ${cluster.name} logs svc/chatty --tail 1`
    const seen = (env: NodeJS.ProcessEnv): Promise<string> =>
      output('script', ['-qec', command, '/dev/null'], { env: { TERM: 'xterm', ...env } })
    const colours = (text: string): string[] =>
      text.split('\u001b').flatMap((piece) => /^\[(\d+)m\[chatty-/.exec(piece)?.[1] ?? [])
    expect(new Set(colours(await seen({}))).size).toBe(3)
    expect(colours(await seen({ NO_COLOR: '1' }))).toEqual([])
    expect(await cluster.ask('logs', 'svc/chatty', '--tail', '1')).not.toContain('\u001b')
  })
})

describe('drover top', () => {
  it('tells what nodes and pods use, by whom it is asked to sort', async () => {
    const script = 'while true; do :; done'
    const resources = { limits: { cpu: '300m', memory: '32Mi' } }
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'busy' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'main', image: HELLO, command: ['sh', '-c', script], resources }],
      },
    })
    const top = async (...args: string[]): Promise<string[][]> =>
      (await cluster.ask('top', ...args))
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/))
    await eventually(async () => {
      const [, first = []] = await top('pods', '--sort-by', 'cpu')
      return first[0] === 'busy' && Number.parseInt(first[1] ?? '', 10) > 50
    }, WAIT)
    const nodes = await top('nodes')
    expect(nodes[0]).toEqual(['NAME', 'CPU(cores)', 'CPU%', 'MEMORY(bytes)', 'MEMORY%'])
    expect(nodes.slice(1).map(([name]) => name)).toEqual(hosts)
    for (const [, ...cells] of nodes.slice(1)) expect(cells.join(' ')).toMatch(/^\d+m \d+% \d+Mi \d+%$/)
    const [header, row] = await top('pods', 'busy', '--containers')
    expect(header).toContain('CPU(cores)')
    expect(row).toEqual(expect.arrayContaining(['busy', 'main']))
    const missing = await runProgram(process.execPath, [DROVER, '--cluster', cluster.name, 'top', 'pods', 'nobody'])
    expect(missing.code).toBe(3)
    await cluster.ask('delete', 'pod', 'busy')
  })
})
