/** What administrators ask of a server about the keys of secrets. Answers of `drover.dev/v1`. */

export interface SecretKeysStatus {
  /** Encrypts what is written. */
  current: string
  /** All that can be read with; the first is `current`. */
  keys: string[]
  /** Stored Secrets by the key that they are encrypted with; `''` for those that are not. */
  secrets: Record<string, number>
}

export interface RotationResult {
  key: string
  /** Secrets that were written anew. */
  rewritten: number
  /** Servers that have the key. */
  servers: number
}

export interface SecretKeysPort {
  status(): Promise<SecretKeysStatus>
  rotate(): Promise<RotationResult>
}
