/**
 * Published ways out of containers, tried on default settings; each must fail. The runtime is a copy, so that the first of
 * them, should it succeed, harms nobody.
 */
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ContainerRequest, Sandbox } from '../../src/agent/runtime/runtime.ts'
import { runOk } from '../../src/base/process.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { OCI_SCHEMA } from '../support/oci_schema.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal
const MARK = 'drvt-secret-of-the-host'

const hashOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

describeRuntimes('ways out of a container that are known', (runtime, itOnce) => {
  let directory = ''
  let program = ''
  let host: RuntimeHost
  let sandbox: Sandbox
  let count = 0
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'drvt-runc-'))
    program = join(directory, runtime)
    copyFileSync((await runOk('sh', ['-c', `command -v ${runtime}`])).trim(), program)
    host = await createRuntimeHost(program)
    sandbox = await host.sandbox('escape')
    writeFileSync(join(host.directory, 'secret'), MARK)
  })
  afterAll(async () => {
    await host.destroy()
    rmSync(directory, { recursive: true, force: true })
  })

  function requestFor(changes: Partial<ContainerRequest>): ContainerRequest {
    const id = `drvt-escape-${count++}`
    return host.request(sandbox, { id, logPath: join(host.directory, 'logs', `${id}.log`), ...changes })
  }

  /** What the script says in a container, run to its end. */
  async function output(script: string, changes: Partial<ContainerRequest> = {}): Promise<string> {
    const request = requestFor({ args: ['/bin/sh', '-c', script], ...changes })
    await host.driver.startContainer(request, signal)
    await eventually(
      async () => (await host.driver.listContainers()).find(({ id }) => id === request.id)?.phase === 'exited',
      { timeoutMs: 30_000 },
    )
    const text = host.log(request.id).replace(/^\S+ std(out|err) [FP] /gm, '')
    await host.driver.removeContainer(request.id)
    return text.trim()
  }

  it('CVE-2019-5736: the runtime that enters a container cannot be written through /proc/PID/exe', async () => {
    const before = hashOf(program)
    // A shell whose interpreter is whoever executes it, and a loop that opens every runtime it sees.
    const script = [
      'echo "#!/proc/self/exe" > /bin/trap; chmod 755 /bin/trap',
      'while true; do for p in /proc/[0-9]*; do',
      '  r=$(ls -l $p/exe 2>&1)',
      '  case "$r" in *busybox*|*"No such"*) ;; *) echo "seen $r"; (echo overwritten > $p/exe) 2>&1 ;; esac',
      'done; done',
    ].join('\n')
    const request = requestFor({ args: ['/bin/sh', '-c', script] })
    await host.driver.startContainer(request, signal)
    // Until it has seen the runtime, or what the runtime makes of itself before it enters.
    await eventually(
      async () => {
        for (const command of ['/bin/trap', '/bin/true']) {
          await host.driver.execSync(request.id, [command], 5_000).catch(() => undefined)
        }
        return host.log(request.id).includes('seen')
      },
      { timeoutMs: 20_000 },
    )
    await host.driver.removeContainer(request.id)
    expect(hashOf(program)).toBe(before)
  })

  it('CVE-2024-21626: no working directory leads to the host, by number or through a link', async () => {
    // The flaw was runc's; crun is asked briefly.
    const numbers = runtime === 'runc' ? [3, 6, 7, 8, 9, 10] : [7, 8]
    for (const fd of numbers) symlinkSync(`/proc/self/fd/${fd}`, join(host.layer, `link-${fd}`))
    const path = `../../../../../../../../..${join(host.directory, 'secret')}`
    for (const fd of numbers) {
      for (const workingDirectory of [`/proc/self/fd/${fd}`, `/link-${fd}`]) {
        const request = { args: ['/bin/cat', path], workingDirectory }
        const said = await output('', request).catch((error: Error) => error.message)
        expect(said).not.toContain(MARK)
      }
    }
  })

  it('leaves no file of the host open', async () => {
    const text = await output('for f in /proc/self/fd/*; do readlink $f; done')
    expect(
      text.split('\n').filter((line) => line !== '' && !/^(\/dev\/null|pipe:|\/proc\/\d+\/fd$)/.test(line)),
    ).toEqual([])
  })

  it('nothing of the kernel can be written through /proc and /sys', async () => {
    const files = [
      ...[
        'sysrq-trigger',
        'sys/kernel/core_pattern',
        'sys/kernel/modprobe',
        'sys/kernel/hostname',
        'sys/vm/panic_on_oom',
      ],
      ...['irq/default_smp_affinity', 'sys/fs/binfmt_misc/register', 'acpi/wakeup', 'sys/kernel/randomize_va_space'],
    ].map((name) => `/proc/${name}`)
    // The last may be written: what is tried would be seen to work.
    const more = [
      '/sys/kernel/uevent_helper',
      '/sys/kernel/mm/transparent_hugepage/enabled',
      '/sys/power/state',
      '/tmp/w',
    ]
    const script = `for f in ${[...files, ...more].join(' ')}; do ( : >> $f ) 2>/dev/null && echo "opened $f"; done
      mount -o remount,rw /proc/sys 2>&1 | grep -v -i "denied\\|permitted\\|not in /proc/mounts"; umount /proc/sys 2>/dev/null && echo unmasked; echo end`
    expect(await output(script)).toBe('opened /tmp/w\nend')
  })

  it('memory, disks and the kernel log cannot be reached through devices that it makes itself', async () => {
    // It may make devices, and open one that every container has: the others are refused by the cgroup.
    const devices = {
      null: 'c 1 3',
      mem: 'c 1 1',
      kmsg: 'c 1 11',
      port: 'c 1 4',
      sda: 'b 8 0',
      vda: 'b 254 0',
      nvme: 'b 259 0',
      loop: 'b 7 0',
      fuse: 'c 10 229',
    }
    const script = Object.entries(devices)
      .map(
        ([name, numbers]) =>
          `mknod /tmp/${name} ${numbers} 2>/dev/null && ( : < /tmp/${name} ) 2>/dev/null && echo "opened ${name}"`,
      )
      .join('\n')
    expect(await output(`${script}\necho end`)).toBe('opened null\nend')
  })

  it('CVE-2022-0492: no cgroup file system can be mounted, and no release agent set', async () => {
    const script = `mkdir -p /tmp/cg
      mount -t cgroup -o rdma cgroup /tmp/cg 2>/dev/null && echo mounted
      mount -t cgroup -o memory cgroup /tmp/cg 2>/dev/null && echo mounted
      mount -t cgroup2 cgroup /tmp/cg 2>/dev/null && echo mounted
      unshare -U -r -m -C sh -c 'mount -t cgroup -o memory cgroup /tmp/cg' 2>/dev/null && echo mounted
      for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/notify_on_release; do
        [ -e $f ] && ( : >> $f ) 2>/dev/null && echo "opened $f"; done
      for d in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do tried=yes; mkdir $d/drvt-x 2>/dev/null && echo "made in $d"; done; echo $tried`
    expect(await output(script)).toBe('yes')
  })

  it('the root of the host is not found through processes, open files or pivots', async () => {
    const script = `cat /proc/1/root${join(host.directory, 'secret')} 2>/dev/null
      ls -d /proc/[0-9]* | wc -l
      nsenter -t 1 -m cat ${join(host.directory, 'secret')} 2>/dev/null
      mkdir -p /tmp/r; chroot /tmp/r /bin/true 2>/dev/null; cd /tmp; i=0; while [ $i -lt 50 ]; do cd ..; i=$((i+1)); done
      cat .${join(host.directory, 'secret')} 2>/dev/null; echo end`
    const text = await output(script)
    expect(text).not.toContain(MARK)
    expect(text).toMatch(/end$/)
    // No process but its own.
    expect(Number.parseInt(text, 10)).toBeLessThanOrEqual(4)
  })

  itOnce('the configuration that a container ran with follows the specification', async () => {
    const check = new Ajv({ strict: false, allErrors: true }).compile(OCI_SCHEMA)
    const limits = {
      cpuLimitMillis: 250,
      cpuRequestMillis: 10,
      memoryLimitBytes: 64 << 20,
      memoryRequestBytes: 0,
      pidsLimit: 50,
    }
    const variants: Partial<ContainerRequest>[] = [
      {},
      { privileged: true, noNewPrivileges: false },
      { tty: true, stdin: true, readOnlyRootFilesystem: true, terminationMessagePath: '/dev/termination-log' },
      { resources: limits, user: { uid: 1000, gid: 1000, additionalGids: [5] }, addCapabilities: ['NET_ADMIN'] },
      { mounts: [{ hostPath: host.directory, containerPath: '/mnt/x', readOnly: true }], dropCapabilities: ['ALL'] },
      { sandbox: await host.sandbox('own-users', { ownUsers: true }), podUid: 'own-users' },
    ]
    for (const variant of variants) {
      const request = requestFor({ ...variant })
      await host.driver.startContainer(request, signal)
      const path = join(host.directory, 'run/c', request.id, 'config.json')
      expect(existsSync(path)).toBe(true)
      const config = JSON.parse(readFileSync(path, 'utf8')) as { linux: { namespaces: { type: string }[] } }
      check(config)
      expect(check.errors ?? []).toEqual([])
      const types = config.linux.namespaces.map(({ type }) => type)
      expect(new Set(types).size).toBe(types.length)
      await host.driver.removeContainer(request.id)
    }
    // The rules themselves must be able to refuse.
    expect(check({ ociVersion: '1.0.2', process: { cwd: 'relative', args: [], user: {} }, root: {}, linux: {} })).toBe(
      false,
    )
  })
})
