/** One TCP connection to a pod that answers with what it is sent, kept open over a whole test. */
import { start } from '../../src/base/process.ts'
import { eventually } from './eventually.ts'
import type { TestNamespace } from './netns.ts'

/** What the pod runs. */
export const ECHO = ['nc', '-ll', '-p', '7000', '-e', 'cat']

export class EchoClient {
  readonly #child
  #text = ''
  #sent = 0

  constructor(namespace: TestNamespace, address: string) {
    const args = [`--net=${namespace.path}`, 'busybox', 'nc', address, '7000']
    this.#child = start('nsenter', args, { stdio: ['pipe', 'pipe', 'ignore'] })
    this.#child.stdin?.on('error', () => undefined)
    this.#child.stdout?.on('data', (data: Buffer) => {
      this.#text += data.toString()
    })
  }

  /** Sends a line over the connection and waits until it has come back. Throws when the connection is no more. */
  async check(): Promise<void> {
    const line = `line ${++this.#sent}\n`
    this.#child.stdin?.write(line)
    await eventually(
      () => {
        if (this.#child.exitCode !== null) throw new Error('the connection has ended')
        return this.#text.endsWith(line)
      },
      { timeoutMs: 10_000 },
    )
  }

  close(): void {
    this.#child.kill('SIGKILL')
  }
}
