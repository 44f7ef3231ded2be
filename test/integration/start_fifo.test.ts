/** A container's start by the pipe at which its init waits: what the pipe's other end may do, and who is left alone. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { startByFifo } from '../../src/agent/runtime/start_fifo.ts'
import { systemClock } from '../../src/base/clock.ts'
import { runOk } from '../../src/base/process.ts'
import { identify } from '../../src/base/process_table.ts'
import { eventually } from '../support/eventually.ts'

const directory = mkdtempSync(join(tmpdir(), 'drvt-fifo-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const INIT = 'runc:[2:INIT]'
let made = 0

/** A process of that name, which at a line on its input opens the pipe as runc's init does, and at another writes. */
const asRunc = (name: string) =>
  waiting(name, `<STDIN>; open(my $f, '>', $ARGV[0]) or die; <STDIN>; syswrite($f, '0'); close $f; <STDIN>`)

/** One that has it open from the start and waits until there is something to read, as crun's init does, and then says so. */
const asCrun = (mode = '0') =>
  waiting('crun', `sysopen(my $f, $ARGV[0], ${mode} | 04000) or die; <STDIN>; syswrite(STDOUT, sysread($f, my $b, 1))`)

async function waiting(name: string, what: string) {
  const path = join(directory, `fifo-${made++}`)
  await runOk('mkfifo', [path])
  const script = `$0 = $ARGV[1]; ${what}`
  const child = spawn('perl', ['-e', script, path, name], { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (data: Buffer) => {
    said += data.toString('utf8')
  })
  const pid = child.pid ?? 0
  await eventually(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name.slice(0, 15))
  const init = identify(pid)
  if (init === undefined) throw new Error('it has ended')
  return { path, init, child, said: () => said, go: () => child.stdin.write('\n') }
}

describe('a container that waits at its pipe', () => {
  it('is started, whether it waits already or comes late, and the pipe goes', async () => {
    for (const early of [true, false]) {
      const { path, init, child, go } = await asRunc(INIT)
      if (early) go()
      const started = startByFifo(path, init, systemClock)
      if (!early) go()
      go()
      expect(await started).toBe(true)
      expect(existsSync(path)).toBe(false)
      child.kill('SIGKILL')
    }
  })

  it('that dies first is told, and the pipe is left', async () => {
    const { path, init, child, go } = await asRunc(INIT)
    go()
    const started = startByFifo(path, init, systemClock)
    child.kill('SIGKILL')
    await expect(started).rejects.toThrow('the container died before it was started')
    expect(existsSync(path)).toBe(true)
  })

  it('and has ended when we look at last was started all the same', async () => {
    const { path, init, child, go } = await asRunc(INIT)
    // From here the loop comes to its timers before it reads.
    await new Promise((resolve) => setImmediate(resolve))
    const started = startByFifo(path, init, systemClock)
    for (let i = 0; i < 3; i++) go()
    // We stand still until it is over and our timer is due, as on a machine that has no time for us.
    const nap = new Int32Array(new SharedArrayBuffer(4))
    for (let i = 0; i < 200; i++) {
      Atomics.wait(nap, 0, 0, 150)
      if (identify(init.pid) === undefined) break
    }
    expect(await started).toBe(true)
    expect(existsSync(path)).toBe(false)
    child.kill('SIGKILL')
  })

  it('made by crun is started by a byte', async () => {
    const { path, init, child, said, go } = await asCrun()
    await eventually(() => readdirSync(`/proc/${init.pid}/fd`).length > 3)
    expect(await startByFifo(path, init, systemClock)).toBe(true)
    expect(existsSync(path)).toBe(false)
    go()
    await eventually(() => said() === '1')
    child.kill('SIGKILL')
  })

  it('made by crun, but that has gone, or holds the pipe otherwise, is left alone', async () => {
    const gone = await asCrun()
    gone.child.kill('SIGKILL')
    await eventually(() => identify(gone.init.pid) === undefined)
    // Opened to name it alone, or for writing as well.
    const named = await asCrun('010000000')
    const both = await asCrun('2')
    for (const { init } of [named, both]) await eventually(() => readdirSync(`/proc/${init.pid}/fd`).length > 3)
    for (const { path, init, child } of [gone, named, both]) {
      expect(await startByFifo(path, init, systemClock)).toBe(false)
      expect(existsSync(path)).toBe(true)
      child.kill('SIGKILL')
    }
  })

  it('of another runtime, or without a pipe, is left alone', async () => {
    const other = await asRunc('youki')
    expect(await startByFifo(other.path, other.init, systemClock)).toBe(false)
    const { init, child } = await asRunc(INIT)
    expect(await startByFifo(join(directory, 'none'), init, systemClock)).toBe(false)
    for (const each of [other.child, child]) each.kill('SIGKILL')
  })
})
