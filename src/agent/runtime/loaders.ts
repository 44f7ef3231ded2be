/**
 * Whether an image can run programs of the processor's 32-bit mode. The seccomp profile covers that mode only then:
 * the runtime compiles it anew for every container, and the second mode takes longer than all the rest of it (measured
 * with runc 1.1.5 and libseccomp 2.5.4: 6 to 8 ms of 25). Without it a 32-bit system call ends the program, so a 32-bit
 * program that is linked statically, or that comes from a volume, needs an image with the loader, or privileges.
 */
import { lstatSync } from 'node:fs'
import { join } from 'node:path'

/** Where the ABIs say that the loader is: by Node's `process.arch`. */
const LOADERS: Readonly<Record<string, readonly string[]>> = {
  x64: ['ld-linux.so.2', 'ld-musl-i386.so.1'],
  arm64: ['ld-linux-armhf.so.3', 'ld-linux.so.3', 'ld-musl-armhf.so.1'],
}
/** With merged directories `lib` is a link to the second. */
const PLACES = ['lib', 'usr/lib']

export function has32BitLoader(layerDirectories: readonly string[], architecture: string): boolean {
  const loaders = LOADERS[architecture] ?? []
  return layerDirectories.some((layer) =>
    PLACES.some((place) =>
      loaders.some((loader) => lstatSync(join(layer, place, loader), { throwIfNoEntry: false }) !== undefined),
    ),
  )
}
