import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { UserFilesCache } from '../../src/agent/images/user_files_cache.ts'

const directory = mkdtempSync(join(tmpdir(), 'drvt-users-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function image(id: string, passwd: string) {
  const layer = join(directory, id)
  mkdirSync(join(layer, 'etc'), { recursive: true })
  writeFileSync(join(layer, 'etc/passwd'), passwd)
  return { id, layerDirectories: [layer] }
}

describe("images' user files", () => {
  it('are read once for each image, and not for another', async () => {
    const cache = new UserFilesCache()
    const one = image('one', 'app:x:1000:1000')
    expect(await cache.of(one)).toEqual({ passwd: 'app:x:1000:1000', group: '' })
    expect((await cache.of(image('two', 'other:x:1:1'))).passwd).toBe('other:x:1:1')
    rmSync(join(directory, 'one'), { recursive: true })
    expect((await cache.of(one)).passwd).toBe('app:x:1000:1000')
  })

  it('are forgotten when many others have come since, and never kept when they are large', async () => {
    const cache = new UserFilesCache()
    const first = image('first', 'app:x:1000:1000')
    const large = image('large', 'x'.repeat(40_000))
    for (const one of [first, large]) await cache.of(one)
    writeFileSync(join(directory, 'large/etc/passwd'), 'small now')
    expect((await cache.of(large)).passwd).toBe('small now')
    for (let i = 0; i < 63; i++) await cache.of(image(`more-${i}`, ''))
    rmSync(join(directory, 'first'), { recursive: true })
    expect((await cache.of(first)).passwd).toBe('')
  })
})
