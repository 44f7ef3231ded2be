/** What a session sends to a node that reads, one that does not, and one that was left behind. */
import { expect, test } from 'vitest'
import { Desired } from '../../src/agent/desired.ts'
import { RowTable } from '../../src/dispatch/row_table.ts'
import { NodeSession } from '../../src/dispatch/session.ts'
import type { MessageStream } from '../../src/rpc/message_stream.ts'
import type { AgentMessage, ServerMessage, TableChanges } from '../../src/rpc/messages.ts'

/** A connection that takes messages when told. */
class Wire implements MessageStream<AgentMessage, ServerMessage> {
  readonly waiting: { message: ServerMessage; taken: () => void }[] = []
  write(message: ServerMessage, onTaken?: () => void): void {
    this.waiting.push({ message, taken: onTaken ?? (() => undefined) })
  }
  take(): TableChanges | undefined {
    const next = this.waiting.shift()
    next?.taken()
    return next?.message.type === 'changes' ? next.message : undefined
  }
  get bytes(): number {
    return this.waiting.reduce((sum, { message }) => {
      if (message.type !== 'changes') return sum
      return sum + message.changes.reduce((total, { json }) => total + json.length, 0)
    }, 0)
  }
  end(): void {}
  close(): void {}
  onMessage(): void {}
  onEnd(): void {}
  onClose(): void {}
  pause(): void {}
  resume(): void {}
}

const row = (value: number, size = 20): Buffer => Buffer.from(JSON.stringify({ value, pad: 'x'.repeat(size) }))

function setUp(maxLogBytes?: number) {
  const services = new RowTable(1, maxLogBytes)
  const wire = new Wire()
  const session = new NodeSession({ nodeName: 'n', bootId: 'b', stream: wire, tables: [['services', services]] })
  const desired = new Desired()
  const deliverAll = (): void => {
    for (let message = wire.take(); message !== undefined; message = wire.take()) {
      expect(desired.apply(message)).not.toBe('outOfSequence')
    }
  }
  const values = () => (desired.services() as unknown as { value: number }[]).map(({ value }) => value)
  return { services, wire, session, desired, deliverAll, values }
}

test('a COMPLETE, then increments that chain', () => {
  const { services, session, deliverAll, values, desired } = setUp()
  session.pump()
  deliverAll()
  expect(desired.known('services')).toBe(true)
  services.apply([['service/a', row(1)]])
  session.pump()
  services.apply([
    ['service/a', row(2)],
    ['service/b', row(3)],
  ])
  session.pump()
  deliverAll()
  expect(values()).toEqual([2, 3])
  services.apply([['service/a', undefined]])
  session.pump()
  deliverAll()
  expect(values()).toEqual([3])
})

test('a node that does not read is sent a bounded amount, and the newest when it reads again', () => {
  const { services, wire, session, deliverAll, values } = setUp()
  session.pump()
  deliverAll()
  for (let round = 0; round < 500; round++) {
    services.apply([['service/a', row(round, 50_000)]])
    session.pump()
    expect(wire.bytes).toBeLessThan(3 << 20)
  }
  expect(wire.waiting.length).toBeLessThan(50)
  deliverAll()
  expect(values()).toEqual([499])
})

test('a node that fell out of the log gets the whole table', () => {
  const { services, wire, session, desired, deliverAll, values } = setUp(200)
  session.pump()
  deliverAll()
  for (let round = 0; round < 10; round++) services.apply([[`service/${round}`, row(round)]])
  services.apply([['service/0', undefined]])
  session.pump()
  expect(wire.waiting.map(({ message }) => message)).toMatchObject([{ type: 'changes', complete: true, last: true }])
  deliverAll()
  expect(values()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(desired.sequence('services')).toBe(services.sequence)
})

test('an increment that does not chain is refused, and a resync mends it', () => {
  const { services, wire, session, desired, deliverAll, values } = setUp()
  session.pump()
  deliverAll()
  services.apply([['service/a', row(1)]])
  session.pump()
  wire.take()
  services.apply([['service/b', row(2)]])
  session.pump()
  const lost = wire.take() as TableChanges
  expect(desired.apply(lost)).toBe('outOfSequence')
  session.resync('services')
  deliverAll()
  expect(values()).toEqual([1, 2])
})

test('a COMPLETE in parts holds only when its last part has come', () => {
  const { services, wire, session, desired } = setUp()
  services.apply([0, 1, 2].map((index) => [`service/${index}`, row(index, 400_000)] as const))
  session.pump()
  const parts = wire.waiting.map(({ message }) => message as TableChanges)
  expect(parts.length).toBeGreaterThan(1)
  for (const part of parts.slice(0, -1)) {
    expect(desired.apply(part)).toBe('staged')
    expect(desired.services()).toEqual([])
  }
  expect(desired.apply(parts.at(-1) as TableChanges)).toBe('applied')
  expect(desired.services()).toHaveLength(3)
})
