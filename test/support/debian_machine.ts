/**
 * A bare Debian with systemd as process 1, as far as namespaces can make one: its own root, processes, mounts, network, names
 * and cgroups. It can be shut down and started again with what is on its disk. Its network leads nowhere; what needs
 * the world (apt-get) runs with the network of the machine.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseMountinfo } from '../../src/base/mountinfo.ts'
import { removeCgroup, unmountBelow } from '../../src/local/remove.ts'
import { eventually } from './eventually.ts'
import { type Outcome, output, runProgram } from './local_cluster.ts'

const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'ca-certificates', 'kmod', 'procps']
const ENVIRONMENT = ['env', '-i', 'PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root']
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }

/** $1 root, $2 address and prefix length; the rest: mounts of cgroup hierarchies as TYPE:OPTIONS:PATH. */
const BOOT = `set -e
root=$1 address=$2; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
case $1 in *:/sys/fs/cgroup) ;; *) mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup" ;; esac
for hierarchy in "$@"; do
  type=\${hierarchy%%:*} rest=\${hierarchy#*:}
  mkdir -p "$root\${rest#*:}"
  mount -t "$type" \${rest:+-o "\${rest%%:*}"} cgroup "$root\${rest#*:}"
done
ip link set lo up
ip link add eth0 type veth peer name cable
ip link set cable up
ip addr add "$address" dev eth0
ip link set eth0 up
hostname box
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i container=drvt PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /lib/systemd/systemd --system
`

export class DebianMachine {
  readonly address = '10.87.0.1'
  readonly root = join(tmpdir(), `drvt-debian-${randomBytes(3).toString('hex')}`)
  readonly #name = basename(this.root)
  #init = 0

  /** Where the machine's cgroups are among ours. */
  #cgroups(): { directory: string; mount: string }[] {
    const mounts = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))
    return mounts.flatMap(({ type, mountPoint, superOptions }) => {
      if (type !== 'cgroup' && type !== 'cgroup2') return []
      const options = superOptions.filter((option) => option !== 'rw' && !option.includes('release_agent'))
      const named = options.some((option) => option.startsWith('name=')) ? ['none', ...options] : options
      const given = type === 'cgroup2' ? 'rw' : named.join(',')
      return [{ directory: join(mountPoint, this.#name), mount: `${type}:${given}:${mountPoint}` }]
    })
  }

  /** Debian's own packages for a minimal system, and no more; or a copy of one, where DROVER_DEBIAN names it. */
  async install(): Promise<void> {
    mkdirSync(this.root, { mode: 0o700 })
    const made = process.env.DROVER_DEBIAN
    if (made !== undefined) {
      await output('cp', ['-a', `${made}/.`, this.root])
      return
    }
    const include = `--include=${PACKAGES.join(',')}`
    const options = ['--variant=minbase', include, 'bookworm', this.root, 'http://deb.debian.org/debian']
    await output('debootstrap', options, { timeoutMs: 600_000 })
    copyFileSync('/etc/resolv.conf', join(this.root, 'etc/resolv.conf'))
  }

  async boot(): Promise<void> {
    const cgroups = this.#cgroups()
    const enter = cgroups.map(
      ({ directory }) =>
        `mkdir -p ${directory}; [ ! -e ${directory}/cpuset.mems ] || cp ${directory}/../cpuset.cpus ${directory}/../cpuset.mems ${directory}/; echo $$ > ${directory}/cgroup.procs`,
    )
    const script = `set -e\n${enter.join('\n')}\nexec unshare -m -p -f -n -u -i -C --propagation private sh -c "$0" sh "$@"\n`
    const args = [this.root, `${this.address}/24`, ...cgroups.map(({ mount }) => mount)]
    const child = spawn('sh', ['-c', script, BOOT, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
    const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()))
    this.#ended = exited
    this.#init = await eventually(() => {
      if (child.exitCode !== null) throw new Error(`the machine ended with ${child.exitCode} as it started`)
      // Before that, its children are the shell's own.
      if (readFileSync(`/proc/${child.pid}/comm`, 'utf8') !== 'unshare\n') return undefined
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
      return children === '' ? undefined : Number(children)
    }, WAIT)
    await eventually(async () => (await this.run(['systemctl', 'is-system-running'])).stdout.trim() === 'running', WAIT)
  }

  #ended: Promise<void> = Promise.resolve()

  /** Runs a program on it; `world`: with the network of the machine that it stands on. */
  run(command: readonly string[], options: { world?: boolean; timeoutMs?: number } = {}): Promise<Outcome> {
    const { world = false, timeoutMs = 120_000 } = options
    const enter = ['-t', String(this.#init), '-m', '-p', '-u', '-i', '-C', ...(world ? [] : ['-n'])]
    return runProgram('nsenter', [...enter, ...ENVIRONMENT, ...command], { timeoutMs })
  }

  async ask(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command)
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}\n${stdout}${stderr}`)
    return stdout
  }

  /** One of our own programs, in its network. */
  inNetwork(program: string, ...args: string[]): Promise<Outcome> {
    return runProgram('nsenter', ['-t', String(this.#init), '-n', program, ...args])
  }

  async shutDown(): Promise<void> {
    await this.run(['systemctl', 'poweroff'])
    await this.#ended
    this.#init = 0
  }

  async remove(): Promise<void> {
    if (this.#init !== 0) process.kill(this.#init, 'SIGKILL')
    await this.#ended
    for (const { directory } of this.#cgroups()) await removeCgroup(directory)
    await unmountBelow([this.root])
    rmSync(this.root, { recursive: true, force: true })
  }
}
