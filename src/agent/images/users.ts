/**
 * Who `user` is inside an image: /etc/passwd and /etc/group as the container would see them, read through the stack of
 * layers from the top. No link is followed out of the layers: a link is resolved within the stack, as overlayfs would.
 * Source: the `User` field of the OCI image-spec; passwd(5), group(5).
 */
import { constants, lstatSync, type Stats } from 'node:fs'
import { open, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { run } from '../../base/process.ts'
import { isWhiteout } from './confined_root.ts'
import type { ResolvedUser } from './images.ts'

const MAX_FILE_BYTES = 4 << 20
const MAX_LINKS = 40
const MAX_ID = 0xfffffffe

export interface UserFiles {
  passwd: string
  group: string
}

/**
 * Pure: `user`, `uid`, `user:group`, `uid:gid`; empty is root. A number is an id and never a name: no entry of an image may
 * lead one that a pod asks for elsewhere, and Docker and containerd hold it so for an image's own. Whatever the primary group,
 * the user has the groups that list it, as under containerd; one of its own name is its primary group and no further one.
 * Throws `invalid` when a name is not in the files.
 */
export function resolveUserIn(files: UserFiles, user: string): ResolvedUser {
  const [who = '', group = '', ...rest] = user.split(':')
  if (rest.length > 0) throw new DroverError('invalid', `"${user}" is not a user; write user, uid or user:group`)
  const accounts = lines(files.passwd).flatMap((fields) => {
    const [uid, gid] = [toId(fields[2]), toId(fields[3])]
    return uid === undefined || gid === undefined ? [] : [{ name: fields[0] ?? '', uid, gid, home: fields[5] ?? '' }]
  })
  const groups = lines(files.group).flatMap((fields) => {
    const gid = toId(fields[2])
    return gid === undefined ? [] : [{ name: fields[0] ?? '', gid, members: (fields[3] ?? '').split(',') }]
  })
  const asked = numberIn(who === '' ? '0' : who)
  const account = accounts.find(({ name, uid }) => (asked === undefined ? name === who : uid === asked))
  const uid = asked ?? account?.uid
  if (uid === undefined) throw new DroverError('invalid', `the image has no user "${who}" in its /etc/passwd`)
  const gid = group === '' ? (account?.gid ?? 0) : (numberIn(group) ?? groups.find(({ name }) => name === group)?.gid)
  if (gid === undefined) throw new DroverError('invalid', `the image has no group "${group}" in its /etc/group`)
  const own = groups.filter(
    ({ name, gid: other, members }) =>
      account !== undefined && name !== account.name && other !== gid && members.includes(account.name),
  )
  return { uid, gid, additionalGids: [...new Set(own.map((item) => item.gid))], home: account?.home || '/' }
}

/** Undefined for a name. Throws `invalid` for a number that no id can be. */
function numberIn(text: string): number | undefined {
  if (!/^[+-]?\d+$/.test(text)) return undefined
  const id = toId(text)
  if (id === undefined)
    throw new DroverError('invalid', `${text} is no id of a user or group; at most ${MAX_ID} can be`)
  return id
}

function lines(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'))
}

function toId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  const id = Number(text)
  return id <= MAX_ID ? id : undefined
}

/** Reads both files of a stack of layers, lowest first. A missing one is empty. */
export async function readUserFiles(layers: readonly string[]): Promise<UserFiles> {
  const topDown = [...layers].reverse()
  return { passwd: await readThrough(topDown, 'etc/passwd'), group: await readThrough(topDown, 'etc/group') }
}

async function readThrough(topDown: readonly string[], name: string): Promise<string> {
  const pending = name.split('/').reverse()
  let here: string[] = []
  let links = 0
  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    if (part === '' || part === '.') continue
    if (part === '..') {
      here = here.slice(0, -1)
      continue
    }
    const found = await lookUp(topDown, [...here, part])
    if (found === undefined) return ''
    if (found.stats.isSymbolicLink()) {
      if (++links > MAX_LINKS) return ''
      const target = await readlink(found.path)
      if (target.startsWith('/')) here = []
      pending.push(...target.split('/').reverse())
    } else if (pending.length === 0) {
      return found.stats.isFile() ? readBounded(found.path) : ''
    } else {
      here.push(part)
    }
  }
  return ''
}

/** The topmost thing at a path whose parents are no links; a whiteout, a file or an opaque directory hides the rest. */
async function lookUp(
  topDown: readonly string[],
  parts: readonly string[],
): Promise<{ path: string; stats: Stats } | undefined> {
  for (const [depth, layer] of topDown.entries()) {
    const directories: string[] = []
    let path = layer
    for (const [i, part] of parts.entries()) {
      path = join(path, part)
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (stats === undefined) break
      if (isWhiteout(stats)) return undefined
      if (i === parts.length - 1) return { path, stats }
      if (!stats.isDirectory()) return undefined
      directories.push(path)
    }
    // Asked only when something could be hidden: it costs a process a directory, at every start of a container.
    if (depth === topDown.length - 1) return undefined
    for (const directory of directories) if (await isOpaque(directory)) return undefined
  }
  return undefined
}

async function isOpaque(directory: string): Promise<boolean> {
  const said = await run('getfattr', ['--only-values', '--absolute-names', '-n', 'trusted.overlay.opaque', directory])
  return said.exitCode === 0 && said.stdout === 'y'
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const buffer = Buffer.alloc(Math.min((await file.stat()).size, MAX_FILE_BYTES))
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
