import { describe, expect, test } from 'vitest'
import { SharedWork } from '../../src/agent/images/shared_work.ts'
import { resolveUserIn } from '../../src/agent/images/users.ts'

describe('shared work', () => {
  const gated = () => {
    let finish = (_value: string): void => undefined
    const signals: AbortSignal[] = []
    const work = (signal: AbortSignal, notify: (event: number) => void) => {
      signals.push(signal)
      notify(signals.length)
      return new Promise<string>((resolve, reject) => {
        finish = resolve
        signal.addEventListener('abort', () => reject(signal.reason))
      })
    }
    return { work, signals, finish: (value: string) => finish(value) }
  }
  const never = new AbortController().signal

  test('is done once for all who ask, and again for who asks later', async () => {
    const shared = new SharedWork<string, number>()
    const { work, signals, finish } = gated()
    const both = [shared.join('k', never, work), shared.join('k', never, work)]
    await Promise.resolve()
    finish('done')
    expect(await Promise.all(both)).toEqual(['done', 'done'])
    expect(signals).toHaveLength(1)
    const later = shared.join('k', never, work)
    finish('again')
    expect(await later).toBe('again')
  })

  test('ends with the last who leaves, and starts anew for the next', async () => {
    const shared = new SharedWork<string, number>()
    const { work, signals, finish } = gated()
    const [one, two] = [new AbortController(), new AbortController()]
    const first = shared.join('k', one.signal, work)
    const second = shared.join('k', two.signal, work)
    one.abort()
    await expect(first).rejects.toMatchObject({ code: 'cancelled' })
    expect(signals[0]?.aborted).toBe(false)
    two.abort()
    const third = shared.join('k', never, work)
    await expect(second).rejects.toMatchObject({ code: 'cancelled' })
    expect(signals[0]?.aborted).toBe(true)
    await new Promise(setImmediate)
    finish('new')
    expect(await third).toBe('new')
    expect(signals).toHaveLength(2)
  })

  test('the last who leaves hears of it when all has been cleared up', async () => {
    const shared = new SharedWork<string>()
    let clearUp: () => void = () => undefined
    const work = (own: AbortSignal) =>
      new Promise<string>((_, reject) => {
        own.addEventListener('abort', () => {
          clearUp = () => reject(new Error('stopped'))
        })
      })
    const [one, two] = [new AbortController(), new AbortController()]
    const left: string[] = []
    for (const [name, { signal }] of [['one', one] as const, ['two', two] as const]) {
      shared.join('k', signal, work).catch(({ code }) => left.push(`${name} ${code}`))
    }
    await new Promise(setImmediate)
    one.abort()
    two.abort()
    await new Promise(setImmediate)
    expect(left).toEqual(['one cancelled'])
    clearUp()
    await new Promise(setImmediate)
    expect(left).toEqual(['one cancelled', 'two cancelled'])
  })

  test('a failure is everyone’s, once', async () => {
    const shared = new SharedWork<string>()
    const work = () => Promise.reject(new Error('no'))
    const both = await Promise.allSettled([shared.join('k', never, work), shared.join('k', never, work)])
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    await expect(shared.join('k', never, () => Promise.resolve('yes'))).resolves.toBe('yes')
  })
})

describe('users', () => {
  const files = {
    passwd: [
      '# comment',
      'root:x:0:0:root:/root:/bin/sh',
      'ada:x:1000:100::/home/ada:',
      '1000:x:0:0::/root:',
      '2000:x:0:0::/root:',
      'bad:x:y:z::/:',
      '',
    ].join('\n'),
    group: [
      'root:x:0:root',
      'users:x:100:',
      'ada:x:1000:ada',
      'audio:x:29:root,ada',
      'video:x:44:ada',
      '3000:x:0:',
      'big:x:99999999999:ada',
      '',
    ].join('\n'),
  }
  test.each([
    ['', { uid: 0, gid: 0, additionalGids: [29], home: '/root' }],
    ['root', { uid: 0, gid: 0, additionalGids: [29], home: '/root' }],
    ['ada', { uid: 1000, gid: 100, additionalGids: [29, 44], home: '/home/ada' }],
    // Numbers are ids, though the files have names that look like them.
    ['1000', { uid: 1000, gid: 100, additionalGids: [29, 44], home: '/home/ada' }],
    ['2000', { uid: 2000, gid: 0, additionalGids: [], home: '/' }],
    ['1000:3000', { uid: 1000, gid: 3000, additionalGids: [29, 44], home: '/home/ada' }],
    ['0:3000', { uid: 0, gid: 3000, additionalGids: [29], home: '/root' }],
    // Which groups list a user does not depend on its primary one.
    ['ada:video', { uid: 1000, gid: 44, additionalGids: [29], home: '/home/ada' }],
    ['ada:7', { uid: 1000, gid: 7, additionalGids: [29, 44], home: '/home/ada' }],
    ['12:34', { uid: 12, gid: 34, additionalGids: [], home: '/' }],
    ['12:', { uid: 12, gid: 0, additionalGids: [], home: '/' }],
  ])('%j', (user, expected) => expect(resolveUserIn(files, user)).toEqual(expected))

  test.each([
    'nobody',
    'bad',
    'ada:nogroup',
    'a:b:c',
    '-1',
    '4294967295',
    'ada:4294967295',
    '99999999999',
    'ada:99999999999',
  ])('%j is refused', (user) => {
    expect(() => resolveUserIn(files, user)).toThrow(expect.objectContaining({ code: 'invalid' }))
  })
})
