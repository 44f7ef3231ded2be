import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DiskWalker } from '../../src/agent/usage/disk_walk.ts'
import { overLimit, storageUse } from '../../src/agent/usage/pod_storage.ts'
import { createVolumeDriver } from '../../src/agent/volumes/driver.ts'
import type { VolumeSources } from '../../src/agent/volumes/volumes.ts'
import type { ConfigMap } from '../../src/api/configmap.ts'
import type { PersistentVolume } from '../../src/api/persistentvolume.ts'
import type { Pod, Volume } from '../../src/api/pod.ts'
import type { Secret } from '../../src/api/secret.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'

const TMPFS_MAGIC = 0x01021994

describe('a pod’s volumes', () => {
  let directory: string
  let driver: ReturnType<typeof createVolumeDriver>
  const uids: string[] = []
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'drvt-vol-'))
    driver = createVolumeDriver({ dataDir: join(directory, 'data'), clock: systemClock, log: silentLogger })
    await driver.initialize()
  })
  afterAll(async () => {
    for (const uid of await driver.listPods()) await driver.removePod(uid)
    expect(mounts()).toEqual([])
    rmSync(directory, { recursive: true, force: true })
  })

  function mounts(): string[] {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(directory))
  }
  function pod(volumes: Volume[], fsGroup?: number): Pod {
    const uid = `uid-${uids.length}`
    uids.push(uid)
    const securityContext = fsGroup === undefined ? {} : { securityContext: { fsGroup } }
    const spec = { containers: [], volumes, ...securityContext }
    return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'ns', uid }, spec } as unknown as Pod
  }
  function persistent(name: string): PersistentVolume {
    const csi = { driver: 'local.drover.dev', volumeHandle: name }
    return { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name }, spec: { csi } }
  }
  function sources(config: Record<string, string> = {}, secret: Record<string, string> = {}): VolumeSources {
    const data = Object.fromEntries(Object.entries(secret).map(([k, v]) => [k, Buffer.from(v).toString('base64')]))
    return {
      configMap: (name) => (name === 'cm' ? ({ data: config } as unknown as ConfigMap) : undefined),
      volume: (claimName) => (claimName === 'claim' ? persistent('pvc-1') : undefined),
      secret: (name) => (name === 's' ? ({ data } as unknown as Secret) : undefined),
      field: (path) => `field ${path}`,
      resource: ({ containerName, resource }) => `${containerName} ${resource}`,
      token: async ({ audience = 'api' }, current) => current ?? `token for ${audience}`,
    }
  }
  async function one(volume: Omit<Volume, 'name'>, from = sources(), fsGroup?: number): Promise<string> {
    const paths = await driver.ensureVolumes(pod([{ name: 'v', ...volume }], fsGroup), from)
    return paths.get('v') ?? ''
  }
  const uidOf = (): string => uids.at(-1) ?? ''

  it('makes empty directories that anyone may write, on disk or in memory with a limit', async () => {
    const disk = await one({ emptyDir: {} })
    expect(statSync(disk).mode & 0o7777).toBe(0o777)
    const grouped = await one({ emptyDir: {} }, sources(), 4000)
    expect(statSync(grouped)).toMatchObject({ gid: 4000 })
    expect(statSync(grouped).mode & 0o7777).toBe(0o2777)
    const many = pod([{ name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }])
    const memory = (await driver.ensureVolumes(many, sources())).get('v') ?? ''
    expect(statfsSync(memory).type).toBe(TMPFS_MAGIC)
    writeFileSync(join(memory, 'kept'), 'x')
    await driver.ensureVolumes(many, sources())
    expect(readFileSync(join(memory, 'kept'), 'utf8')).toBe('x')
    expect(() => writeFileSync(join(memory, 'big'), Buffer.alloc(2 << 20))).toThrow(/ENOSPC/)
  })

  it('swaps all files of a ConfigMap at once, and only when they change', async () => {
    const owner = pod([
      {
        name: 'v',
        configMap: {
          name: 'cm',
          items: [
            { key: 'a', path: 'deep/a' },
            { key: 'b', path: 'b' },
          ],
        },
      },
    ])
    const ensure = async (config: Record<string, string>) =>
      (await driver.ensureVolumes(owner, sources(config))).get('v') ?? ''
    const path = await ensure({ a: '1', b: '2' })
    expect(readFileSync(join(path, 'deep/a'), 'utf8')).toBe('1')
    expect(readlinkSync(join(path, 'b'))).toBe('..data/b')
    expect(statSync(join(path, 'b')).mode & 0o777).toBe(0o644)
    const before = readlinkSync(join(path, '..data'))
    await ensure({ a: '1', b: '2', other: 'ignored' })
    expect(readlinkSync(join(path, '..data'))).toBe(before)
    await ensure({ a: '1', b: '3' })
    expect(readlinkSync(join(path, '..data'))).not.toBe(before)
    expect(readFileSync(join(path, 'b'), 'utf8')).toBe('3')
    // What a writer that was killed left behind goes with the next look.
    mkdirSync(join(path, '..2020_left'))
    symlinkSync('..2020_left', join(path, '..data_tmp'))
    await ensure({ a: '1', b: '3' })
    expect(readdirSync(path).sort()).toEqual(['..data', readlinkSync(join(path, '..data')), 'b', 'deep'].sort())
    await ensure({ a: '9', b: '9' })
    expect(readFileSync(join(path, 'deep/a'), 'utf8')).toBe('9')
  })

  it('drops names that are gone', async () => {
    const owner = pod([{ name: 'v', configMap: { name: 'cm' } }])
    const path = (await driver.ensureVolumes(owner, sources({ a: '1', b: '2' }))).get('v') ?? ''
    await driver.ensureVolumes(owner, sources({ b: '2' }))
    expect(readdirSync(path).filter((name) => !name.startsWith('..'))).toEqual(['b'])
  })

  it('projects several sources into one directory, which is swapped at once; tokens and secrets stay in memory', async () => {
    const owner = pod([
      {
        name: 'v',
        projected: {
          defaultMode: 0o440,
          sources: [
            { configMap: { name: 'cm', items: [{ key: 'a', path: 'conf/a' }] } },
            { secret: { name: 's' } },
            { serviceAccountToken: { path: 'tokens/vault', audience: 'vault' } },
            {
              downwardAPI: {
                items: [
                  { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' }, mode: 0o400 },
                  { path: 'cpu', resourceFieldRef: { containerName: 'app', resource: 'limits.cpu' } },
                ],
              },
            },
          ],
        },
      },
    ])
    const from = sources({ a: '1' }, { key: 'hush' })
    const path = (await driver.ensureVolumes(owner, from)).get('v') ?? ''
    const read = (name: string): string => readFileSync(join(path, name), 'utf8')
    expect(statfsSync(path).type).toBe(TMPFS_MAGIC)
    expect(['conf/a', 'key', 'tokens/vault', 'labels', 'cpu'].map(read)).toEqual([
      '1',
      'hush',
      'token for vault',
      'field metadata.labels',
      'app limits.cpu',
    ])
    expect(statSync(join(path, 'key')).mode & 0o777).toBe(0o440)
    expect(statSync(join(path, 'labels')).mode & 0o777).toBe(0o400)
    const before = readlinkSync(join(path, '..data'))
    // The token that stands is offered back, and what has not changed is not written again.
    await driver.ensureVolumes(owner, { ...from, token: async (_wish, current) => current ?? 'lost' })
    expect(readlinkSync(join(path, '..data'))).toBe(before)
    await driver.ensureVolumes(owner, { ...from, token: async (_wish, current) => `${current} renewed` })
    expect(readlinkSync(join(path, '..data'))).not.toBe(before)
    expect(read('tokens/vault')).toBe('token for vault renewed')
  })

  it('keeps fields on disk, and says which are not offered', async () => {
    const items = [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }]
    const path = await one({ downwardAPI: { items } })
    expect(readFileSync(join(path, 'name'), 'utf8')).toBe('field metadata.name')
    expect(statfsSync(path).type).not.toBe(TMPFS_MAGIC)
  })

  it('keeps what a pod speaks to the API with in memory, with and without a directory there', async () => {
    const memoryDir = join(directory, 'memory')
    const other = createVolumeDriver({
      dataDir: join(directory, 'other'),
      memoryDir,
      clock: systemClock,
      log: silentLogger,
    })
    await other.initialize()
    for (const each of [driver, other]) {
      const owner = pod([])
      const seen: (string | undefined)[] = []
      const make = async (current: string | undefined) => {
        seen.push(current)
        return { token: 'one', 'ca.crt': 'CA' }
      }
      const path = await each.ensureAccess(owner, make)
      expect(readFileSync(join(path, 'token'), 'utf8')).toBe('one')
      expect(path.startsWith(memoryDir) || statfsSync(path).type === TMPFS_MAGIC).toBe(true)
      await each.ensureAccess(owner, make)
      expect(seen).toEqual([undefined, 'one'])
      expect(await each.listPods()).toContain(uidOf())
      await each.removePod(uidOf())
      expect(await each.listPods()).not.toContain(uidOf())
      expect(existsSync(path)).toBe(false)
    }
  })

  it('counts what a directory takes, whatever links lie in it, and says which volume takes too much', async () => {
    const owner = pod([
      { name: 'v', emptyDir: { sizeLimit: '1Mi' } },
      { name: 'free', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
    ])
    const made = await driver.ensureVolumes(owner, sources())
    const path = made.get('v') ?? ''
    writeFileSync(join(made.get('free') ?? '', 'big'), Buffer.alloc(2 << 20, 1))
    writeFileSync(join(made.get('memory') ?? '', 'big'), Buffer.alloc(2 << 20, 1))
    mkdirSync(join(path, 'deep/er'), { recursive: true })
    writeFileSync(join(path, 'deep/er/file'), Buffer.alloc(700 << 10, 1))
    linkSync(join(path, 'deep/er/file'), join(path, 'deep/twice'))
    symlinkSync('/usr', join(path, 'deep/out'))
    const paths = driver.emptyDirs(owner)
    expect([...paths.keys()]).toEqual(['v', 'free'])
    const walker = new DiskWalker({ log: silentLogger })
    const use = async () => {
      const { sizes } = await walker.measure([...paths.values()])
      return storageUse({ containers: new Map(), emptyDirs: paths }, sizes)
    }
    expect(overLimit(owner, await use())).toBeUndefined()
    writeFileSync(join(path, 'more'), Buffer.alloc(700 << 10, 1))
    expect(overLimit(owner, await use())).toBe('Usage of EmptyDir volume "v" exceeds the limit "1Mi".')
  })

  it('gives a claim to the group of the pod, all of it or by what its root says', async () => {
    const claim = { persistentVolumeClaim: { claimName: 'claim' } }
    const path = await one(claim)
    const outside = join(directory, 'outside')
    writeFileSync(outside, '', { mode: 0o600 })
    mkdirSync(join(path, 'deep'), { mode: 0o700 })
    writeFileSync(join(path, 'deep/file'), '', { mode: 0o600 })
    symlinkSync(outside, join(path, 'deep/out'))
    await driver.removePod(uidOf())
    const grouped = await one(claim, sources(), 4002)
    expect(statSync(join(grouped, 'deep'))).toMatchObject({ gid: 4002 })
    expect(statSync(join(grouped, 'deep')).mode & 0o7777).toBe(0o2770)
    expect(statSync(join(grouped, 'deep/file'))).toMatchObject({ gid: 4002 })
    expect(statSync(join(grouped, 'deep/file')).mode & 0o7777).toBe(0o660)
    expect(lstatSync(join(grouped, 'deep/out')).gid).toBe(4002)
    expect(statSync(outside)).toMatchObject({ gid: 0 })
    expect(statSync(outside).mode & 0o777).toBe(0o600)
    await driver.removePod(uidOf())
    const lazy = pod([{ name: 'v', ...claim }], 4002)
    lazy.spec.securityContext = { fsGroup: 4002, fsGroupChangePolicy: 'OnRootMismatch' }
    chownSync(join(directory, 'data/pv/pvc-1/deep/file'), 0, 0)
    const again = (await driver.ensureVolumes(lazy, sources())).get('v') ?? ''
    expect(statSync(join(again, 'deep/file'))).toMatchObject({ gid: 0 })
    rmSync(join(again, 'deep'), { recursive: true })
    await driver.removePod(uidOf())
  })

  it('leaves the root of a claim for the last, so that one cut off half-way is not taken for done', async () => {
    const claim = { persistentVolumeClaim: { claimName: 'claim' } }
    const path = await one(claim)
    const inner = join(path, 'inner')
    mkdirSync(inner)
    await driver.removePod(uidOf())
    const source = join(directory, 'data/pv/pvc-1/inner')
    await runOk('mount', ['--bind', source, source])
    await runOk('mount', ['-o', 'remount,bind,ro', source])
    const lazy = pod([{ name: 'v', ...claim }], 4005)
    lazy.spec.securityContext = { fsGroup: 4005, fsGroupChangePolicy: 'OnRootMismatch' }
    await expect(driver.ensureVolumes(lazy, sources())).rejects.toThrow(/EROFS/)
    await runOk('umount', [source])
    const again = (await driver.ensureVolumes(lazy, sources())).get('v') ?? ''
    expect(statSync(join(again, 'inner')).gid).toBe(4005)
    rmSync(join(again, 'inner'), { recursive: true })
    await driver.removePod(uidOf())
  })

  it.each(['', 'Memory'] as const)('leaves an emptyDir (%j) as its pod has made it', async (medium) => {
    const volume = { emptyDir: { medium } }
    const owner = pod([{ name: 'v', ...volume }], 4003)
    const path = (await driver.ensureVolumes(owner, sources())).get('v') ?? ''
    expect(statSync(path)).toMatchObject({ uid: 0, gid: 4003 })
    expect(statSync(path).mode & 0o7777).toBe(0o2777)
    chownSync(path, 4004, 4004)
    chmodSync(path, 0o700)
    expect((await driver.ensureVolumes(owner, sources())).get('v')).toBe(path)
    expect(statSync(path)).toMatchObject({ uid: 4004, gid: 4004 })
    expect(statSync(path).mode & 0o7777).toBe(0o700)
    await driver.removePod(uidOf())
    const plain = await one(volume)
    expect(statSync(plain)).toMatchObject({ uid: 0, gid: 0 })
    expect(statSync(plain).mode & 0o7777).toBe(0o777)
    await driver.removePod(uidOf())
  })

  it('makes an emptyDir anew that was cut off before it was whole', async () => {
    const owner = pod([{ name: 'v', emptyDir: {} }], 4003)
    const path = (await driver.ensureVolumes(owner, sources())).get('v') ?? ''
    rmSync(path, { recursive: true })
    mkdirSync(join(path, '../.v.new'), { mode: 0o700 })
    await driver.ensureVolumes(owner, sources())
    expect(statSync(path)).toMatchObject({ gid: 4003 })
    expect(statSync(path).mode & 0o7777).toBe(0o2777)
    await driver.removePod(uidOf())
  })

  it('takes a limit of 0 in memory for none', async () => {
    const path = await one({ emptyDir: { medium: 'Memory', sizeLimit: '0' } })
    writeFileSync(join(path, 'big'), Buffer.alloc(1 << 20))
    await driver.removePod(uidOf())
  })

  it('makes sub-paths with the mode and the group of the volume', async () => {
    const path = await one({ emptyDir: {} }, sources(), 4003)
    const deep = await driver.resolveSubPath(path, 'deep/er')
    for (const made of [deep, join(path, 'deep')]) {
      expect(statSync(made)).toMatchObject({ gid: 4003 })
      expect(statSync(made).mode & 0o7777).toBe(0o2777)
    }
    const host = join(directory, 'private-host')
    mkdirSync(host, { mode: 0o750 })
    expect(statSync(await driver.resolveSubPath(host, 'in')).mode & 0o7777).toBe(0o750)
    await driver.removePod(uidOf())
  })

  it('keeps secrets in memory, with the modes asked for', async () => {
    const path = await one({ secret: { secretName: 's', defaultMode: 0o400 } }, sources({}, { key: 'hush' }))
    expect(statfsSync(path).type).toBe(TMPFS_MAGIC)
    expect(readFileSync(join(path, 'key'), 'utf8')).toBe('hush')
    expect(statSync(join(path, 'key')).mode & 0o777).toBe(0o400)
    const grouped = await one({ secret: { secretName: 's', defaultMode: 0o400 } }, sources({}, { key: 'hush' }), 4001)
    expect(statSync(join(grouped, 'key'))).toMatchObject({ gid: 4001 })
    expect(statSync(join(grouped, 'key')).mode & 0o777).toBe(0o440)
  })

  it('says what is missing, unless it is optional', async () => {
    await expect(one({ configMap: { name: 'none' } })).rejects.toMatchObject({
      code: 'notFound',
      message: expect.stringContaining('ConfigMap ns/none'),
    })
    await expect(one({ secret: { secretName: 'none' } })).rejects.toMatchObject({ code: 'notFound' })
    expect(
      readdirSync(await one({ configMap: { name: 'none', optional: true } })).filter((name) => !name.startsWith('..')),
    ).toEqual([])
  })

  it('checks or makes what a hostPath’s type asks for', async () => {
    const base = join(directory, 'host')
    mkdirSync(base)
    writeFileSync(join(base, 'file'), '')
    const server = createServer().listen(join(base, 'socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    const at = (name: string, type?: NonNullable<Volume['hostPath']>['type']) =>
      one({ hostPath: { path: join(base, name), ...(type === undefined ? {} : { type }) } })
    expect(await at('made', 'DirectoryOrCreate')).toBe(join(base, 'made'))
    expect(statSync(join(base, 'made')).isDirectory()).toBe(true)
    await at('touched', 'FileOrCreate')
    expect(statSync(join(base, 'touched')).isFile()).toBe(true)
    await at('file', 'File')
    await at('made', 'Directory')
    await at('socket', 'Socket')
    await at('anything')
    await one({ hostPath: { path: '/dev/null', type: 'CharDevice' } })
    // A disk that there is none of: nobody opens it.
    await runOk('mknod', [join(base, 'disk'), 'b', '7', '199'])
    await at('disk', 'BlockDevice')
    await expect(at('disk', 'CharDevice')).rejects.toThrow(/character device/)
    await expect(at('absent', 'Directory')).rejects.toMatchObject({ code: 'notFound' })
    await expect(at('absent/deep', 'FileOrCreate')).rejects.toMatchObject({ code: 'notFound' })
    await expect(at('file', 'Directory')).rejects.toThrow(/is not a directory/)
    await expect(at('made', 'File')).rejects.toThrow(/is not a file/)
    await expect(at('file', 'Socket')).rejects.toThrow(/is not a socket/)
    await expect(one({ hostPath: { path: '/dev/null', type: 'BlockDevice' } })).rejects.toThrow(/block device/)
    await expect(one({ hostPath: { path: '/tmp/../etc' } })).rejects.toMatchObject({ code: 'invalid' })
    server.close()
  })

  it('resolves sub-paths inside the volume and refuses those that lead out', async () => {
    const volume = await one({ emptyDir: {} })
    mkdirSync(join(volume, 'a/b'), { recursive: true })
    writeFileSync(join(volume, 'a/b/file'), 'inside')
    symlinkSync('b', join(volume, 'a/link'))
    symlinkSync('../a/b/file', join(volume, 'a/up'))
    symlinkSync('/etc', join(volume, 'absolute'))
    symlinkSync('../../../../../../../../etc', join(volume, 'relative'))
    symlinkSync('loop', join(volume, 'loop'))
    expect(readFileSync(join(await driver.resolveSubPath(volume, 'a/link'), 'file'), 'utf8')).toBe('inside')
    expect(readFileSync(await driver.resolveSubPath(volume, 'a/up'), 'utf8')).toBe('inside')
    const made = await driver.resolveSubPath(volume, 'new/deep')
    expect(statSync(join(volume, 'new/deep')).ino).toBe(statSync(made).ino)
    for (const bad of ['absolute', 'absolute/passwd', 'relative', 'loop', '../x', '/etc', 'a/b/file/x']) {
      await expect(driver.resolveSubPath(volume, bad), bad).rejects.toMatchObject({ code: 'invalid' })
    }
    expect(existsSync('/etc/x')).toBe(false)
    // Pinned: a link slipped in later changes nothing.
    const pinned = await driver.resolveSubPath(volume, 'a/b')
    rmSync(join(volume, 'a/b'), { recursive: true })
    symlinkSync('/etc', join(volume, 'a/b'))
    expect(existsSync(join(pinned, 'passwd'))).toBe(false)
    await expect(driver.resolveSubPath(volume, 'a/b')).rejects.toMatchObject({ code: 'invalid' })
    await driver.removePod(uidOf())
  })

  it('resolves sub-paths of a ConfigMap and of a hostPath', async () => {
    const config = await one({ configMap: { name: 'cm' } }, sources({ 'app.conf': 'x=1' }))
    expect(readFileSync(await driver.resolveSubPath(config, 'app.conf'), 'utf8')).toBe('x=1')
    const host = join(directory, 'sub-host')
    mkdirSync(join(host, 'in'), { recursive: true })
    symlinkSync('/etc', join(host, 'out'))
    expect(await driver.resolveSubPath(host, 'in')).toBe(join(host, 'in'))
    await expect(driver.resolveSubPath(host, 'out')).rejects.toMatchObject({ code: 'invalid' })
    // For a pod it is pinned, and the pin hands nothing back: what is unmounted with the pod stays mounted on the host.
    mkdirSync(join(host, 'in/below'))
    const pinned = await driver.resolveSubPath(host, 'in', uidOf())
    expect(pinned.startsWith(join(directory, 'data'))).toBe(true)
    await runOk('mount', ['-t', 'tmpfs', 'drvt', join(host, 'in/below')])
    writeFileSync(join(host, 'in/below/file'), 'there')
    await driver.removePod(uidOf())
    expect(readFileSync(join(host, 'in/below/file'), 'utf8')).toBe('there')
    await runOk('umount', [join(host, 'in/below')])
  })

  it('writes files of /etc in place, so that containers see changes', async () => {
    const first = await driver.ensureEtcFiles('etc-pod', {
      hosts: '127.0.0.1 a\n',
      'resolv.conf': 'nameserver 1.1.1.1\n',
    })
    const path = first.get('hosts') ?? ''
    const inode = statSync(path).ino
    expect(statSync(path).mode & 0o777).toBe(0o644)
    await driver.ensureEtcFiles('etc-pod', { hosts: '127.0.0.1 b\n' })
    expect(readFileSync(path, 'utf8')).toBe('127.0.0.1 b\n')
    expect(statSync(path).ino).toBe(inode)
    await expect(driver.ensureEtcFiles('../up', {})).rejects.toMatchObject({ code: 'invalid' })
  })

  it('removes all of a pod but what lies in hostPaths, also when links point there', async () => {
    const precious = join(directory, 'precious')
    mkdirSync(precious)
    writeFileSync(join(precious, 'file'), 'keep')
    const owner = pod([
      { name: 'host', hostPath: { path: precious } },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
      { name: 'disk', emptyDir: {} },
      { name: 'secret', secret: { secretName: 's' } },
    ])
    const paths = await driver.ensureVolumes(owner, sources({}, { k: 'v' }))
    symlinkSync(precious, join(paths.get('disk') ?? '', 'link'))
    // Someone mounted a host's directory inside: it must be unmounted, never emptied.
    const inner = join(paths.get('disk') ?? '', 'with space')
    mkdirSync(inner)
    await runOk('mount', ['--bind', precious, inner])
    expect(await driver.listPods()).toContain(uidOf())
    await driver.removePod(uidOf())
    await driver.removePod(uidOf())
    expect(readFileSync(join(precious, 'file'), 'utf8')).toBe('keep')
    expect(await driver.listPods()).not.toContain(uidOf())
    expect(mounts().filter((line) => line.includes(`/${uidOf()}/`))).toEqual([])
    expect(lstatSync(precious).isDirectory()).toBe(true)
  })

  it('keeps the data of a claim from pod to pod, and removes it only when nothing has it mounted', async () => {
    const volume = { persistentVolumeClaim: { claimName: 'claim' } }
    const first = await one(volume)
    writeFileSync(join(first, 'kept'), 'x')
    expect((await driver.ensureVolumes(pod([]), sources())).size).toBe(0)
    await driver.ensureVolumes({ ...pod([{ name: 'v', ...volume }]) }, sources())
    expect(mounts().filter((line) => line.includes('/pv/pvc-1'))).toHaveLength(2)
    await expect(driver.removeVolume('pvc-1')).rejects.toMatchObject({ code: 'unavailable' })
    for (const uid of await driver.listPods()) await driver.removePod(uid)
    expect(existsSync(first)).toBe(false)
    const reader = pod([{ name: 'v', persistentVolumeClaim: { claimName: 'claim', readOnly: true } }])
    const readOnly = (await driver.ensureVolumes(reader, sources())).get('v') ?? ''
    expect(readFileSync(join(readOnly, 'kept'), 'utf8')).toBe('x')
    expect(() => writeFileSync(join(readOnly, 'new'), 'x')).toThrow(/EROFS/)
    // As one that was cut off between its two steps.
    await runOk('mount', ['-o', 'remount,bind,rw', readOnly])
    await driver.ensureVolumes(reader, sources())
    expect(() => writeFileSync(join(readOnly, 'new'), 'x')).toThrow(/EROFS/)
    // A sub-path that a container turned into a link leads nowhere else.
    const writable = await one(volume)
    symlinkSync('/etc', join(writable, 'link'))
    await expect(driver.resolveSubPath(writable, 'link')).rejects.toMatchObject({ code: 'invalid' })
    for (const uid of await driver.listPods()) await driver.removePod(uid)
    await driver.removeVolume('pvc-1')
    await driver.removeVolume('pvc-1')
    expect(readdirSync(join(directory, 'data/pv'))).toEqual([])
    await expect(one({ persistentVolumeClaim: { claimName: 'none' } })).rejects.toMatchObject({
      code: 'notFound',
      message: 'volume v: claim ns/none is not bound to a volume on this node',
    })
    await expect(driver.removeVolume('../v')).rejects.toMatchObject({ code: 'invalid' })
  })

  it('removes directories nested deeper than a path may be long', async () => {
    const volume = await one({ emptyDir: {} })
    const script = 'cd "$1"; i=0; while [ $i -lt 60 ]; do mkdir "$2"; cd "$2"; i=$((i+1)); done'
    await runOk('sh', ['-c', script, 'sh', volume, 'd'.repeat(100)])
    await driver.removePod(uidOf())
    expect(existsSync(volume)).toBe(false)
  })
})
