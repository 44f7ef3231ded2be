import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { looksLikeTar, type TarEntry, TarReader, toText } from '../../src/agent/images/tar_reader.ts'
import { chunked, type Entry, tar } from '../support/archives.ts'

type Read = TarEntry & { content: string }

async function read(bytes: Uint8Array, chunkSize = 64 << 10): Promise<Read[]> {
  const reader = new TarReader(chunked(bytes, chunkSize))
  const entries: Read[] = []
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const pieces: Buffer[] = []
    for await (const piece of reader.body()) pieces.push(Buffer.from(piece))
    entries.push({ ...entry, content: Buffer.concat(pieces).toString('latin1') })
  }
  await reader.drain()
  return entries
}

/** One header, fields set by hand, with a right checksum. */
function header(fields: Record<number, string | Buffer>): Buffer {
  const block = Buffer.alloc(512)
  block.write('0000644\0', 100)
  block.write('0000000\0', 108)
  block.write('0000000\0', 116)
  block.write('00000000000\0', 124)
  block.write('00000000000\0', 136)
  block.write('ustar\x0000', 257)
  for (const [at, value] of Object.entries(fields)) Buffer.from(value).copy(block, Number(at))
  block.fill(' ', 148, 156)
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  )
  return block
}
const end = Buffer.alloc(1024)

test('entries of every kind, whatever the size of the chunks', async () => {
  const long = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(200)}`
  const entries: Entry[] = [
    { name: 'dir/', type: 'directory', mode: 0o1777, uid: 5, gid: 6, mtime: new Date(1_000_000_000_000) },
    { name: 'dir/file', content: 'x'.repeat(1000), mode: 0o4755 },
    { name: long, content: 'long' },
    { name: 'link', type: 'symlink', linkname: long },
    { name: 'hard', type: 'link', linkname: 'dir/file' },
    { name: 'ünï', content: '' },
    { name: 'cap', content: 'c', pax: { 'SCHILY.xattr.security.capability': 'abc' } },
  ]
  const bytes = await tar(entries)
  const whole = await read(bytes)
  expect(whole.map(({ type, name, linkName }) => [type, toText(name), linkName])).toEqual([
    ['directory', 'dir/', ''],
    ['file', 'dir/file', ''],
    ['file', long, ''],
    ['symlink', 'link', long],
    ['link', 'hard', 'dir/file'],
    ['file', 'ünï', ''],
    ['file', 'cap', ''],
  ])
  expect(whole[0]).toMatchObject({ mode: 0o1777, uid: 5, gid: 6, mtimeSeconds: 1e9 })
  expect(whole[1]?.content).toHaveLength(1000)
  expect(whole[6]?.xattrs?.get('security.capability')).toBe('abc')
  for (const size of [1, 7, 511, 512, 513, 5000]) expect(await read(bytes, size)).toEqual(whole)
})

test.each(['v7', 'oldgnu', 'gnu', 'ustar', 'posix'])('what GNU tar writes as %s', async (format) => {
  const script =
    'cd "$(mktemp -d)" && mkdir -p a/b && echo hi > a/b/c && ln -s c a/b/l && tar --format="$1" -cf - a && rm -r "$PWD"'
  const bytes = execFileSync('sh', ['-c', script, 'sh', format])
  const entries = await read(bytes)
  expect(entries.map(({ name, type }) => `${type} ${name}`).sort()).toEqual([
    'directory a/',
    'directory a/b/',
    'file a/b/c',
    'symlink a/b/l',
  ])
  expect(entries.find(({ type }) => type === 'file')?.content).toBe('hi\n')
  expect(looksLikeTar(bytes)).toBe(true)
})

describe('what is refused', () => {
  const pax = (text: string, flag = 'x') => {
    const size = `${text.length.toString(8).padStart(11, '0')}\0`
    return Buffer.concat([
      header({ 0: 'p', 124: size, 156: flag }),
      Buffer.from(text.padEnd(Math.ceil(text.length / 512) * 512, '\0')),
    ])
  }
  const record = (pair: string): string => {
    let length = pair.length + 3
    while (`${length} ${pair}\n`.length !== length) length++
    return `${length} ${pair}\n`
  }
  const file = header({ 0: 'f', 156: '0' })
  const cases: [string, Buffer, string, RegExp][] = [
    ['no tar', Buffer.alloc(512, 'x'), 'invalid', /checksum/],
    ['half a header', file.subarray(0, 300), 'invalid', /middle/],
    ['half a body', header({ 0: 'f', 124: '00000001000\0' }), 'invalid', /middle/],
    ['a size out of range', header({ 0: 'f', 124: Buffer.from('8000000000ffffffffffffff', 'hex') }), 'invalid', /size/],
    ['a negative size', header({ 0: 'f', 124: Buffer.alloc(12, 0xff) }), 'invalid', /size/],
    ['a size that is no number', header({ 0: 'f', 124: '99999999999\0' }), 'invalid', /size/],
    ['a PAX size', Buffer.concat([pax(record('size=1e9')), file]), 'invalid', /malformed number/],
    ['a PAX owner', Buffer.concat([pax(record('uid=4294967295')), file]), 'invalid', /no user/],
    ['PAX nonsense', Buffer.concat([pax('nonsense'), file]), 'invalid', /PAX/],
    ['PAX beyond its end', Buffer.concat([pax('99 a=b\n'), file]), 'invalid', /PAX/],
    ['NUL in a name', Buffer.concat([pax(record('path=a\0b')), file]), 'invalid', /NUL/],
    ['a huge header', header({ 0: 'p', 124: '77777777777\0', 156: 'x' }), 'invalid', /at most/],
    ['a huge name', header({ 0: 'p', 124: '77777777777\0', 156: 'L' }), 'invalid', /at most/],
    ['sparse, GNU', header({ 0: 'f', 156: 'S' }), 'unsupported', /sparse/],
    ['sparse, PAX', Buffer.concat([pax(record('GNU.sparse.major=1')), file]), 'unsupported', /sparse/],
    ['unknown type', header({ 0: 'f', 156: 'Z' }), 'unsupported', /type/],
  ]
  test.each(cases)('%s', async (_name, bytes, code, message) => {
    await expect(
      read(Buffer.concat([bytes, bytes.length % 512 === 0 && code === 'x' ? end : Buffer.alloc(0)])),
    ).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  test('many headers before one entry', async () => {
    const one = pax(record(`comment=${'x'.repeat(500_000)}`))
    await expect(read(Buffer.concat([one, one, one, file, end]))).rejects.toThrow(/at most/)
    const global = pax(record(`comment=${'x'.repeat(500_000)}`), 'g')
    await expect(read(Buffer.concat([global, file, global, file, global, file, end]))).rejects.toThrow(/at most/)
  })

  test('random damage never gives anything but an answer or a coded error', async () => {
    const good = await tar([
      { name: 'a', content: 'x'.repeat(600) },
      { name: `${'l'.repeat(150)}/x`, content: 'y' },
    ])
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }), async (changes) => {
        const bytes = Buffer.from(good)
        for (const [at, value] of changes) bytes[at] = value
        await read(bytes).catch((error: unknown) =>
          expect(error).toHaveProperty('code', expect.stringMatching(/invalid|unsupported/)),
        )
      }),
      { numRuns: 500 },
    )
  })
})
