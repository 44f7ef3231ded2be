/** A pod's own resolver settings. Source: Kubernetes v1 `PodDNSConfig`, "DNS for Services and Pods". */
import { isIP } from 'node:net'
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { object, opt, text } from './schema.ts'

export const PodDnsConfig = object({
  nameservers: opt(Type.Array(text)),
  searches: opt(Type.Array(text)),
  options: opt(Type.Array(object({ name: opt(text), value: opt(text) }))),
})
export type PodDnsConfig = Static<typeof PodDnsConfig>

/** What the C libraries read of it; Kubernetes' own bounds. */
const MAX_NAMESERVERS = 3
const MAX_SEARCHES = 32
const MAX_SEARCH_CHARACTERS = 2_048
const SEARCH_DOMAIN =
  /^(?=.{1,254}$)(\.|[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?)$/

/** `path` is the pod spec's. Every value becomes a word of one line of resolv.conf, so none may hold white space. */
export function validatePodDns(
  { dnsPolicy, dnsConfig }: { dnsPolicy?: string; dnsConfig?: PodDnsConfig },
  path: string,
): FieldError[] {
  const errors: FieldError[] = []
  const invalid = (field: string, message: string): void => {
    errors.push({ path: `${path}.dnsConfig.${field}`, reason: 'Invalid', message })
  }
  const { nameservers = [], searches = [], options = [] } = dnsConfig ?? {}
  if (dnsPolicy === 'None' && nameservers.length === 0) {
    const message = 'with dnsPolicy None the pod needs at least one name server'
    errors.push({ path: `${path}.dnsConfig.nameservers`, reason: 'Required', message })
  }
  if (nameservers.length > MAX_NAMESERVERS) invalid('nameservers', `at most ${MAX_NAMESERVERS}`)
  for (const [index, address] of nameservers.entries()) {
    if (isIP(address) === 0) invalid(`nameservers[${index}]`, `"${address}" is not an IP address`)
  }
  if (searches.length > MAX_SEARCHES || searches.join(' ').length > MAX_SEARCH_CHARACTERS) {
    invalid('searches', `at most ${MAX_SEARCHES} domains of ${MAX_SEARCH_CHARACTERS} characters together`)
  }
  for (const [index, domain] of searches.entries()) {
    if (!SEARCH_DOMAIN.test(domain)) invalid(`searches[${index}]`, `"${domain}" is not a domain`)
  }
  for (const [index, { name = '', value = '' }] of options.entries()) {
    if (name === '') {
      errors.push({ path: `${path}.dnsConfig.options[${index}].name`, reason: 'Required', message: 'name the option' })
    } else if (/[\s:]/.test(name) || /\s/.test(value)) invalid(`options[${index}]`, 'must not hold white space')
  }
  return errors
}
