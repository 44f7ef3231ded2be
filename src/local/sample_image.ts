/**
 * The sample's image, built on the spot from the machine's static busybox: a root file system as a tar, so that the
 * first cluster works without a registry.
 */
import { readFileSync } from 'node:fs'
import { type Pack, pack } from 'tar-stream'
import { DroverError } from '../base/errors.ts'
import { run, runOk } from '../base/process.ts'

export const SAMPLE_IMAGE = 'drover.local/hello:1'

const BUSYBOX_PATHS = ['/bin/busybox', '/usr/bin/busybox']

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
}

function findBusybox(): Buffer {
  for (const path of BUSYBOX_PATHS) {
    try {
      return readFileSync(path)
    } catch {
      // The next place.
    }
  }
  throw new DroverError('notFound', 'busybox is not on this machine; mend: apt-get install busybox-static')
}

/** A tar of the root file system. */
export async function sampleRootfs(): Promise<Pack> {
  const busybox = findBusybox()
  const probe = await run('ldd', [BUSYBOX_PATHS[0] as string]).catch(() => undefined)
  if (probe?.exitCode === 0) {
    throw new DroverError('unsupported', 'this busybox is not static; mend: apt-get install busybox-static')
  }
  const applets = (await runOk('busybox', ['--list'])).split('\n').filter((name) => name !== '' && name !== 'busybox')
  const archive = pack()
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'var', 'www']) {
    archive.entry({ name: `${name}/`, type: 'directory', mode: 0o755 })
  }
  archive.entry({ name: 'tmp/', type: 'directory', mode: 0o1777 })
  archive.entry({ name: 'bin/busybox', mode: 0o755 }, busybox)
  for (const applet of applets) archive.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' })
  for (const [name, content] of Object.entries(FILES)) archive.entry({ name, mode: 0o644 }, content)
  archive.finalize()
  return archive
}
