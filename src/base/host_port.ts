import { isIP } from 'node:net'

/** `192.0.2.7:80`, or `[2001:db8::7]:80`: an address of IPv6 needs brackets before a port. Source: RFC 3986 §3.2.2. */
export function hostPort(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}
