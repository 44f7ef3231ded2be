/**
 * Where the runtime driver keeps things. Three roots, two lifetimes:
 *
 *   dataDir/c/<id>/        survives a reboot: what a container is (meta.json), its layers' overlay, that it was started, how it ended
 *   runDir/c/<id>/         gone after a reboot, like what it names: the OCI bundle with conmon's pipes and pid files, processes
 *   runDir/s/<podUid>/     pinned namespaces and the pod's /dev/shm
 *   runDir/exits/<id>      exit codes, written by conmon, atomically
 *   runDir/oci/            the OCI runtime's own state
 *   usersDir/ids/<n>       whose a range of user ids is; of all agents on the machine
 *   usersDir/<name>/<id>/  mounts of a container that has users of its own (user_mounts.ts)
 *
 * A container's directory is made under a dotted name and renamed when complete, so that a name without a dot always
 * has its meta.json.
 */
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'

export interface RuntimePaths {
  containers: string
  sandboxes: string
  exits: string
  ociRoot: string
  /** conmon insists that it exists, though with --full-attach it holds nothing. */
  sockets: string
  bundles: string
  userRanges: string
  userMounts: string
}

export interface RuntimeRoots {
  dataDir: string
  runDir: string
  usersDir: string
  /** What this agent is called below usersDir. */
  name: string
}

export function runtimePaths({ dataDir, runDir, usersDir, name }: RuntimeRoots): RuntimePaths {
  return {
    containers: join(dataDir, 'c'),
    sandboxes: join(runDir, 's'),
    exits: join(runDir, 'exits'),
    ociRoot: join(runDir, 'oci'),
    sockets: join(runDir, 'sock'),
    bundles: join(runDir, 'c'),
    userRanges: join(usersDir, 'ids'),
    userMounts: join(usersDir, name),
  }
}

export interface ContainerPaths {
  directory: string
  meta: string
  /** What is left of `started` after a reboot. */
  startedOnce: string
  exit: string
  bundle: string
  config: string
  started: string
  conmonPid: string
  initPid: string
  rootfs: string
  terminationLog: string
  /** conmon's control FIFO: resizes. */
  control: string
  exitFile: string
  /** Present from create to start, with runc and crun alike: the init process waits on it. */
  execFifo: string
}

export function containerPaths(paths: RuntimePaths, id: string): ContainerPaths {
  const directory = join(paths.containers, id)
  const bundle = join(paths.bundles, id)
  return {
    directory,
    meta: join(directory, 'meta.json'),
    startedOnce: join(directory, 'started.json'),
    exit: join(directory, 'exit.json'),
    bundle,
    config: join(bundle, 'config.json'),
    started: join(bundle, 'started.json'),
    conmonPid: join(bundle, 'conmon.pid'),
    initPid: join(bundle, 'init.pid'),
    rootfs: join(directory, 'rootfs'),
    terminationLog: join(directory, 'termination-log'),
    control: join(bundle, 'ctl'),
    exitFile: join(paths.exits, id),
    execFifo: join(paths.ociRoot, id, 'exec.fifo'),
  }
}

const ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/

export function isId(text: string): boolean {
  return ID.test(text)
}

/** Ids become file names: no dots (those mark unfinished directories and conmon's temporary files), no slashes. */
export function checkId(text: string, what: string): void {
  if (!isId(text)) {
    throw new DroverError(
      'invalid',
      `${what} ${JSON.stringify(text)} must be letters, digits, "-" and "_", at most 128`,
    )
  }
}
