/** A launcher in a network namespace of a test, which hears what becomes of it, as an agent's own does. */
import { spawn } from 'node:child_process'
import { createLauncher } from '../../src/base/launcher.ts'
import { type AskNews, parseNews } from '../../src/base/network_news.ts'

export interface Listening {
  ask: AskNews
  close(): void
}

export function listenIn(namespacePath: string): Listening {
  const launcher = createLauncher((program, args, options) =>
    spawn('nsenter', [`--net=${namespacePath}`, program, ...args], options),
  )
  return {
    async ask() {
      let said = ''
      await launcher.launch([], { news: true, onStdout: (data) => (said += data.toString('utf8')) }).ended
      return parseNews(said)
    },
    close: () => launcher.close(),
  }
}
