/** The command line's root: its name, its help and the options that all commands share. */
import { Command } from 'commander'

export function createProgram(version: string): Command {
  return new Command('drover')
    .description('Drover, a cluster scheduler: declare services, and they run.')
    .version(version, '-V, --version', 'print the version')
    .option('--kubeconfig <file>', 'which cluster, and as whom')
    .option('--cluster <name>', 'a local cluster by its name')
    .option('--context <name>', 'context of the kubeconfig')
    .option('-n, --namespace <name>', 'namespace to work in')
    .showHelpAfterError('(drover COMMAND --help tells more)')
    .addHelpText(
      'after',
      '\nStart here:\n  drover up                     a cluster on this machine\n  drover apply -f web.yaml      declare\n  drover get pods -o wide       look',
    )
}
