import { describe, expect, it } from 'vitest'
import type { Deployment } from '../../src/api/deployment.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { DroverError } from '../../src/base/errors.ts'
import { kindByName, parseTargets } from '../../src/cli/context.ts'
import { exitCodeFor } from '../../src/cli/exit_code.ts'
import { parseDurationSeconds } from '../../src/cli/logs.ts'
import { rolloutState } from '../../src/cli/rollout_status.ts'
import { alignColumns } from '../../src/cli/table.ts'

const names = (words: string[]): string[] =>
  parseTargets(words).map(({ kind, name }) => (name === undefined ? kind.plural : `${kind.plural}/${name}`))

describe('targets', () => {
  it.each([
    [['pods'], ['pods']],
    [['po,svc'], ['pods', 'services']],
    [
      ['pod', 'a', 'b'],
      ['pods/a', 'pods/b'],
    ],
    [
      ['pod/a', 'deploy/b'],
      ['pods/a', 'deployments/b'],
    ],
    [['deployment.apps/web'], ['deployments/web']],
  ])('%j', (words, expected) => {
    expect(names(words)).toEqual(expected)
  })

  it('opens categories: all names every kind of it', () => {
    const all = KINDS.filter((kind) => kind.categories.includes('all')).map((kind) => kind.plural)
    expect(all).toEqual(expect.arrayContaining(['pods', 'services', 'deployments', 'replicasets']))
    expect(names(['all'])).toEqual(all)
  })

  it.each([[['widgets']], [['pod/a', 'b']], [['pod/']], [[]]])('refuses %j', (words) => {
    expect(() => parseTargets(words)).toThrow(DroverError)
  })

  it('names the types there are', () => {
    expect(() => kindByName('widget')).toThrow(/there is no resource type "widget"; there are: namespaces, nodes, pods/)
  })
})

describe('words', () => {
  it('reads durations', () => {
    expect(['30s', '5m', '2h', '90', '1d'].map(parseDurationSeconds)).toEqual([30, 300, 7200, 90, 86_400])
    expect(() => parseDurationSeconds('soon')).toThrow(/not a duration/)
  })

  it('aligns columns without trailing blanks', () => {
    expect(
      alignColumns([
        ['NAME', 'AGE'],
        ['a-long-name', '1s'],
        ['b', ''],
      ]),
    ).toEqual(['NAME          AGE', 'a-long-name   1s', 'b'])
  })

  it('ends with a code for each kind of failure', () => {
    expect([
      exitCodeFor('invalid'),
      exitCodeFor('notFound'),
      exitCodeFor('unavailable'),
      exitCodeFor('timeout'),
      exitCodeFor('conflict'),
    ]).toEqual([2, 3, 4, 5, 1])
  })
})

describe('rolloutState', () => {
  const state = (spec: object, status: object, generation = 1) =>
    rolloutState({
      metadata: { name: 'web', generation },
      spec: { replicas: 3, ...spec },
      status,
    } as unknown as Deployment)

  it.each([
    [{}, {}, 'Waiting for the change to be observed…', false],
    [{}, { observedGeneration: 1, updatedReplicas: 1, replicas: 4 }, /1 out of 3 new replicas/, false],
    [{}, { observedGeneration: 1, updatedReplicas: 3, replicas: 4 }, /1 old replicas are pending/, false],
    [{}, { observedGeneration: 1, updatedReplicas: 3, replicas: 3, availableReplicas: 2 }, /2 of 3 updated/, false],
    [
      {},
      { observedGeneration: 1, updatedReplicas: 3, replicas: 3, availableReplicas: 3 },
      /successfully rolled out/,
      true,
    ],
    [{ replicas: 0 }, { observedGeneration: 1 }, /successfully rolled out/, true],
  ])('%j %j', (spec, status, message, done) => {
    expect(state(spec, status).message).toMatch(message)
    expect(state(spec, status).done).toBe(done)
  })

  it('fails past the deadline', () => {
    const conditions = [{ type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded' }]
    expect(state({}, { observedGeneration: 1, conditions }).failed).toBe(true)
  })
})
