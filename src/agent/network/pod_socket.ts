/**
 * A TCP connection made from inside a pod's network namespace, so that programs that listen on the pod's loopback alone
 * can be reached too. Node cannot enter a namespace; a few lines of Perl (perl-base is essential on Debian) do, and relay.
 * Rejected: socat, one more package; a connection from the host to the pod's address, which misses loopback and policies.
 */
import type { Readable, Writable } from 'node:stream'
import { DroverError } from '../../base/errors.ts'
import { start } from '../../base/process.ts'
import type { PodSocket } from './network.ts'

/** Argument: the port. Tries IPv4's loopback, then IPv6's. Each direction ends by itself, as TCP's do. */
const RELAY = String.raw`
use strict; use Socket;
my $port = shift;
my ($s, $why);
my @to = ([PF_INET, pack_sockaddr_in($port, INADDR_LOOPBACK)], [PF_INET6, pack_sockaddr_in6($port, Socket::IN6ADDR_LOOPBACK)]);
for my $to (@to) {
  my $try;
  if (socket($try, $to->[0], SOCK_STREAM, 0) && connect($try, $to->[1])) { $s = $try; last }
  $why //= "$!";
}
die "$why\n" unless $s;
$SIG{PIPE} = 'IGNORE';
binmode STDIN; binmode STDOUT;
my ($up, $down, $up_end, $down_end, $up_done, $down_done) = ('', '');
until ($up_done && $down_done) {
  if ($up_end && $up eq '' && !$up_done) { $up_done = 1; shutdown($s, 1) }
  if ($down_end && $down eq '' && !$down_done) { $down_done = 1; close STDOUT }
  last if $up_done && $down_done;
  my ($r, $w) = ('', '');
  vec($r, 0, 1) = 1 if !$up_end && length $up < 65536;
  vec($r, fileno($s), 1) = 1 if !$down_end && length $down < 65536;
  vec($w, fileno($s), 1) = 1 if $up ne '';
  vec($w, 1, 1) = 1 if $down ne '';
  next if select($r, $w, undef, undef) < 0;
  if ($up ne '' && vec($w, fileno($s), 1)) {
    my $n = syswrite($s, $up);
    if (defined $n) { substr($up, 0, $n) = '' } else { $up = ''; $up_end = 1 }
  }
  if ($down ne '' && vec($w, 1, 1)) {
    my $n = syswrite(STDOUT, $down);
    exit 0 unless defined $n;
    substr($down, 0, $n) = '';
  }
  if (vec($r, 0, 1)) { sysread(STDIN, $up, 65536, length $up) or $up_end = 1 }
  if (vec($r, fileno($s), 1)) { sysread($s, $down, 65536, length $down) or $down_end = 1 }
}
`

/** `enter` is put before the program: how the namespace is entered. */
export function openPodSocket(enter: readonly string[], port: number): PodSocket {
  const [program = 'perl', ...args] = [...enter, 'perl', '-e', RELAY, String(port)]
  const child = start(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const [input, output, stderr] = [child.stdin as Writable, child.stdout as Readable, child.stderr as Readable]
  let said = ''
  stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 1000)
  })
  // A relay that ends before it has taken everything is judged by its exit.
  input.on('error', () => undefined)
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (error) => reject(new DroverError('unsupported', `cannot run ${program}`, { cause: error })))
    child.on('close', (code) => {
      if (code === 0 || child.killed) resolve()
      else reject(new DroverError('unavailable', `port ${port}: ${said.trim().toLowerCase() || `exit code ${code}`}`))
    })
  })
  ended.catch(() => undefined)
  return { input, output, ended, close: () => void child.kill('SIGKILL') }
}
