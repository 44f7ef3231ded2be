/** The roles' options: what takes several values is read as several, also when one is given. */
import { Command } from 'commander'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { parseHandlers } from '../../src/bin/agent.ts'
import { registerRoles } from '../../src/bin/roles.ts'

test('an option that is shown with "…" takes a list', () => {
  const program = new Command()
  const { stdin, stdout, stderr } = process
  registerRoles(program, { stdin, stdout, stderr, env: {}, clock: systemClock, signal: AbortSignal.abort() }, '0')
  const several = program.commands.flatMap((role) => role.options.filter(({ flags }) => flags.includes('...')))
  expect(several.map(({ long }) => long)).toContain('--advertise')
  expect(several.filter(({ variadic }) => !variadic).map(({ flags }) => flags)).toEqual([])
})

test('runtime handlers are given as NAME=PROGRAM', () => {
  expect(parseHandlers(['kata=/usr/bin/kata', 'crun=/opt/crun=2'])).toEqual({
    kata: '/usr/bin/kata',
    crun: '/opt/crun=2',
  })
  for (const wrong of ['kata', '=x', 'kata=', 'Kata=/usr/bin/kata', 'a/b=c']) {
    expect(() => parseHandlers([wrong]), wrong).toThrow('--runtime-handler takes NAME=PROGRAM')
  }
})
