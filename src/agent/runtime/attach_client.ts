/**
 * The way to conmon's attach socket. It is a SOCK_SEQPACKET Unix socket, which Node cannot open, so a few lines of Perl
 * (perl-base is essential on Debian) relay it: our standard input goes out as packets, packets come back with their length
 * in front. Rejected: socat, which joins packets and so loses which stream each belongs to; following the log, which has
 * no stdin. A packet from conmon is one byte that names the stream, then data. Source: containers/conmon, src/conn_sock.c.
 */
import type { ChildProcess } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { DroverError } from '../../base/errors.ts'
import { start } from '../../base/process.ts'
import { CHANNEL, type Frame } from '../../base/stream.ts'
import { watchStderr } from './conmon.ts'

/**
 * Arguments: the socket's directory (a socket's own path must fit 107 bytes, so it is entered) and name. An empty packet
 * says that the connection stands. conmon drops a client that does not read, so output is taken at once and kept here, to a bound.
 */
const RELAY = `
use strict; use Socket;
my ($dir, $name) = @ARGV;
my $limit = 16 << 20;
chdir $dir or die "chdir $dir: $!\\n";
socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!\\n";
connect($s, sockaddr_un($name)) or die "connect: $!\\n";
$SIG{PIPE} = 'IGNORE';
my ($in, $out, $eof, $done) = ('', pack('N', 0), 0, 0);
until ($done && $out eq '') {
  my ($r, $w) = ('', '');
  vec($r, fileno($s), 1) = 1 unless $done;
  vec($r, fileno(STDIN), 1) = 1 if !$eof && $in eq '' && !$done;
  vec($w, fileno($s), 1) = 1 if $in ne '' && !$done;
  vec($w, fileno(STDOUT), 1) = 1 if $out ne '';
  next if select($r, $w, undef, undef) < 0;
  if (vec($w, fileno(STDOUT), 1)) {
    my $n = syswrite(STDOUT, $out, 4096);
    exit 1 unless defined $n;
    substr($out, 0, $n) = '';
  }
  if (vec($w, fileno($s), 1)) {
    $done = 1 unless defined send($s, $in, 0);
    $in = '';
  }
  if (vec($r, fileno(STDIN), 1)) {
    my $n = sysread(STDIN, $in, 4096);
    unless ($n) { $eof = 1; $in = ''; shutdown($s, 1); }
  }
  if (!$done && vec($r, fileno($s), 1)) {
    my $n = sysread($s, my $packet, 65536);
    if (!$n) { $done = 1; next; }
    $out .= pack('N', $n) . $packet;
    die "the client reads too slowly: more than $limit bytes wait\\n" if length($out) > $limit;
  }
}
`

const STDERR_PACKET = 3
/** Well above what conmon sends; a longer one means that we are out of step. */
const MAX_PACKET_BYTES = 1 << 17

export interface AttachClient {
  input: Writable
  /** Output of the container, to the end of its streams. */
  output: AsyncIterable<Frame>
  close(): void
}

/** Connects to `<directory>/attach`; resolves when conmon listens to us. */
export async function connectAttach(directory: string): Promise<AttachClient> {
  const child = start('perl', ['-e', RELAY, directory, 'attach'], { stdio: ['pipe', 'pipe', 'pipe'] })
  const stderr = watchStderr(child)
  const stdout = child.stdout as Readable
  const stdin = child.stdin as Writable
  stdin.on('error', () => undefined)
  const packets = readPackets(stdout)
  const first = await Promise.race([packets.next(), stderr.failed]).catch((error: unknown) => {
    throw new DroverError('unsupported', 'attach and terminals need perl on the node (Debian: perl-base)', {
      cause: error,
    })
  })
  if (first.done === true) {
    throw new DroverError('unavailable', `cannot attach to the container: ${stderr.text() || 'its monitor is gone'}`)
  }
  return { input: stdin, output: frames(packets, child, stderr), close: () => void child.kill('SIGKILL') }
}

async function* frames(
  packets: AsyncGenerator<Buffer>,
  child: ChildProcess,
  stderr: { text(): string },
): AsyncGenerator<Frame> {
  for await (const packet of packets) {
    const channel = packet[0] === STDERR_PACKET ? CHANNEL.stderr : CHANNEL.stdout
    if (packet.length > 1) yield { channel, data: packet.subarray(1) }
  }
  if (stderr.text() !== '' && !child.killed) throw new DroverError('unavailable', `attach broke: ${stderr.text()}`)
}

/** Splits the relay's output at the lengths that it gives. */
export async function* readPackets(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let buffered: Buffer = Buffer.alloc(0)
  for await (const chunk of source) {
    buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk])
    while (buffered.length >= 4) {
      const size = buffered.readUInt32BE(0)
      if (size > MAX_PACKET_BYTES) throw new DroverError('internal', `attach packet of ${size} bytes`)
      if (buffered.length < 4 + size) break
      yield buffered.subarray(4, 4 + size)
      buffered = buffered.subarray(4 + size)
    }
  }
}
