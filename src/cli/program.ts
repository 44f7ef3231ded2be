/** The client's commands: their words and options; what they do is loaded with them. */
import type { Command } from 'commander'
import { registerApply } from './apply.ts'
import type { Io } from './context.ts'
import { registerDelete } from './delete.ts'
import { registerDescribe } from './describe.ts'
import { registerDrain } from './drain.ts'
import { registerEtcd } from './etcd.ts'
import { registerEvents } from './events.ts'
import { registerExec } from './exec.ts'
import { registerGet } from './get.ts'
import { registerImages } from './images.ts'
import { registerLogs } from './logs.ts'
import { registerNode } from './node.ts'
import { registerPlan } from './plan.ts'
import { registerPortForward } from './port_forward.ts'
import { registerRollout } from './rollout.ts'
import { registerScale } from './scale.ts'
import { registerSecrets } from './secrets.ts'
import { registerToken } from './token.ts'
import { registerTop } from './top.ts'
import { registerVersion } from './version.ts'
import { registerWhy } from './why.ts'

export function registerClientCommands(program: Command, io: Io, version: string): void {
  registerApply(program, io)
  registerGet(program, io)
  registerDescribe(program, io)
  registerDelete(program, io)
  registerLogs(program, io)
  registerExec(program, io)
  registerPortForward(program, io)
  registerScale(program, io)
  registerRollout(program, io)
  registerEvents(program, io)
  registerImages(program, io)
  registerNode(program, io)
  registerDrain(program, io)
  registerToken(program, io)
  registerSecrets(program, io)
  registerEtcd(program, io)
  registerWhy(program, io)
  registerPlan(program, io)
  registerTop(program, io)
  registerVersion(program, io, version)
}
