/** Flags of `drover up`, read: pure. */
import { LABEL } from '../api/names.ts'
import { DroverError } from '../base/errors.ts'

export type LabelsByHost = (index: number) => Record<string, string>

const MAX_ZONES = 26

export function wholeNumber(text: string, option: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0)
    throw new DroverError('invalid', `${option} takes a whole number, not "${text}"`)
  return value
}

/** `1:topology.kubernetes.io/zone=a` labels host 1; without a number, all hosts. */
export function labelsByHost(flags: readonly string[]): LabelsByHost {
  const parsed = flags.map((flag) => {
    const match = /^(?:(\d+):)?([^=]+)=(.*)$/.exec(flag)
    if (match === null) throw new DroverError('invalid', `--label takes [HOST:]KEY=VALUE, not "${flag}"`)
    return { host: match[1] === undefined ? undefined : Number(match[1]), key: match[2] ?? '', value: match[3] ?? '' }
  })
  return (index) =>
    Object.fromEntries(
      parsed.filter(({ host }) => host === undefined || host === index).map(({ key, value }) => [key, value]),
    )
}

/** Hosts in turn in zones `a`, `b`, …; labels that are given win. */
export function withZones(zones: number, labels: LabelsByHost): LabelsByHost {
  if (zones < 1 || zones > MAX_ZONES) throw new DroverError('invalid', `--zones takes a number from 1 to ${MAX_ZONES}`)
  return (index) => ({ [LABEL.zone]: String.fromCharCode(97 + ((index - 1) % zones)), ...labels(index) })
}
