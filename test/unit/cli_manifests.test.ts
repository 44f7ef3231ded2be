import { describe, expect, it } from 'vitest'
import { parseManifests } from '../../src/cli/manifests.ts'

const message = (text: string): string => {
  try {
    parseManifests(text, 'web.yaml')
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('accepted')
}

describe('parseManifests', () => {
  it('reads several documents, skips empty ones and opens lists', () => {
    const text = `
# only a comment
---
apiVersion: v1
kind: ConfigMap
metadata: { name: a }
---
---
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Secret, metadata: { name: b } }
  - { apiVersion: apps/v1, kind: Deployment, metadata: { name: c } }
`
    const found = parseManifests(text, 'x').map(({ kind, object }) => `${kind.kind}/${object.metadata.name}`)
    expect(found).toEqual(['ConfigMap/a', 'Secret/b', 'Deployment/c'])
  })

  it.each([
    ['broken YAML', 'apiVersion: v1\nkind: [ConfigMap\nmetadata:\n  name: a\n', /^web\.yaml:\d+:\d+: not valid YAML/],
    [
      'an unknown kind',
      'apiVersion: v1\nkind: Widget\nmetadata: {name: a}',
      /web\.yaml:1: unknown kind Widget of v1; Drover has: Namespace/,
    ],
    [
      'a wrong version',
      'apiVersion: v1\nkind: Deployment\nmetadata: {name: a}',
      /did you mean Deployment of apps\/v1\?/,
    ],
    ['no kind', 'metadata: {name: a}', /web\.yaml:1: an object needs apiVersion and kind/],
    ['no name', 'a: 1\n---\napiVersion: v1\nkind: Pod\n'.slice(9), /needs metadata\.name/],
    [
      'a bomb of aliases',
      `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]`,
      /alias/i,
    ],
  ])('refuses %s and says where', (_title, text, expected) => {
    expect(message(text)).toMatch(expected)
  })
})
