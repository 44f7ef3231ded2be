import { expect, test } from 'vitest'
import { observeNode } from '../../src/agent/node_facts.ts'
import { nodeFiles } from '../../src/agent/node_files.ts'

test('a node says which handlers it offers, which not, and why', async () => {
  const node = await observeNode({
    nodeName: 'n1',
    nodeAddress: '192.0.2.1',
    labels: {},
    taints: [],
    capacity: {},
    dataDir: '/',
    files: { ...nodeFiles, read: async () => '' },
    version: 'v0',
    runtimeVersion: 'runc://1.3.3',
    handlers: [
      { name: 'runc', version: 'runc://1.3.3' },
      { name: 'crun', version: 'crun://1.8.1', problem: 'it takes no such host' },
    ],
  })
  expect(node.metadata.labels).toMatchObject({
    'runtime.drover.dev/runc': 'true',
    'runtime.drover.dev/crun': 'false',
  })
  expect(node.status?.runtimeHandlers).toEqual([{ name: 'runc' }])
  expect(node.status?.handlerProblems).toEqual({ crun: 'it takes no such host' })
})
