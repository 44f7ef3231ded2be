/**
 * Ranges of 65,536 user ids, one for each pod that has a user namespace of its own. A range is a file, named by its number
 * and holding whose it is, in a directory that all agents of the machine share; making it is taking it. It appears whole, by a link:
 * one that says nobody's name would be given back by nobody. It lies in memory, as long-lived as the namespaces that it is for: a
 * boot frees everything.
 *
 * The numbers are those that systemd's table of ids leaves to nobody ("Users, Groups, UIDs and GIDs on systemd Systems"),
 * below 2^31, which some programs take for a sign.
 */
import { createHash } from 'node:crypto'
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'

export const RANGE_SIZE = 65_536
const FIRST_RANGE = 0x7000
const LAST_RANGE = 0x7ffd

export interface UserRange {
  firstId: number
  size: number
}

export interface ReservedRange {
  path: string
  /** Directory of the sandbox that it is for. */
  owner: string
}

/** Takes a range that nobody on this machine has. */
export async function takeRange(directory: string, owner: string): Promise<UserRange> {
  await mkdir(directory, { recursive: true, mode: 0o711 })
  const taken = new Set(await readdir(directory))
  const draft = draftOf(directory, owner)
  try {
    await writeFile(draft, owner, { mode: 0o600 })
    for (let number = FIRST_RANGE; number <= LAST_RANGE; number++) {
      if (taken.has(String(number))) continue
      try {
        await link(draft, join(directory, String(number)))
        return { firstId: number * RANGE_SIZE, size: RANGE_SIZE }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  } finally {
    await rm(draft, { force: true })
  }
  throw new DroverError(
    'unavailable',
    `all ${LAST_RANGE - FIRST_RANGE + 1} ranges of user ids on this machine are taken`,
  )
}

/** Of a sandbox always the same, so that what a crash leaves is found again with it. */
function draftOf(directory: string, owner: string): string {
  return join(directory, `.${createHash('sha256').update(owner).digest('hex').slice(0, 32)}`)
}

/** Drafts that a crash has left among them. */
export async function listRanges(directory: string): Promise<ReservedRange[]> {
  const names = await readdir(directory).catch((): string[] => [])
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name)
      return { path, owner: await readFile(path, 'utf8').catch(() => '') }
    }),
  )
  return found.filter(({ owner }) => owner !== '')
}

/** Gives back all that the sandbox has. Idempotent. */
export async function freeRanges(directory: string, owner: string): Promise<void> {
  for (const range of await listRanges(directory)) if (range.owner === owner) await rm(range.path, { force: true })
  // It may not even hold its owner's name yet.
  await rm(draftOf(directory, owner), { force: true })
}
