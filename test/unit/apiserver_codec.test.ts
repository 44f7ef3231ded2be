/** Bodies and media types: what is read, what is refused and where the fault is said to be. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBody, negotiateForm, parseJson } from '../../src/apiserver/codec.ts'
import { findJsonFault } from '../../src/apiserver/json_fault.ts'
import { decodeKubernetesProtobuf } from '../../src/apiserver/protobuf_body.ts'
import { ProtoWriter, readFields } from '../../src/apiserver/protobuf_wire.ts'

const accepts = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe('JSON', () => {
  it('is said to be wrong where it is', () => {
    const cases: [string, number, number, string][] = [
      ['{"a":1,}', 1, 8, 'a name in double quotes'],
      ['{"a":1', 1, 7, 'the end'],
      ['{\n  "a": tru\n}', 2, 8, 'a value'],
      ['{"a" 1}', 1, 6, '":"'],
      ['[1 2]', 1, 4, '"," or "]"'],
      ['{"a":"x\ny"}', 1, 6, 'not closed'],
      ['{} x', 1, 4, 'nothing may follow'],
    ]
    for (const [text, line, column, message] of cases) {
      const fault = findJsonFault(text)
      expect([text, fault.line, fault.column]).toEqual([text, line, column])
      expect(fault.message).toContain(message)
    }
  })

  it('has a fault wherever JSON.parse finds one', () => {
    const broken = fc.tuple(fc.json(), fc.nat(), fc.constantFrom('', '{', '"', ',', ']', '\\', 'x', '\u0001'))
    fc.assert(
      fc.property(broken, ([text, at, extra]) => {
        const cut = at % (text.length + 1)
        const changed = text.slice(0, cut) + extra + text.slice(cut + 1)
        fc.pre(!accepts(changed))
        expect(findJsonFault(changed).message).not.toBe('cannot be read')
      }),
    )
  })

  it('survives any depth', () => {
    expect(() => parseJson('['.repeat(100_000))).toThrow(/nested too deeply/)
    expect(() => parseJson('['.repeat(300))).toThrow(/nested too deeply/)
  })
})

describe('YAML', () => {
  it.each([
    ['lists', '['.repeat(5_000)],
    ['objects', '{a: '.repeat(5_000)],
    ['lists in lines', `${'- '.repeat(5_000)}1e5`],
    ['keys', '? '.repeat(5_000)],
    ['lines', Array.from({ length: 300 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
    ['just one level', `${'['.repeat(101)}${']'.repeat(101)}`],
  ])('is refused when it is nested too deeply: %s', (_, text) => {
    expect(() => decodeBody(Buffer.from(text), 'application/yaml')).toThrow(/nested deeper than 100 levels/)
  })

  it('may be nested as deeply as JSON', () => {
    const text = `${'- '.repeat(99)}a`
    const json = `${'['.repeat(99)}"a"${']'.repeat(99)}`
    expect(decodeBody(Buffer.from(text), 'application/yaml')).toEqual(decodeBody(Buffer.from(json), 'application/json'))
    const lines = Array.from({ length: 99 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')
    expect(decodeBody(Buffer.from(`${lines} 1`), 'application/yaml')).toBeTypeOf('object')
  })

  it('is read, with its faults placed', () => {
    expect(decodeBody(Buffer.from('a: [1, "2"]\nb: {c: true}'), 'application/yaml')).toEqual({
      a: [1, '2'],
      b: { c: true },
    })
    expect(() => decodeBody(Buffer.from('a: 1\nb: [2'), 'application/yaml')).toThrow(/line 2, column/)
    expect(() => decodeBody(Buffer.from('a: 1\na: 2'), 'application/yaml')).toThrow(/line 2/)
  })

  it('does not unfold aliases without end', () => {
    const rows = Array.from({ length: 9 }, (_, i) => `x${i + 1}: &x${i + 1} [${`*x${i},`.repeat(9)}]`)
    const bomb = ['x0: &x0 [a,a,a,a,a,a,a,a,a]', ...rows].join('\n')
    expect(() => decodeBody(Buffer.from(bomb), 'application/yaml')).toThrow(/too many aliases/)
  })
})

describe('protobuf', () => {
  const envelope = (kind: string, raw: ProtoWriter): Buffer =>
    Buffer.concat([
      Buffer.from('k8s\0'),
      new ProtoWriter()
        .message(1, new ProtoWriter().string(1, 'v1').string(2, kind))
        .message(2, raw)
        .string(3, '')
        .finish(),
    ])

  it('becomes the JSON that the client would have sent', () => {
    const entry = (key: string, value: string): ProtoWriter => new ProtoWriter().string(1, key).string(2, value)
    const meta = new ProtoWriter()
      .string(1, 'm')
      .string(2, '')
      .message(8, new ProtoWriter())
      .message(11, entry('l', ''))
    const map = new ProtoWriter().message(1, meta).message(2, entry('a', 'b')).message(2, entry('c', ''))
    expect(decodeKubernetesProtobuf(envelope('ConfigMap', map))).toEqual({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'm', labels: { l: '' } },
      data: { a: 'b', c: '' },
    })
  })

  it('is bounded in members and items as every body is', () => {
    // A container of no content takes two bytes: its number and its length. (Text goes out as the same bytes.)
    const containers = (count: number): Buffer => envelope('Pod', new ProtoWriter().string(2, '\x12\x00'.repeat(count)))
    expect(decodeKubernetesProtobuf(containers(90_000))).toMatchObject({ kind: 'Pod' })
    expect(() => decodeKubernetesProtobuf(containers(110_000))).toThrow(/more than 100000 members and items/)
    // One entry of a map whose value is said again and again.
    const map = envelope('ConfigMap', new ProtoWriter().string(2, '\x12\x00'.repeat(110_000)))
    expect(() => decodeKubernetesProtobuf(map)).toThrow(/more than 100000 members and items/)
  })

  it('keeps a zero that is meant and puts inlined fields into their parent', () => {
    expect(decodeKubernetesProtobuf(envelope('ConfigMap', new ProtoWriter().bool(4, false)))).toMatchObject({
      immutable: false,
    })
    const source = new ProtoWriter().message(2, new ProtoWriter())
    const volume = new ProtoWriter().string(1, 'v').message(2, source)
    const pod = new ProtoWriter().message(2, new ProtoWriter().message(1, volume))
    expect(decodeKubernetesProtobuf(envelope('Pod', pod))).toMatchObject({
      spec: { volumes: [{ name: 'v', emptyDir: {} }] },
    })
  })

  it('knows the parts of pods that came later, and leases to the microsecond', () => {
    const exec = new ProtoWriter().message(1, new ProtoWriter().string(1, 'sync'))
    const lifecycle = new ProtoWriter().message(2, exec)
    const container = new ProtoWriter().string(1, 'c').message(12, lifecycle)
    const token = new ProtoWriter().string(3, 'token')
    const projected = new ProtoWriter().message(1, new ProtoWriter().message(4, token))
    const volume = new ProtoWriter().string(1, 'v').message(2, new ProtoWriter().message(26, projected))
    const dns = new ProtoWriter().string(1, '10.0.0.1')
    const spec = new ProtoWriter().message(1, volume).message(2, container).message(26, dns)
    expect(decodeKubernetesProtobuf(envelope('Pod', new ProtoWriter().message(2, spec)))).toMatchObject({
      spec: {
        volumes: [{ name: 'v', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }],
        containers: [{ name: 'c', lifecycle: { preStop: { exec: { command: ['sync'] } } } }],
        dnsConfig: { nameservers: ['10.0.0.1'] },
      },
    })
    // Seconds and nanoseconds, as varints.
    const time = Buffer.from([0x08, 0x80, 0xa3, 0xd6, 0xca, 0x06, 0x10, 0xc0, 0x84, 0x3d])
    const lease = new ProtoWriter().message(2, new ProtoWriter().string(1, 'me').bytes(4, time))
    const { spec: read } = decodeKubernetesProtobuf(envelope('Lease', lease)) as { spec: Record<string, string> }
    expect(read.holderIdentity).toBe('me')
    expect(read.renewTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.001000Z$/)
  })

  it('refuses by name what it does not know', () => {
    const gate = new ProtoWriter().message(2, new ProtoWriter().message(38, new ProtoWriter().string(1, 'x')))
    expect(() => decodeKubernetesProtobuf(envelope('Pod', gate))).toThrow(/field schedulingGates of PodSpec/)
    expect(() => decodeKubernetesProtobuf(envelope('Pod', new ProtoWriter().string(99, 'x')))).toThrow(
      /number 99 of Pod/,
    )
    expect(() => decodeKubernetesProtobuf(envelope('Gadget', new ProtoWriter()))).toThrow(/v1 Gadget/)
    expect(() => decodeKubernetesProtobuf(Buffer.from('{}'))).toThrow(/does not begin with/)
  })

  it('answers any bytes with a result or a coded error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const kind of ['Pod', 'Deployment', 'Service']) {
          const body = Buffer.concat([
            Buffer.from('k8s\0'),
            new ProtoWriter()
              .message(1, new ProtoWriter().string(1, 'v1').string(2, kind))
              .bytes(2, Buffer.from(bytes))
              .finish(),
          ])
          try {
            decodeKubernetesProtobuf(body)
          } catch (error) {
            expect(error).toHaveProperty('code')
          }
        }
      }),
    )
  })

  it('writes what it reads', () => {
    const pairs = fc.array(fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.string()))
    fc.assert(
      fc.property(pairs, (given) => {
        const writer = new ProtoWriter()
        for (const [number, text] of given) writer.string(number, text)
        const read = [...readFields(writer.finish())]
        expect(read.map((field) => [field.number, 'bytes' in field ? field.bytes.toString() : ''])).toEqual(given)
      }),
    )
  })
})

describe('Accept', () => {
  it('is answered in the client’s order', () => {
    const table = 'application/json;as=Table;v=v1;g=meta.k8s.io'
    const cases: [string | undefined, object][] = [
      [undefined, { as: 'object' }],
      ['application/json, */*', { as: 'object' }],
      ['application/vnd.kubernetes.protobuf, */*', { as: 'object' }],
      [`${table},application/json`, { as: 'table', version: 'v1' }],
      [`application/json, ${table}`, { as: 'object' }],
      ['application/json;as=Table;v=v1beta1;g=meta.k8s.io', { as: 'table', version: 'v1beta1' }],
      ['application/json;as=Table;v=v9;g=meta.k8s.io,application/json', { as: 'object' }],
      ['application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io', { as: 'metadata' }],
    ]
    for (const [accept, form] of cases) expect([accept, negotiateForm(accept)]).toEqual([accept, form])
    expect(() => negotiateForm('text/html')).toThrow(/application\/json/)
  })
})
