/** Programs started through the helper behave as those started directly, and what it adds: reports after the end. */

import { spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import {
  bindCall,
  enterNetworkCall,
  type KernelCall,
  kernelCalls,
  MOUNT,
  mountCall,
  raiseLoopbackCall,
  tryUnmount,
  unmountCall,
  unshareCall,
} from '../../src/base/kernel_calls.ts'
import { createLauncher, type Launcher, type LaunchOptions, MAX_LAUNCH_INPUT_BYTES } from '../../src/base/launcher.ts'
import { createLogger } from '../../src/base/log.ts'
import { launcherService, run, runOk, startReporting, useLauncher } from '../../src/base/process.ts'
import { identify } from '../../src/base/process_table.ts'
import {
  enterDirectoryCall,
  linkCall,
  makeDirectoryCall,
  makeFileCall,
  makePathCall,
  renameCall,
} from '../../src/base/tree_calls.ts'
import { eventually } from '../support/eventually.ts'
import { killLauncher, launcherOf } from '../support/launchers.ts'

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'drvt-launcher-')))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** The same expectations hold before and after the helper is in use. */
function behaves(): void {
  it('tells the exit code and both outputs', async () => {
    const script = 'echo out; echo err >&2; exit 3'
    expect(await run('sh', ['-c', script])).toEqual({ exitCode: 3, stdout: 'out\n', stderr: 'err\n', truncated: false })
  })

  it('tells a signal as a shell does', async () => {
    expect((await run('sh', ['-c', 'kill -TERM $$'])).exitCode).toBe(143)
  })

  it('hands arguments on as they are', async () => {
    const args = ['', ' ', 'a b', '$HOME', '"', "'", '\\', 'ü\n', '*']
    expect(await runOk('printf', ['[%s]', ...args])).toBe(args.map((arg) => `[${arg}]`).join(''))
  })

  it.each([0, 1, 4096, MAX_LAUNCH_INPUT_BYTES, MAX_LAUNCH_INPUT_BYTES + 1, 1 << 20])(
    'writes an input of %d bytes',
    async (size) => {
      expect(await runOk('wc', ['-c'], { input: 'x'.repeat(size) })).toContain(String(size))
    },
  )

  it('hands on bytes, NUL among them', async () => {
    const { stdout } = await run('od', ['-An', '-tx1'], { input: Buffer.from([0, 1, 255, 0]) })
    expect(stdout.trim()).toBe('00 01 ff 00')
  })

  it('gives no input by default', async () => {
    expect(await runOk('cat', [])).toBe('')
  })

  it('takes a directory and an environment of its own', async () => {
    const env = { PATH: process.env.PATH ?? '', EMPTY: '', TEXT: 'a=b c' }
    const said = await runOk('sh', ['-c', 'pwd; echo "[$EMPTY][$TEXT][$HOME]"; env | wc -l'], { cwd: directory, env })
    expect(said.split('\n').slice(0, 2)).toEqual([directory, '[][a=b c][]'])
  })

  it('keeps our environment by default', async () => {
    expect(await runOk('sh', ['-c', 'echo $PATH'])).toBe(`${process.env.PATH}\n`)
  })

  it('says what is not found, and where it cannot run', async () => {
    await expect(run('no-such-program', [])).rejects.toMatchObject({
      code: 'unsupported',
      message: 'program no-such-program not found',
    })
    await expect(run(directory, [])).rejects.toMatchObject({ code: 'internal' })
  })

  it('drops output beyond the bound', async () => {
    const { stdout, truncated } = await run('sh', ['-c', 'head -c 300000 /dev/zero'], { maxOutputBytes: 1000 })
    expect(truncated).toBe(true)
    expect(stdout.length).toBeLessThan(200_000)
  })

  it('keeps what was written when the time is over, where that is asked for', async () => {
    const sleeps = ['-c', 'echo first; exec sleep 60']
    const result = await run('sh', sleeps, { timeoutMs: 2_000, keepOnTimeout: true })
    expect(result).toMatchObject({ exitCode: 137, stdout: 'first\n', timedOut: true })
    await expect(run('sh', sleeps, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' })
    expect(await run('echo', ['all'], { keepOnTimeout: true })).not.toHaveProperty('timedOut')
  })

  it('reads much output', async () => {
    expect((await runOk('sh', ['-c', 'head -c 3000000 /dev/zero | tr "\\0" x'])).length).toBe(3_000_000)
  })

  it('does system calls in a process of their own', async () => {
    const [target, pin] = [join(directory, 'mounted'), join(directory, 'pin')]
    await kernelCalls([])
    mkdirSync(target, { recursive: true })
    writeFileSync(pin, '')
    const mount = mountCall({ source: 'drvt', target: 'mounted', type: 'tmpfs', flags: MOUNT.noexec, data: 'size=64k' })
    const calls = [mount, unshareCall(['uts', 'net']), raiseLoopbackCall(), bindCall('/proc/self/ns/net', pin)]
    try {
      await kernelCalls(calls, { cwd: directory })
      const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      expect(mounts).toMatch(new RegExp(`${target} .*noexec.* tmpfs drvt .*size=64k`))
      expect(statSync(pin).ino).not.toBe(statSync('/proc/self/ns/net').ino)
      expect(await runOk('nsenter', [`--net=${pin}`, 'ip', '-br', 'link', 'show', 'lo'])).toContain('LOOPBACK,UP')
    } finally {
      // What is no mount keeps nothing else from going.
      expect(await tryUnmount([join(directory, 'nowhere'), target, pin])).toBe(false)
    }
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory)
    expect(await tryUnmount([target])).toBe(false)
  })

  it('says which system call failed, and does none after it', async () => {
    const target = join(directory, 'nowhere')
    const made = join(directory, 'made')
    mkdirSync(made, { recursive: true })
    const calls = [bindCall(directory, target), bindCall(directory, made)]
    await expect(kernelCalls(calls)).rejects.toThrow(`mount ${directory} at ${target}: No such file or directory`)
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(made)
  })

  it('does system calls in the process of a program, before it becomes the program', async () => {
    const [outside, inside] = [join(directory, 'outside'), join(directory, 'inside')]
    mkdirSync(outside, { recursive: true })
    mkdirSync(inside, { recursive: true })
    writeFileSync(join(outside, 'file'), 'seen')
    const report = async (calls: readonly KernelCall[]) => {
      const env = { PATH: process.env.PATH ?? '' }
      const script = ['-c', 'cat inside/file >&3']
      const started = await startReporting('sh', script, {
        cwd: directory,
        env,
        calls: [enterDirectoryCall(directory), ...calls].flat(),
      })
      let text = ''
      for await (const chunk of started.report) text += String(chunk)
      started.release()
      return { text, said: started.said() }
    }
    try {
      expect(await report([bindCall('outside', 'inside')])).toEqual({ text: 'seen', said: '' })
    } finally {
      expect(await tryUnmount([inside])).toBe(true)
    }
    const failed = await report([bindCall('nowhere', 'inside')]).catch(({ message }) => ({ text: '', said: message }))
    expect(failed).toEqual({ text: '', said: 'mount nowhere at inside: No such file or directory' })
  })

  it('makes directories and files on the way, and says which it could not', async () => {
    const root = mkdtempSync(join(directory, 'tree-'))
    const text = `{"a": "\\u0000 ä"}\n${'x'.repeat(300_000)}`
    await kernelCalls([
      makePathCall(join(root, 'a/b'), 0o755),
      makePathCall(join(root, 'a/b'), 0o755),
      enterDirectoryCall(root),
      makeDirectoryCall('.new', 0o711),
      makeFileCall('.new/file', text, 0o666),
      linkCall('../a', '.new/link'),
      renameCall('.new', 'whole'),
    ])
    expect(readFileSync(join(root, 'whole/file'), 'utf8')).toBe(text)
    const modes = ['whole', 'whole/file', 'a'].map((name) => (statSync(join(root, name)).mode & 0o777).toString(8))
    expect(modes).toEqual(['711', '666', '755'])
    expect(readlinkSync(join(root, 'whole/link'))).toBe('../a')
    const refused = async (call: KernelCall) => kernelCalls([call], { cwd: root }).catch(({ message }) => message)
    expect(await refused(makeDirectoryCall('a', 0o755))).toBe('make a: File exists')
    expect(await refused(makeFileCall('whole/file', '', 0o600))).toBe('write whole/file: File exists')
    expect(await refused(makePathCall('whole/file/x', 0o755))).toBe('make whole/file/x: File exists')
    expect(await refused(renameCall('whole', 'a'))).toBe('rename whole to a: Directory not empty')
    expect(await refused(enterDirectoryCall('nowhere'))).toBe('enter nowhere: No such file or directory')
    expect(readFileSync(join(root, 'whole/file'), 'utf8')).toBe(text)
  })

  it('ends what takes too long', async () => {
    await expect(run('sleep', ['100'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' })
  })

  it('ends what is cancelled', async () => {
    const controller = new AbortController()
    const running = run('sleep', ['100'], { signal: controller.signal })
    controller.abort()
    await expect(running).rejects.toMatchObject({ code: 'cancelled' })
    await expect(run('true', [], { signal: controller.signal })).rejects.toMatchObject({ code: 'cancelled' })
  })

  it('runs many side by side', async () => {
    const numbers = Array.from({ length: 100 }, (_, i) => String(i))
    expect(await Promise.all(numbers.map((n) => runOk('echo', [n])))).toEqual(numbers.map((n) => `${n}\n`))
  })
}

describe('directly', behaves)

describe('through the helper', () => {
  beforeAll(async () => {
    expect(await useLauncher()).toBe(true)
  })
  behaves()
})

describe('the helper', () => {
  let child: ReturnType<typeof spawn>
  let launcher: Launcher
  beforeAll(() => {
    launcher = createLauncher((program, args, options) => (child = spawn(program, args, options)))
  })
  afterAll(() => launcher.close())

  const reported = async (script: string): Promise<string[]> => {
    const parts: string[] = []
    const launched = launcher.launch(['sh', '-c', script], {
      quiet: true,
      detached: true,
      onReport: (data) => parts.push(data.toString('utf8')),
    })
    await eventually(() => parts.at(-1) === '')
    launched.release()
    return parts
  }

  it('hands on what is reported on descriptor 3, also after the program has ended', async () => {
    expect(await reported('echo one >&3')).toEqual(['one\n', ''])
    expect(await reported('(sleep 0.05; echo late >&3) 2>/dev/null &')).toEqual(['late\n', ''])
  })

  it('holds a program until it is told to go on, or ends it', async () => {
    const begin = () => {
      const parts: string[] = []
      const script = 'echo up >&3; read -r go <&4; echo "$?" >&3'
      const options = { held: true, quiet: true, onReport: (data: Buffer) => parts.push(data.toString('utf8')) }
      return { parts, ...launcher.launch(['bash', '-c', script], options) }
    }
    const [first, second] = [begin(), begin()]
    await eventually(() => first.parts.length === 1 && second.parts.length === 1)
    second.kill(9)
    await eventually(() => second.parts.at(-1) === '')
    expect(second.parts).toEqual(['up\n', ''])
    first.go()
    // A byte without the end of a line, and then the end.
    await eventually(() => first.parts.at(-1) === '')
    expect(first.parts).toEqual(['up\n', '1\n', ''])
    for (const one of [first, second]) one.release()
  })

  it('starts a detached program in a session of its own', async () => {
    const said = (await reported('cut -d" " -f1,6 /proc/self/stat >&3; echo $$ >&3')).join('')
    const [, session] = said.split(/\s+/)
    expect(said.trim().endsWith(`\n${session}`)).toBe(true)
  })

  it('leaves nothing behind: no descriptor and no zombie', async () => {
    const descriptors = () => readdirSync(`/proc/${child.pid}/fd`).length
    const before = descriptors()
    for (let i = 0; i < 20; i++) await launcher.launch(['true'], {}).ended
    expect(descriptors()).toBe(before)
    expect(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')).toBe('')
  })

  it('does not hand its descriptors on', async () => {
    // What whoever runs the tests has left open goes through all of us.
    const inherited = readdirSync(`/proc/${child.pid}/fd`)
    const waiting = launcher.launch(['sleep', '100'], {})
    let said = ''
    const onStdout = (data: Buffer): void => {
      said += data.toString('utf8')
    }
    await launcher.launch(['sh', '-c', 'ls -l /proc/$$/fd'], { onStdout }).ended
    waiting.kill(9)
    expect((await waiting.ended).signal).toBe(9)
    const pipes = [...said.matchAll(/ (\d+) -> pipe:/g)].map(([, fd]) => fd)
    expect(pipes.filter((fd) => fd !== undefined && !inherited.includes(fd))).toEqual([])
  })

  describe('with what does calls for it', () => {
    const children = (): string[] =>
      readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ').filter(Boolean)
    const namespaces = (pid: string | number) =>
      ['net', 'ipc', 'uts'].map((name) => readlinkSync(`/proc/${pid}/ns/${name}`))
    const pipe = join(directory, 'pipe')
    /** Waits until somebody opens the pipe for writing. */
    const waits = enterNetworkCall(pipe)
    const begin = (calls: readonly KernelCall[], options: LaunchOptions = {}) =>
      launcher.launch([], { ...options, calls: calls.flat() })
    const done = { code: 0, signal: 0 }
    beforeAll(() => runOk('mkfifo', [pipe]))

    it('keeps it while there is more to do, and is rid of it when all is quiet', async () => {
      for (let i = 0; i < 3; i++) expect(await begin([raiseLoopbackCall()]).ended).toEqual(done)
      const [only = '', ...others] = children()
      expect(others).toEqual([])
      expect(identify(Number(only))).toBeDefined()
      await eventually(() => children().length === 0)
    })

    it('has it where it was before, whatever it did last', async () => {
      const [pin, cwd] = [join(directory, 'other'), join(directory, 'elsewhere')]
      writeFileSync(pin, '')
      mkdirSync(cwd)
      const enter = [unshareCall(['net', 'ipc', 'uts']), bindCall('/proc/self/ns/net', pin)]
      expect(await begin(enter, { cwd }).ended).toEqual(done)
      const [server = ''] = children()
      const home = (): void => {
        expect(namespaces(server)).toEqual(namespaces('self'))
        expect(readlinkSync(`/proc/${server}/cwd`)).toBe('/')
      }
      home()
      expect(await begin([enterNetworkCall(pin), bindCall('/nowhere', pin)], { cwd }).ended).toMatchObject({ code: 1 })
      home()
      expect(await begin([unmountCall(pin)]).ended).toEqual(done)
      expect(children()).toEqual([server])
      expect(readdirSync(`/proc/${server}/fd`).length).toBeLessThan(12)
    })

    it('has as many as are needed at once, and one that is killed is told', async () => {
      const waiting = Array.from({ length: 6 }, () => begin([waits]))
      await eventually(() => children().length === 6)
      // Nobody waits for those that wait.
      expect(await begin([raiseLoopbackCall()]).ended).toEqual(done)
      waiting[0]?.kill(9)
      expect(await waiting[0]?.ended).toEqual({ code: 0, signal: 9 })
      // No namespace: refused, and that is told, too.
      writeFileSync(pipe, '')
      for (const one of waiting.slice(1)) expect(await one.ended).toMatchObject({ code: 1, signal: 0 })
      await eventually(() => children().length === 0)
    })

    it('takes another where one has died while it had nothing to do', async () => {
      expect(await begin([raiseLoopbackCall()]).ended).toEqual(done)
      const [server = ''] = children()
      process.kill(Number(server), 'SIGKILL')
      await eventually(() => children().length === 0)
      expect(await begin([raiseLoopbackCall()]).ended).toEqual(done)
    })

    it('tells of a directory that is not there', async () => {
      let said = ''
      const onStderr = (data: Buffer): void => {
        said += data.toString('utf8')
      }
      const end = await begin([raiseLoopbackCall()], { cwd: '/nowhere', onStderr }).ended
      expect([end.code, said]).toEqual([1, 'chdir /nowhere: No such file or directory'])
    })
  })

  it('ends with its owner, and what waits for it is told', async () => {
    let sleeper = 0
    const onStdout = (data: Buffer): void => {
      sleeper = Number(data.toString('utf8'))
    }
    const waiting = launcher.launch(['sh', '-c', 'echo $$; exec sleep 1000'], { onStdout })
    let held = 0
    const onReport = (data: Buffer): void => {
      held = Number(data.toString('utf8')) || held
    }
    launcher
      .launch(['bash', '-c', 'echo $$ >&3; read -r go <&4; sleep 100'], { held: true, onReport })
      .ended.catch(() => undefined)
    await eventually(() => held > 0 && sleeper > 0)
    const begin = (script: string) => {
      const reports: string[] = []
      const options = { quiet: true, onReport: (data: Buffer) => reports.push(data.toString('utf8')) }
      return { reports, ...launcher.launch(['sh', '-c', script], options) }
    }
    // Has ended, and left behind who may report.
    const left = begin('sleep 1000 >/dev/null 2>&1 & echo $! >&3')
    expect(await left.ended).toEqual({ code: 0, signal: 0 })
    await eventually(() => left.reports.length === 1)
    try {
      // Whose end was told; nobody has let go of it.
      const over = begin('true')
      expect(await over.ended).toEqual({ code: 0, signal: 0 })
      await eventually(() => over.reports.length === 1)
      launcher.close()
      await expect(waiting.ended).rejects.toThrow('has ended')
      expect(left.reports.slice(1)).toEqual([''])
      expect(over.reports).toEqual([''])
    } finally {
      for (const pid of [sleeper, Number(left.reports[0])]) process.kill(pid, 'SIGKILL')
    }
    await eventually(() => identify(held) === undefined)
    await eventually(() => identify(child.pid ?? 0) === undefined)
    expect(launcher.alive).toBe(false)
  })
})

it('a helper that dies is replaced when that goes, and both are said once', async () => {
  if (launcherOf(process.pid) === undefined) expect(await useLauncher()).toBe(true)
  const said: string[] = []
  let looks = 0
  const schedule: Clock['schedule'] = (...args) => {
    looks++
    return systemClock.schedule(...args)
  }
  const log = createLogger('test', 'info', { write: (line) => said.push(String(JSON.parse(line).msg)) })
  const stop = new AbortController()
  const looking = launcherService({ clock: { ...systemClock, schedule }, log, everyMs: 10 }).run(stop.signal)
  const path = process.env.PATH
  try {
    process.env.PATH = directory
    expect(killLauncher(process.pid)).toBe(true)
    await eventually(() => said.length > 0)
    const seen = looks
    await eventually(() => looks > seen + 3)
    process.env.PATH = path
    await eventually(() => said.some((words) => words.includes('replaced') && !words.includes('could not')))
    expect(said).toEqual([
      'the process that starts programs has died and could not be replaced: pods start slower',
      'the process that starts programs had died and was replaced',
    ])
    expect(await runOk('echo', ['again'])).toBe('again\n')
  } finally {
    process.env.PATH = path
    stop.abort()
    await looking
  }
})
