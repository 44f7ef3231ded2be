/** Pods and hosts for tests of the network: pinned namespaces with busybox in them, ended and removed by their maker. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { run, runOk, start } from '../../src/base/process.ts'

export interface TestNamespace {
  path: string
  /** Runs a program inside to its end. */
  exec(args: readonly string[], input?: string): Promise<{ exitCode: number; stdout: string; stderr: string }>
  /** Starts a program inside that runs until `remove`. */
  start(args: readonly string[]): ChildProcess
  remove(): Promise<void>
}

/** A namespace that exists already, e.g. a local cluster's host; `remove` ends what was started and leaves it. */
export function enterNamespace(path: string): TestNamespace {
  const children: ChildProcess[] = []
  const enter = `--net=${path}`
  return {
    path,
    exec: (args, input) =>
      run('nsenter', [enter, ...args], { timeoutMs: 15_000, ...(input === undefined ? {} : { input }) }),
    start(args) {
      const child = start('nsenter', [enter, ...args], { stdio: 'ignore' })
      children.push(child)
      return child
    },
    async remove() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue
        const ended = once(child, 'exit')
        child.kill('SIGKILL')
        await ended
      }
    },
  }
}

export async function createNamespace(name: string): Promise<TestNamespace> {
  await runOk('ip', ['netns', 'add', name])
  const inner = enterNamespace(`/run/netns/${name}`)
  return {
    ...inner,
    async remove() {
      await inner.remove()
      await runOk('ip', ['netns', 'del', name])
    },
  }
}
