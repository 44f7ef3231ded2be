/**
 * Services by what they select: finds the services of a pod by its labels, not by walking all services. A service is
 * filed under one pair of its selector; a pod is looked up under each of its pairs.
 */
import { matchesLabels } from '../api/selector.ts'

type Labels = Readonly<Record<string, string>>

interface Entry {
  key: string
  selector: Labels
}

export class SelectorIndex {
  readonly #buckets = new Map<string, Map<string, Entry>>()
  readonly #bucketOf = new Map<string, string>()

  put(namespace: string, key: string, selector: Labels | undefined): void {
    this.remove(key)
    const pair = Object.entries(selector ?? {})[0]
    if (selector === undefined || pair === undefined) return
    const name = bucketName(namespace, ...pair)
    const bucket = this.#buckets.get(name) ?? new Map<string, Entry>()
    bucket.set(key, { key, selector })
    this.#buckets.set(name, bucket)
    this.#bucketOf.set(key, name)
  }

  remove(key: string): void {
    const name = this.#bucketOf.get(key)
    if (name === undefined) return
    this.#bucketOf.delete(key)
    const bucket = this.#buckets.get(name)
    bucket?.delete(key)
    if (bucket?.size === 0) this.#buckets.delete(name)
  }

  /** Keys of the services that select these labels. */
  matching(namespace: string, labels: Labels | undefined): string[] {
    const keys: string[] = []
    for (const pair of Object.entries(labels ?? {})) {
      for (const { key, selector } of this.#buckets.get(bucketName(namespace, ...pair))?.values() ?? []) {
        if (matchesLabels(selector, labels)) keys.push(key)
      }
    }
    return keys
  }
}

/** Neither names nor labels hold a space. */
const bucketName = (namespace: string, key: string, value: string): string => `${namespace} ${key} ${value}`
