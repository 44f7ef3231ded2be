/** Progress of what takes time: a line that lives on a terminal, plain lines elsewhere. */
import type { Clock } from '../base/clock.ts'

export interface Progress {
  /** Runs the work under a title and says how long it took, or that it failed. */
  step<T>(title: string, work: (update: (detail: string) => void) => Promise<T>): Promise<T>
}

export function createProgress(stream: NodeJS.WriteStream, clock: Clock): Progress {
  const live = stream.isTTY === true
  const draw = (text: string): void => {
    const width = (stream.columns ?? 80) - 1
    stream.write(`\r\x1b[2K${text.slice(0, width)}`)
  }
  return {
    async step(title, work) {
      const startedMs = clock.monotonicMs()
      const took = (): string => `${((clock.monotonicMs() - startedMs) / 1000).toFixed(1)} s`
      let detail = ''
      if (live) draw(`… ${title}`)
      try {
        const result = await work((text) => {
          if (text === detail) return
          detail = text
          if (live) draw(`… ${title}: ${text}`)
        })
        const line = `✔ ${title}${detail === '' ? '' : `: ${detail}`} (${took()})`
        if (live) draw(`${line}`)
        stream.write(live ? '\n' : `${line}\n`)
        return result
      } catch (error) {
        const line = `✘ ${title}${detail === '' ? '' : `: ${detail}`} (${took()})`
        if (live) draw(line)
        stream.write(live ? '\n' : `${line}\n`)
        throw error
      }
    },
  }
}
