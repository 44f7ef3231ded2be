/** The install script on a staged root: what it puts where, that it can be repeated, and that it leaves nothing. */
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DROVER, output, ROOT, runProgram } from '../support/local_cluster.ts'

const INSTALL = join(ROOT, 'deploy/install.sh')
const TOKEN = `drover1.${'a'.repeat(64)}.abc123.${'0'.repeat(32)}`
let root: string

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'drvt-install-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const install = (...args: string[]) => runProgram(INSTALL, ['--root', root, ...args])
const modeOf = (path: string): number => lstatSync(join(root, path)).mode & 0o777
const text = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Every path below the root with its inode: what a repetition must not touch. */
function inodes(directory = root): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    return entry.isDirectory() ? inodes(path) : [`${path} ${lstatSync(path).ino}`]
  })
}

describe('deploy/install.sh', () => {
  test('installs an agent; the token is not among the arguments', async () => {
    const { code, stderr } = await install(
      '--role',
      'agent',
      '--join',
      TOKEN,
      '--server',
      '10.0.0.5:6444',
      '--label',
      'zone=a',
    )
    expect([code, stderr]).toEqual([0, ''])
    expect(text('etc/drover/join-token')).toBe(`${TOKEN}\n`)
    expect(text('etc/drover/agent.env')).toBe(
      'DROVER_AGENT_ARGS=--manage-sysctls --join /etc/drover/join-token --server 10.0.0.5:6444 --label zone=a\n',
    )
    expect([modeOf('etc/drover/join-token'), modeOf('etc/drover/agent.env')]).toEqual([0o600, 0o600])
    expect(readlinkSync(join(root, 'usr/local/bin/drover'))).toBe('/opt/drover/drover')
    expect(existsSync(join(root, 'etc/systemd/system/drover-agent.service'))).toBe(true)
    expect(existsSync(join(root, 'etc/systemd/system/drover-server.service'))).toBe(false)
  })

  test('what it installed runs, without what only builds and tests need', async () => {
    const node = join(root, 'opt/drover/bin/node')
    const version = await output(process.execPath, [DROVER, '--version'])
    expect(await output(node, [join(root, 'opt/drover/dist/drover.js'), '--version'])).toBe(version)
    // A role loads every package that it needs.
    const refused = await runProgram(node, [join(root, 'opt/drover/dist/drover.js'), 'server', '--listen', 'nonsense'])
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/--listen takes HOST:PORT/)])
    expect(readdirSync(join(root, 'opt/drover/node_modules'))).not.toContain('vitest')
    expect(readdirSync(join(root, 'opt/drover/node_modules'))).not.toContain('typescript')
  })

  test('a second run changes nothing; a server beside the agent adds only itself', async () => {
    const before = inodes()
    expect((await install('--role', 'agent')).code).toBe(0)
    expect(inodes().join('\n') === before.join('\n')).toBe(true)
    expect((await install('--role', 'server', '--advertise', '10.0.0.5')).code).toBe(0)
    expect(text('etc/drover/server.env')).toBe('DROVER_SERVER_ARGS=--advertise 10.0.0.5\n')
    const after = new Set(inodes())
    expect(before.filter((line) => !after.has(line))).toEqual([])
  })

  test('the units are what systemd takes', async () => {
    for (const role of ['server', 'agent']) {
      const unit = join(root, `drover-${role}.service`)
      // Where it will be, it is not yet.
      const program = join(root, 'opt/drover/drover')
      writeFileSync(unit, text(`etc/systemd/system/drover-${role}.service`).replace('/usr/local/bin/drover', program))
      const { code, stdout, stderr } = await runProgram('systemd-analyze', ['verify', unit])
      expect([code, stdout, stderr]).toEqual([0, '', ''])
      rmSync(unit)
    }
  })

  test('refuses what it cannot do, in words', async () => {
    const cases: [string[], RegExp][] = [
      [['--role', 'king'], /--role server or --role agent/],
      [['--role', 'server', '--join', TOKEN], /--join is for --role agent/],
      [['--role', 'agent', '--join', '$(reboot)', '--server', 'x:1'], /characters that cannot stand here/],
      [['--frobnicate'], /no option --frobnicate/],
      [['--role'], /--role takes a value/],
    ]
    for (const [args, words] of cases) {
      const { code, stderr } = await install(...args)
      expect([code, stderr]).toEqual([2, expect.stringMatching(words)])
    }
    const empty = mkdtempSync(join(tmpdir(), 'drvt-install-'))
    const { code, stderr } = await runProgram(INSTALL, ['--root', empty, '--role', 'agent'])
    rmSync(empty, { recursive: true })
    expect([code, stderr]).toEqual([2, expect.stringMatching(/takes --join TOKEN and --server HOST:PORT/)])
  })

  test('takes everything away again', async () => {
    expect((await install('--uninstall', '--purge')).code).toBe(0)
    expect(inodes()).toEqual([])
  })
})
