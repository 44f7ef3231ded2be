/**
 * Starts a container that runc has created. Its init waits, as the last thing it does before it becomes the program, until
 * somebody reads from a named pipe beside the container's state; then the pipe is removed. `runc start` does just that,
 * and takes 3 ms and as much processor time to come up for it.
 * Source: opencontainers/runc, libcontainer/container_linux.go (exec) and standard_init_linux.go.
 */
import { constants, openSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { isAlive, type ProcessIdentity } from '../../base/process_table.ts'
import { readText } from '../../base/records.ts'

/** What runc calls an init that waits; the program gives it another name. */
const WAITING = /^runc:\[2:INIT\]/

const LOOK_MS = 100

/** False when this is no init of runc's that waits: whoever made the container must start it. */
export async function startByFifo(path: string, init: ProcessIdentity, clock: Clock): Promise<boolean> {
  if (!WAITING.test(readText(`/proc/${init.pid}/comm`) ?? '')) return false
  let fd: number
  try {
    // As reader and writer, an open never waits, and the pipe never ends.
    fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw DroverError.from(error)
  }
  await firstByte(new Socket({ fd, readable: true, writable: false }), () => isAlive(init), clock)
  await rm(path, { force: true })
  return true
}

function firstByte(pipe: Socket, isWaiting: () => boolean, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    let wasDead = false
    const look = (): void => {
      const isDead = !isWaiting()
      // Its byte may lie in the pipe when we have slept over both its start and its end: what is there is read first.
      if (isDead && wasDead) over(() => reject(new DroverError('internal', 'the container died before it was started')))
      else timer = clock.schedule(LOOK_MS, look)
      wasDead = isDead
    }
    const over = (settle: () => void): void => {
      timer.cancel()
      pipe.destroy()
      settle()
    }
    let timer = clock.schedule(LOOK_MS, look)
    pipe.once('data', () => over(resolve))
    pipe.once('error', (error) => over(() => reject(DroverError.from(error))))
  })
}
