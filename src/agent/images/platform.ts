/** Which of an index's images this machine runs. Pure. */
import { DroverError } from '../../base/errors.ts'
import type { Descriptor, Platform } from './manifest.ts'

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
}

/** The platform of a Node process, in the words of images (Go's). */
export function machinePlatform(nodeArchitecture: string): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[nodeArchitecture] ?? nodeArchitecture, variant: '' }
}

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter((part) => part !== '').join('/')
}

export function runsOn(platform: Platform, machine: Platform): boolean {
  const known = platform.architecture !== '' && platform.os !== ''
  return !known || (platform.os === machine.os && platform.architecture === machine.architecture)
}

/**
 * The best match, by variant: none or the baseline before the newest. Where nothing matches, all that do not say what they
 * are for: their configurations must tell. Throws `notFound` with what there is.
 */
export function candidatesFor(
  manifests: readonly Descriptor[],
  machine: Platform,
  where: string,
): [Descriptor, ...Descriptor[]] {
  const candidates = manifests.filter(
    ({ platform }) => platform !== undefined && platform.os !== '' && runsOn(platform, machine),
  )
  const rank = ({ platform }: Descriptor): number => {
    const variant = platform?.variant ?? ''
    if (variant === machine.variant) return 0
    if (variant === '' || (machine.architecture === 'arm64' && variant === 'v8')) return 1
    // amd64/v3 or arm/v7 may be more than this machine has: the lowest number is the safest.
    return 2 + (Number(variant.replace(/^v/, '')) || 0)
  }
  const [best] = [...candidates].sort((a, b) => rank(a) - rank(b))
  if (best !== undefined) return [best]
  const [first, ...others] = manifests.filter(({ platform }) => platform === undefined)
  if (first !== undefined) return [first, ...others]
  throw noneFor(
    machine,
    manifests.flatMap(({ platform }) => platform ?? []),
    where,
  )
}

export function noneFor(machine: Platform, offered: readonly Platform[], where: string): DroverError {
  const names = new Set(offered.map(formatPlatform))
  const list = [...names].filter((name) => !name.startsWith('unknown')).join(', ') || 'none'
  return new DroverError('notFound', `${where} has no image for ${formatPlatform(machine)}; it has: ${list}`)
}
