import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readPackets } from '../../src/agent/runtime/attach_client.ts'
import { parseHierarchies } from '../../src/agent/runtime/cgroups.ts'
import { parseReport } from '../../src/agent/runtime/conmon.ts'
import { hasContainerEscape, plainMessage, refused, runtimeError } from '../../src/agent/runtime/oci_runtime.ts'
import { plainLowerDirectories } from '../../src/agent/runtime/overlay.ts'
import { isId } from '../../src/agent/runtime/paths.ts'
import { exitRecord, judge, startErrorRecord } from '../../src/agent/runtime/state.ts'
import { parseResize } from '../../src/agent/runtime/stream_pump.ts'
import { mountsBelow, parseMountinfo } from '../../src/base/mountinfo.ts'

describe('what a container is', () => {
  const running = { started: true, initAlive: true, conmonAlive: true, exitFile: false, waitsForStart: false }

  it('follows from its records and processes', () => {
    expect(judge(running)).toBe('running')
    expect(judge({ ...running, started: false })).toBe('created')
    expect(judge({ ...running, waitsForStart: true })).toBe('created')
    expect(judge({ ...running, exitFile: true })).toBe('exited')
    // Dead, its exit file on the way.
    expect(judge({ ...running, initAlive: false })).toBe('running')
    expect(judge({ ...running, initAlive: false, conmonAlive: false })).toBe('lost')
    expect(judge({ ...running, conmonAlive: false })).toBe('running')
  })

  it('never reports an end while init lives and no exit file is there', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.boolean(), fc.boolean(), (started, conmonAlive, waitsForStart) => {
        const verdict = judge({ started, initAlive: true, conmonAlive, exitFile: false, waitsForStart })
        expect(['created', 'running']).toContain(verdict)
      }),
    )
  })

  it('reads signals from exit codes as a shell writes them', () => {
    expect(exitRecord(0, 3, 7)).toEqual({ code: 0, oomKilled: false, finishedAtMs: 7 })
    expect(exitRecord(137, 1, 7)).toEqual({ code: 137, signal: 9, oomKilled: true, finishedAtMs: 7 })
    expect(exitRecord(255, undefined, 7)).toEqual({ code: 255, oomKilled: false, finishedAtMs: 7 })
  })
})

describe('what other programs say', () => {
  it('takes the message from runc’s log line', () => {
    const said =
      'time="2026-11-21T02:12:29Z" level=warning msg="ignored"\ntime="2026-11-21T02:12:29Z" level=error msg="runc run failed: exec: \\"/x\\": stat /x: no such file or directory"'
    expect(plainMessage(said)).toBe('runc run failed: exec: "/x": stat /x: no such file or directory')
    expect(plainMessage('plain words\n')).toBe('plain words')
  })

  describe('of a program that cannot be started', () => {
    const RUNC = 'runc create failed: unable to start container process: '
    const INIT = `${RUNC}error during container init: `

    it.each([
      // Seen of runc 1.1.5: no such name, no such file, not executable or a directory, below a file, a link in a circle, no name.
      `${RUNC}exec: "sleeps": executable file not found in $PATH`,
      `${RUNC}exec: "/bin/nothing": stat /bin/nothing: no such file or directory`,
      `${RUNC}exec: "./nothing": stat ./nothing: no such file or directory`,
      `${RUNC}exec: "/etc": permission denied`,
      `${RUNC}exec: "/bin/plain/x": stat /bin/plain/x: not a directory`,
      `${RUNC}exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links`,
      `${RUNC}exec: "/xxx": stat /xxx: file name too long`,
      `${RUNC}exec: "": executable file not found in $PATH`,
      `${RUNC}exec: "slee\\"ps": executable file not found in $PATH`,
      `time="2026-11-21T02:12:29Z" level=error msg="${RUNC}exec: \\"sleeps\\": executable file not found in $PATH"`,
      // A working directory that is a file, lies below one, or is a link in a circle.
      `${INIT}mkdir /bin/plain: not a directory`,
      `${INIT}mkdir /bin/loop: file exists`,
      // A memory limit below what runc itself has taken by then.
      `${INIT}error setting cgroup config for procHooks process: unable to set memory limit to 1048576 (current usage: 1986560, peak usage: 2011136)`,
      // In the sources of runc 1.1 to 1.4.
      `${INIT}exec: "/etc": is a directory`,
      `${INIT}exec: "sleep": cannot run executable found relative to current directory`,
      `${INIT}chdir to cwd ("/locked") set in config.json failed: permission denied`,
      `${RUNC}container init was OOM-killed (memory limit too low?)`,
      // Seen of crun 1.8.1.
      'executable file `sleeps` not found in $PATH: No such file or directory',
      'executable file `/bin/nothing` not found in $PATH: No such file or directory',
      'executable file `slee"ps` not found in $PATH: No such file or directory',
      'open executable: Permission denied',
      'open executable: Operation not permitted',
      'open executable: Not a directory',
      'open executable: Too many levels of symbolic links',
      'open executable: File name too long',
      'chdir `/bin/plain`: Not a directory',
      'chdir `/bin/loop`: Too many levels of symbolic links',
      'OOM: the memory limit could be too low: read from sync socket: Connection reset by peer',
      'OOM: the memory limit could be too low: write to sync socket: Broken pipe',
      // In the sources of newer ones.
      'executable file `/bin/nothing` not found: No such file or directory',
      'cannot find `` in $PATH: No such file or directory',
      'the path `/bin/plain` exists but it is not executable: Operation not permitted',
      'the path `/etc` is not a regular file: Operation not permitted',
      'chdir to `/locked`: Permission denied',
    ])('blames it: %s', (said) => expect(runtimeError(said)).toMatchObject({ code: 'invalid' }))

    it.each([
      // Seen of runc 1.1.5 and crun 1.8.1: mounts, kernel parameters, layers.
      `${INIT}error mounting "/no/such" to rootfs at "/x": stat /no/such: no such file or directory`,
      `${INIT}error mounting "/etc" to rootfs at "/bin/plain/x": open o_path procfd: open /c/rootfs/bin/plain/x: not a directory`,
      `${INIT}error mounting "/etc/passwd" to rootfs at "/etc": mount /etc/passwd:/etc (via /proc/self/fd/6), flags: 0x5001: not a directory`,
      `${INIT}open /proc/sys/net/nope: no such file or directory`,
      "error stat'ing file `/no/such`: No such file or directory",
      'mkdir `/bin/plain/x`: Not a directory',
      'mount `/etc/passwd` to `etc`: Not a directory',
      'open /proc/sys/net/nope: No such file or directory',
      'mount overlay at rootfs: No such file or directory',
      // The disk, the memory and the cgroups of the machine, and what ended on the way.
      `${RUNC}exec: "/bin/app": stat /bin/app: input/output error`,
      `${RUNC}exec: "/bin/app": cannot allocate memory`,
      `${INIT}mkdir /work: no space left on device`,
      `${RUNC}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/pids/x: no such file or directory`,
      `${RUNC}can't get final child's PID from pipe: EOF`,
      'runc create failed: container with given ID already exists',
      'open executable: Input/output error',
      'open `/dev/null`: No such file or directory',
      'chdir `/work`: Input/output error',
      // A guess of crun's, from the limit alone.
      'the memory limit could be too low: read from sync socket: Connection reset by peer',
      'writing file `/sys/fs/cgroup/pids/x/cgroup.procs`: No such file or directory',
      'the container died before it was started',
      'container a was not made: its monitor ended without a word',
      'the OCI runtime failed and did not say why',
    ])('does not blame it: %s', (said) => expect(runtimeError(said)).toMatchObject({ code: 'internal' }))

    it('keeps the beginning and the end of a long message', () => {
      expect(startErrorRecord('short', 7)).toEqual({
        ...{ code: 128, oomKilled: false, finishedAtMs: 7, reason: 'StartError', message: 'short' },
      })
      const { message = '' } = startErrorRecord(`exec: "${'x'.repeat(9_000)}": file name too long`, 7)
      expect(message).toMatch(/^exec: "x+ \.\.\. x+": file name too long$/)
      expect(message.length).toBeLessThan(2_100)
    })
  })

  it('tells whether exec could run the program', () => {
    expect(refused('exec failed: exec: "x": executable file not found in $PATH').exitCode).toBe(127)
    expect(refused('exec failed: exec: "/etc": permission denied').exitCode).toBe(126)
    expect(() => refused('cgroup gone')).toThrow('cgroup gone')
  })

  it('knows which runtimes can be escaped from', () => {
    const bad = ['1.1.5', '1.2.7', '1.3.2', '1.0.0']
    const good = ['1.2.8', '1.3.3', '1.4.0', '2.0.0']
    expect(bad.filter((version) => !hasContainerEscape('runc', version))).toEqual([])
    expect(good.filter((version) => hasContainerEscape('runc', version))).toEqual([])
    expect(hasContainerEscape('crun', '1.8.1')).toBe(false)
  })

  it('reads conmon’s reports', () => {
    expect(parseReport('{"data": 42}')).toEqual({ data: 42, message: '' })
    expect(parseReport('{"data": -1, "message": "no\\n"}')).toEqual({ data: -1, message: 'no' })
    expect(() => parseReport('nonsense')).toThrow(/conmon sent/)
    expect(() => parseReport('{}')).toThrow(/conmon sent/)
  })

  it('splits attach packets wherever the pipe cuts them', async () => {
    const bytes = fc.uint8Array({ maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(bytes, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 20 })),
        async (packets, cuts) => {
          const stream = Buffer.concat(
            packets.map((packet) => {
              const head = Buffer.alloc(4)
              head.writeUInt32BE(packet.length)
              return Buffer.concat([head, packet])
            }),
          )
          async function* chunks() {
            let at = 0
            for (const cut of cuts) {
              yield stream.subarray(at, at + cut)
              at += cut
            }
            yield stream.subarray(at)
          }
          const found: Buffer[] = []
          for await (const packet of readPackets(chunks())) found.push(packet)
          expect(found.map((packet) => [...packet])).toEqual(packets.map((packet) => [...packet]))
        },
      ),
    )
  })

  it('reads resizes and ignores what is none', () => {
    const parse = (text: string) => parseResize(Buffer.from(text))
    expect(parse('{"Width":80,"Height":24}')).toEqual({ width: 80, height: 24 })
    expect(parse('{"Width":5000,"Height":24}')).toEqual({ width: 1000, height: 24 })
    for (const bad of ['', '{}', '[]', '{"Width":-1,"Height":2}', 'x']) expect(parse(bad)).toBeUndefined()
  })
})

describe('mounts', () => {
  const table = [
    '27 1 254:0 / / rw - ext4 /dev/vda rw',
    '31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
    '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct',
    '40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd',
    '41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate',
    '50 27 0:50 / /data/a\\040b rw - tmpfs tmpfs rw',
    '51 50 0:51 / /data/a\\040b/in rw - tmpfs tmpfs rw',
    '52 27 0:52 / /database rw - tmpfs tmpfs rw',
  ].join('\n')

  it('gives cgroup hierarchies of v1, hybrid and v2 hosts', () => {
    expect(parseHierarchies(table)).toEqual([
      { version: 1, mountPoint: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
      { version: 1, mountPoint: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'] },
      { version: 2, mountPoint: '/sys/fs/cgroup/unified', controllers: [] },
    ])
    const v2 = '31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot'
    expect(parseHierarchies(v2)).toEqual([{ version: 2, mountPoint: '/sys/fs/cgroup', controllers: [] }])
  })

  it('finds what is mounted below a directory, deepest first, and no neighbour', () => {
    expect(mountsBelow(table, '/data')).toEqual(['/data/a b/in', '/data/a b'])
    expect(mountsBelow(table, '/data/a b')).toEqual(['/data/a b/in', '/data/a b'])
    expect(parseMountinfo(table)).toHaveLength(8)
  })

  it('names layers plainly while they fit in a page and hold no separators', () => {
    expect(plainLowerDirectories(['/low', '/high'])).toBe('/high:/low')
    expect(plainLowerDirectories(['/a:b'])).toBeUndefined()
    expect(
      plainLowerDirectories(Array.from({ length: 127 }, () => `/var/lib/drover/layers/${'0'.repeat(64)}`)),
    ).toBeUndefined()
  })

  it('takes only names as ids that cannot leave a directory or look unfinished', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (isId(text)) expect(text).toMatch(/^[A-Za-z0-9][\w-]*$/)
      }),
    )
    for (const bad of ['', '.', '..', 'a/b', 'a.b', '-a', 'x'.repeat(129)]) expect(isId(bad)).toBe(false)
  })
})
