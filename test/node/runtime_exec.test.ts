import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ContainerRequest, Sandbox } from '../../src/agent/runtime/runtime.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { framePipe } from '../support/frame_pipe.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal

describeRuntimes('programs run in a container, and its own streams', (runtime, itOnce) => {
  let host: RuntimeHost
  let sandbox: Sandbox
  let id: string
  beforeAll(async () => {
    host = await createRuntimeHost(runtime)
    sandbox = await host.sandbox('exec')
    id = await start('drvt-exec', { args: ['/bin/sleep', '1000'], env: ['PATH=/bin', 'FROM=container'] })
  })
  afterAll(() => host.destroy())

  async function start(containerId: string, changes: Partial<ContainerRequest>): Promise<string> {
    const logPath = join(host.directory, 'logs', `${containerId}.log`)
    await host.driver.startContainer(host.request(sandbox, { id: containerId, logPath, ...changes }), signal)
    return containerId
  }
  async function processes(): Promise<string> {
    return (await host.driver.execSync(id, ['/bin/ps', '-o', 'args'], 5000)).output
  }

  it('gives exit code and output', async () => {
    const script = 'echo $FROM; echo bad >&2; exit 4'
    const { exitCode, output } = await host.driver.execSync(id, ['sh', '-c', script], 5000)
    expect(exitCode).toBe(4)
    expect(output).toContain('container\n')
    expect(output).toContain('bad\n')
  })

  it('bounds the output', async () => {
    const { output } = await host.driver.execSync(id, ['sh', '-c', 'yes | head -c 1000000'], 5000)
    expect(output).toHaveLength(64 << 10)
  })

  it('kills what runs too long, with its children', async () => {
    await expect(host.driver.execSync(id, ['sh', '-c', 'sleep 777 & sleep 778'], 200)).rejects.toMatchObject({
      code: 'timeout',
    })
    await eventually(async () => expect(await processes()).not.toMatch(/sleep 77/))
  })

  it('waits for no child that the program has left behind with its output', async () => {
    const run = (script: string, timeoutMs: number) => host.driver.execSync(id, ['sh', '-c', script], timeoutMs)
    const left = run('echo said; sleep 785 & exit 3', 3000)
    // runc itself ends with the last that holds the output.
    if (runtime === 'runc') await expect(left).rejects.toMatchObject({ code: 'timeout' })
    else expect(await left).toEqual({ exitCode: 3, output: 'said\n' })
    // The child is the container's, and is not killed with the program.
    await expect(run('(sleep 786 &); sleep 787', 500)).rejects.toMatchObject({ code: 'timeout' })
    await run('pkill -9 -f "sleep 78[567]"', 5000)
  })

  it('tells a missing program from one that may not be run, and from no container', async () => {
    expect(await host.driver.execSync(id, ['nothing'], 5000)).toMatchObject({
      exitCode: 127,
      output: expect.stringContaining('nothing'),
    })
    expect(await host.driver.execSync(id, ['/etc'], 5000)).toMatchObject({ exitCode: 126 })
    await expect(host.driver.execSync('drvt-none', ['true'], 5000)).rejects.toMatchObject({ code: 'notFound' })
  })

  it('streams both ways, and ends input with the client', async () => {
    const pipe = framePipe()
    const args = ['sh', '-c', 'cat; echo err >&2; exit 6']
    const done = host.driver.exec(id, { args, tty: false, env: ['X=1'] }, pipe.server)
    await pipe.type('hello ')
    await pipe.type('world')
    await eventually(() => pipe.text(CHANNEL.stdout) === 'hello world')
    pipe.client.end()
    expect(await done).toEqual({ exitCode: 6 })
    expect(pipe.text(CHANNEL.stderr)).toBe('err\n')
  })

  it('carries much output whole', async () => {
    const pipe = framePipe()
    await host.driver.exec(id, { args: ['sh', '-c', 'seq 1 200000'], tty: false }, pipe.server)
    expect(pipe.text(CHANNEL.stdout).trim().split('\n')).toHaveLength(200_000)
  })

  it('kills the program when the stream fails', async () => {
    const pipe = framePipe()
    const done = host.driver.exec(id, { args: ['sleep', '779'], tty: false }, pipe.server)
    await eventually(async () => expect(await processes()).toMatch(/sleep 779/))
    pipe.client.end(new Error('connection lost'))
    await expect(done).rejects.toThrow(/connection lost/)
    await eventually(async () => expect(await processes()).not.toMatch(/sleep 779/))
  })

  it('says on stderr what cannot be run', async () => {
    const pipe = framePipe()
    expect(await host.driver.exec(id, { args: ['nothing'], tty: false }, pipe.server)).toEqual({ exitCode: 127 })
    expect(pipe.text(CHANNEL.stderr)).toMatch(/nothing.*not found/)
  })

  it('gives a terminal that can be resized', async () => {
    const pipe = framePipe()
    const done = host.driver.exec(id, { args: ['sh'], tty: true }, pipe.server)
    await pipe.client.send({ channel: CHANNEL.resize, data: Buffer.from('{"Width":101,"Height":42}') })
    await pipe.type('tty; echo $FROM-$TERM\n')
    await eventually(() => expect(pipe.text(CHANNEL.stdout)).toMatch(/\/dev\/pts\/\d+\r\ncontainer-xterm/))
    await eventually(async () => {
      await pipe.type('stty size\n')
      await pipe.client.send({ channel: CHANNEL.resize, data: Buffer.from('{"Width":101,"Height":42}') })
      return /42 101/.test(pipe.text(CHANNEL.stdout))
    })
    await pipe.type('exit 12\n')
    expect(await done).toEqual({ exitCode: 12 })
  })

  it('hangs up when the terminal’s client goes', async () => {
    const pipe = framePipe()
    const done = host.driver.exec(id, { args: ['sleep', '780'], tty: true }, pipe.server)
    await eventually(async () => expect(await processes()).toMatch(/sleep 780/))
    pipe.client.end()
    await expect(done).rejects.toMatchObject({ code: 'cancelled' })
    await eventually(async () => expect(await processes()).not.toMatch(/sleep 780/))
  })

  // crun 1.8 ends so that conmon says nothing: see docs/design/runtime.md.
  itOnce('tells a program that is missing in a terminal', async () => {
    const other = framePipe()
    expect(await host.driver.exec(id, { args: ['nothing'], tty: true }, other.server)).toEqual({ exitCode: 127 })
    expect(other.text(CHANNEL.stderr)).toMatch(/nothing/)
  })

  it('attaches to a container with stdin, many at a time, and to its end', async () => {
    const cat = await start('drvt-cat', {
      args: ['/bin/sh', '-c', 'while read l; do echo got $l; done; echo end >&2'],
      stdin: true,
      stdinOnce: true,
    })
    const watcher = framePipe()
    const watching = host.driver.attach(cat, watcher.server)
    const pipe = framePipe()
    const done = host.driver.attach(cat, pipe.server)
    // Attaching shows only what comes after, so the line is typed until the watcher, too, has seen one.
    await eventually(async () => {
      await pipe.type('one\n')
      return watcher.text(CHANNEL.stdout).includes('got one\n') && pipe.text(CHANNEL.stdout).includes('got one\n')
    })
    pipe.client.end()
    await Promise.all([done, watching])
    expect(pipe.text(CHANNEL.stderr)).toBe('end\n')
    expect(readFileSync(join(host.directory, 'logs/drvt-cat.log'), 'utf8')).toContain('stdout F got one')
    await host.driver.removeContainer(cat)
  })

  it('attaches to a terminal', async () => {
    const shell = await start('drvt-tty', { args: ['/bin/sh'], tty: true, stdin: true })
    const pipe = framePipe()
    const done = host.driver.attach(shell, pipe.server)
    await pipe.type('tty\n')
    await eventually(() => expect(pipe.text(CHANNEL.stdout)).toMatch(/\/dev\/pts\/0|\/dev\/console/))
    await pipe.client.send({ channel: CHANNEL.resize, data: Buffer.from('{"Width":77,"Height":33}') })
    await eventually(async () => {
      await pipe.type('stty size\n')
      return /33 77/.test(pipe.text(CHANNEL.stdout))
    })
    await pipe.type('exit\n')
    await done
    await host.driver.removeContainer(shell)
  })
})
