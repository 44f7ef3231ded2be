// Makes a machine ready: Debian packages by name, npm packages from the lock file, the program built. What is there is
// left alone, so that a second run takes moments.
//   node deploy/setup.js [--dev] [--link]
//     --dev   also what the tests need
//     --link  put `drover` on the PATH (/usr/local/bin/drover)
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
process.chdir(root)
const dev = process.argv.includes('--dev')
const link = process.argv.includes('--link')

/** Programs by the Debian package that brings them. */
const PACKAGES = [
  ['etcd', 'etcd-server'],
  // For `drover etcd restore`.
  ['etcdctl', 'etcd-client'],
  ['runc', 'runc'],
  ['conmon', 'conmon'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['busybox', 'busybox-static'],
  ['conntrack', 'conntrack'],
  ['setfattr', 'attr'],
  ['zstd', 'zstd'],
  ['nsenter', 'util-linux'],
]
const DEV_PACKAGES = [
  ['crun', 'crun'],
  ['docker-registry', 'docker-registry'],
  ['skopeo', 'skopeo'],
  ['openssl', 'openssl'],
  ['curl', 'curl'],
]
/** Services that come with the packages and that nobody asked for. */
const SERVICES = { 'etcd-server': 'etcd', 'docker-registry': 'docker-registry' }

function fail(message) {
  console.error(`setup: ${message}`)
  process.exit(1)
}

function has(program) {
  const places = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  return places.some((place) => existsSync(join(place, program)))
}

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node.js ${process.versions.node} is too old: 20.19 or newer is needed`)

function installPackages() {
  const wanted = [...PACKAGES, ...(dev ? DEV_PACKAGES : [])]
    .filter(([program]) => !has(program))
    .map(([, name]) => name)
  if (dev && !has('kubectl')) wanted.push('kubernetes-client')
  if (wanted.length === 0) return
  if (process.getuid?.() !== 0) fail(`${wanted.join(', ')} missing, and only root can install them: run it as root`)
  if (!has('apt-get')) fail(`install these with your package manager: ${wanted.join(', ')}`)
  console.error(`setup: installing ${wanted.join(', ')}`)
  // Packages start their services at installation unless this file forbids it; it goes again at once.
  const policy = '/usr/sbin/policy-rc.d'
  const ours = !existsSync(policy)
  if (ours) {
    writeFileSync(policy, '#!/bin/sh\nexit 101\n')
    chmodSync(policy, 0o755)
  }
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const apt = (args) =>
      spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
    const update = apt(['update'])
    const install = apt(['install', '-y', '--no-install-recommends', ...wanted])
    if (install.status !== 0) fail(`apt-get install failed:\n${update.stderr}${install.stderr}`)
  } finally {
    if (ours) rmSync(policy, { force: true })
  }
  if (!existsSync('/run/systemd/system')) return
  for (const name of wanted)
    if (SERVICES[name]) spawnSync('systemctl', ['disable', '--now', SERVICES[name]], { stdio: 'ignore' })
}

function installModules() {
  const stamp = 'node_modules/.setup-stamp'
  const hash = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return
  console.error('setup: installing npm packages')
  // No package needs its install scripts here.
  execFileSync('npm', ['ci', '--ignore-scripts', '--loglevel=error'], { stdio: ['ignore', 'ignore', 'inherit'] })
  writeFileSync(stamp, hash)
}

function newest(path) {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}

function build() {
  const built = 'dist/drover.js'
  const sources = ['src', 'package-lock.json', 'deploy/build.js'].map(newest)
  if (!existsSync(built) || statSync(built).mtimeMs < Math.max(...sources)) {
    console.error('setup: building')
    execFileSync(process.execPath, ['deploy/build.js'], { stdio: 'inherit' })
  }
  chmodSync(built, 0o755)
}

function linkProgram() {
  const target = '/usr/local/bin/drover'
  const source = resolve('dist/drover.js')
  try {
    rmSync(target, { force: true })
    symlinkSync(source, target)
  } catch (error) {
    fail(`cannot put drover on the PATH (${error.message}); run it as root, or use ${source}`)
  }
}

installPackages()
installModules()
build()
if (link) linkProgram()
