/** Words and options of the roles `server` and `agent`; the roles themselves are loaded when they run. */
import type { Command } from 'commander'
import type { Io } from '../cli/context.ts'
import type { AgentFlags, ServerFlags } from './flags.ts'

export function registerRoles(program: Command, io: Io, version: string): void {
  program
    .command('server')
    .description("run the control plane: API, controllers, scheduler and the nodes' sessions")
    .option('--cluster-name <name>', "the cluster's name", 'drover')
    .option('--data-dir <dir>', 'certificates and etcd', '/var/lib/drover/server')
    .option('--run-dir <dir>', 'files that a reboot may lose', '/run/drover-server')
    .option('--listen <host:port...>', 'where the API is served', ['0.0.0.0:6443'])
    .option('--node-listen <host:port>', 'where agents dial', '0.0.0.0:6444')
    .option('--etcd <url,…>', 'use this etcd instead of running one')
    .option('--etcd-ca <file>', "CA of that etcd's certificate")
    .option('--etcd-cert <file>', 'client certificate for that etcd')
    .option('--etcd-key <file>', 'its key')
    .option('--etcd-quota <size>', 'space for the database before writes are refused; not with --etcd', '2Gi')
    .option('--cluster-cidr <range>', 'addresses of pods', '10.244.0.0/16')
    .option('--service-cidr <range>', 'addresses of services', '10.96.0.0/16')
    .option('--node-cidr-length <bits>', "prefix length of one node's range", '24')
    .option('--overlay <kind>', "how pods' packets travel: vxlan, host-gw (nodes share a subnet), or auto", 'vxlan')
    .option('--node-port-range <from-to>', 'node ports', '30000-32767')
    .option('--not-ready-after <ms>', 'silence after which a node counts as lost', '4000')
    .option('--kubeconfig-out <file>', "where the administrator's kubeconfig is written")
    .option(
      '--advertise <host:port...>',
      'where agents reach the node listener from outside, the port may be left out; default: what it listens on',
    )
    .option('--certificate-days <days>', 'life of certificates; they renew themselves with a third of it left', '365')
    .option('--no-join-line', 'print no line to join nodes with at the first start')
    .option('--forget-token-key', 'start though the key that tokens were signed with is lost; they end')
    .option('--token-file <file>', 'bearer tokens: lines of TOKEN,USER,GROUP;GROUP')
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .addHelpText(
      'after',
      '\nExamples:\n  drover server\n  drover server --etcd https://10.0.0.5:2379 --etcd-ca ca.crt --etcd-cert c.crt --etcd-key c.key',
    )
    .action(async (flags: ServerFlags) => {
      const { runServer } = await import('./server.ts')
      await runServer(flags, { version, signal: io.signal })
    })
  program
    .command('agent')
    .description('run a node')
    .option('--join <token>', 'join a cluster (or a file that holds the token); later starts need it no more')
    .option('--server <host:port...>', "the servers' node addresses; default: as when it joined")
    .option('--node-name <name>', "its name (default: the host's)")
    .option('--data-dir <dir>', 'images, containers, logs', '/var/lib/drover/agent')
    .option('--run-dir <dir>', 'files that a reboot may lose; short', '/run/drover-agent')
    .option('--ca <file>', "the cluster's CA, for a certificate that was made by hand")
    .option('--cert <file>', 'that certificate')
    .option('--key <file>', 'its key')
    .option('--node-address <address>', 'address on the underlay (default: the one that reaches the server)')
    .option('--cgroup-parent <path>', 'cgroup of all pods', '/drover')
    .option('--runtime <program>', 'OCI runtime of pods that name no runtime class', 'runc')
    .option(
      '--runtime-handler <name=program...>',
      'OCI runtimes that runtime classes choose by name, besides runc and crun, e.g. kata=/usr/bin/kata-runtime',
    )
    .option('--label <key=value...>', "the node's labels")
    .option('--taint <key=value:effect...>', "the node's taints, when it joins")
    .option('--registry-proxy <url>', 'HTTP proxy for registries')
    .option('--registry-proxy-secret-file <file>', 'secret that the proxy asks for')
    .option('--insecure-registry <host:port...>', 'registries to speak plain HTTP with')
    .option('--registry-mirror <registry=url...>', 'ask there first, e.g. docker.io=https://mirror.local')
    .option('--image-high-percent <percent>', 'disk use above which images that nothing uses are removed', '85')
    .option('--image-low-percent <percent>', 'disk use down to which they are', '80')
    .option(
      '--allow-sysctl <name...>',
      'kernel parameters that pods may set besides the safe ones, e.g. net.core.somaxconn',
    )
    .option('--max-container-pids <count>', 'processes and threads that one container may have; 0: no bound', '0')
    .option('--leave-memory <amount>', 'free memory below which pods are evicted, e.g. 100Mi or 5%; 0: never', '100Mi')
    .option('--leave-disk <amount>', 'free disk space below which pods are evicted', '5%')
    .option('--leave-pids <amount>', 'free process ids below which pods are evicted', '2%')
    .option('--pressure-hold <seconds>', 'how long a shortage is told, and keeps new pods away, after it is over', '60')
    .option('--log-max-size <bytes>', "size at which a container's log goes on in a new file", '10Mi')
    .option('--log-max-files <count>', "files that are kept of a container's log", '5')
    .option('--log-max-total <bytes>', 'size that older log files of this node may have together', '2Gi')
    .option('--listen <host:port>', 'where /metrics, /healthz and /readyz are served', '127.0.0.1:9440')
    .option('--manage-sysctls', 'turn forwarding on in this network namespace')
    .option('--reset', 'remove every container, interface and rule of this node, and end')
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .addHelpText('after', '\nExample:\n  drover agent --join drover1.… --server 10.0.0.5:6444 --label zone=a')
    .action(async (flags: AgentFlags) => {
      const { runAgent } = await import('./agent.ts')
      await runAgent(flags, { version, signal: io.signal })
    })
}
