/** Extended attributes, through setfattr: Node has no call for them. One process sets all of a layer's. */
import { DroverError, isCode } from '../../base/errors.ts'
import { run } from '../../base/process.ts'

/** Sets attributes (binary strings) of paths below `directory`, never through a link. Rejects if any is refused. */
export async function setAttributes(
  directory: string,
  paths: ReadonlyMap<string, ReadonlyMap<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  if (paths.size === 0) return
  try {
    const result = await run('setfattr', ['--no-dereference', '--restore=-'], {
      input: dump(paths),
      cwd: directory,
      signal,
      timeoutMs: 120_000,
    })
    if (result.exitCode === 0) return
    throw new DroverError('unsupported', `setfattr: ${result.stderr.trim().split('\n')[0] ?? 'failed'}`)
  } catch (error) {
    if (!isCode(error, 'unsupported') || !(error instanceof DroverError) || error.cause === undefined) throw error
    throw new DroverError('unsupported', 'program setfattr not found; install the Debian package attr', {
      cause: error,
    })
  }
}

/** The form that getfattr --dump writes: names with octal escapes, values in base 64. */
function dump(paths: ReadonlyMap<string, ReadonlyMap<string, string>>): string {
  const lines: string[] = []
  for (const [path, attributes] of paths) {
    lines.push(`# file: ./${escapeName(path)}`)
    for (const [name, value] of attributes) lines.push(`${name}=0s${Buffer.from(value, 'latin1').toString('base64')}`)
    lines.push('')
  }
  return `${lines.join('\n')}\n`
}

function escapeName(binary: string): string {
  return binary.replace(/[^A-Za-z0-9_./+,:@%~-]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)
}
