/**
 * Starts a container that runc or crun has created. Its init waits, as the last thing it does before it becomes the program, at a
 * named pipe beside the container's state: runc's until somebody reads from it, crun's until somebody writes. Then the pipe is
 * removed. `runc start` and `crun start` do just that, and take 3 ms and as much processor time to come up for it.
 * Source: opencontainers/runc, libcontainer/container_linux.go (exec) and standard_init_linux.go; containers/crun,
 * src/libcrun/status.c (libcrun_status_write_exec_fifo) and container.c (container_init).
 */
import { closeSync, constants, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { isAlive, type ProcessIdentity } from '../../base/process_table.ts'
import { readText } from '../../base/records.ts'

/** What runc calls an init that waits; the program gives it another name. */
const WAITING = /^runc:\[2:INIT\]/

const LOOK_MS = 100

const DIED = 'the container died before it was started'

/** False when nobody waits there whom we know how to start: whoever made the container must do it. */
export async function startByFifo(path: string, init: ProcessIdentity, clock: Clock): Promise<boolean> {
  const isRuncs = WAITING.test(readText(`/proc/${init.pid}/comm`) ?? '')
  if (!isRuncs && !readsFrom(init.pid, path)) return false
  const { O_NOFOLLOW, O_NONBLOCK, O_RDWR, O_WRONLY } = constants
  let fd: number
  try {
    // As reader and writer, an open never waits, and the pipe never ends; as writer alone it fails where nobody reads.
    fd = openSync(path, (isRuncs ? O_RDWR : O_WRONLY) | O_NONBLOCK | O_NOFOLLOW)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return false
    throw code === 'ENXIO' ? new DroverError('internal', DIED, { cause: error }) : DroverError.from(error)
  }
  if (isRuncs) await firstByte(new Socket({ fd, readable: true, writable: false }), () => isAlive(init), clock)
  else writeByte(fd)
  // At once: it lies in memory.
  rmSync(path, { force: true })
  return true
}

/** Whether the process has the pipe open for reading, as crun's init has. A handle of no use but to name a file is none. */
function readsFrom(pid: number, path: string): boolean {
  const O_PATH = 0o10000000
  try {
    const { dev, ino } = statSync(path)
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const file = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })
      if (file?.dev !== dev || file.ino !== ino) return false
      const flags = /^flags:\s+0([0-7]+)$/m.exec(readText(`/proc/${pid}/fdinfo/${fd}`) ?? '')?.[1]
      return flags !== undefined && (Number.parseInt(flags, 8) & (O_PATH | constants.O_WRONLY | constants.O_RDWR)) === 0
    })
  } catch {
    return false
  }
}

function writeByte(fd: number): void {
  try {
    writeSync(fd, Buffer.alloc(1))
  } catch (error) {
    throw new DroverError('internal', DIED, { cause: error })
  } finally {
    closeSync(fd)
  }
}

function firstByte(pipe: Socket, isWaiting: () => boolean, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    let wasDead = false
    const look = (): void => {
      const isDead = !isWaiting()
      // Its byte may lie in the pipe when we have slept over both its start and its end: what is there is read first.
      if (isDead && wasDead) over(() => reject(new DroverError('internal', DIED)))
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
