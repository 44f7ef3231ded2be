import { expect, test } from 'vitest'
import { chooseImage } from '../../src/agent/images/choose_image.ts'
import { machinePlatform } from '../../src/agent/images/platform.ts'
import { DroverError } from '../../src/base/errors.ts'
import { digestOf } from '../support/archives.ts'

const documents = new Map<string, Buffer>()
const put = (value: object): string => {
  const bytes = Buffer.from(JSON.stringify(value))
  documents.set(digestOf(bytes), bytes)
  return digestOf(bytes)
}
const described = (digest: string, platform?: object) => ({ digest, size: 1, ...(platform ? { platform } : {}) })
const configured = (config: object): string => put({ schemaVersion: 2, config: described(put(config)), layers: [] })
const made = (architecture: string, more: object = {}): string =>
  configured({ os: 'linux', architecture, rootfs: { diff_ids: [] }, ...more })
const index = (...manifests: object[]): string => put({ schemaVersion: 2, manifests })
const linux = (architecture: string) => ({ os: 'linux', architecture })
const artifact = configured({})

async function choose(name: string, asked: string[] = []): Promise<string> {
  const read = async (digest: string): Promise<Buffer> => {
    asked.push(digest)
    const found = documents.get(digest)
    if (found === undefined) throw new DroverError('notFound', `no ${digest}`)
    return found
  }
  const options = { manifest: read, config: ({ digest }: { digest: string }) => read(digest) }
  const { manifests } = await chooseImage(name, { ...options, machine: machinePlatform('x64'), where: 'app:1' })
  expect(digestOf(manifests[0] ?? '')).toBe(name)
  return digestOf(manifests.at(-1) ?? '')
}

test('where descriptors say no platform, the configurations do', async () => {
  const own = made('amd64')
  const others = [described(made('arm64')), described(artifact), described(digestOf('gone'))]
  expect(await choose(index(...others, described(own)))).toBe(own)
  expect(await choose(index(described(made('s390x'), linux('s390x')), ...others, described(own)))).toBe(own)
  expect(await choose(index(...others, described(index(described(own, linux('amd64'))))))).toBe(own)
  expect(await choose(own)).toBe(own)
})

test('one that says so comes first, and nothing else is asked for', async () => {
  const [said, unsaid] = [made('amd64', { author: 'said' }), made('amd64', { author: 'unsaid' })]
  const asked: string[] = []
  const list = index(described(unsaid), described(said, linux('amd64')))
  expect(await choose(list, asked)).toBe(said)
  expect(asked).toEqual([list, said])
})

test('the only one there is, is taken as it is', async () => {
  for (const only of [made('arm64'), artifact]) expect(await choose(index(described(only)))).toBe(only)
})

test('none fits: says what there is', async () => {
  const list = index(described(made('s390x'), linux('s390x')), described(made('arm64')), described(artifact))
  await expect(choose(list)).rejects.toMatchObject({
    code: 'notFound',
    message: 'app:1 has no image for linux/amd64; it has: linux/s390x, linux/arm64',
  })
})

test('what may pass is not passed over, and looking has an end', async () => {
  const own = described(made('amd64'))
  const list = index(described(digestOf('unreachable')), own)
  const manifest = async (digest: string): Promise<Buffer> => {
    if (digest === digestOf('unreachable')) throw new DroverError('unavailable', 'unreachable')
    return documents.get(digest) ?? Buffer.alloc(0)
  }
  const options = { manifest, config: () => manifest(''), machine: machinePlatform('x64'), where: 'app:1' }
  await expect(chooseImage(list, options)).rejects.toMatchObject({ code: 'unavailable' })
  const many = index(...Array.from({ length: 40 }, () => described(artifact)), own)
  await expect(choose(many)).rejects.toMatchObject({ code: 'tooLarge' })
  let deep = index(own)
  for (let i = 0; i < 4; i++) deep = index(described(deep))
  await expect(choose(deep)).rejects.toMatchObject({ code: 'invalid', message: 'app:1: indexes within indexes' })
})
