/**
 * The Perl that starts programs for us (launcher.ts). It uses what perl-base brings, nothing more.
 *
 * Calls without a program go to a process that is kept for more of them (`serve` in calls_script.ts): to fork one for each costs as much
 * as what most of them do, three times a pod. As many are kept as were busy at once, to a bound, and none once all has been quiet.
 */

import { CALLS } from './calls_script.ts'
import { NEWS_SUBS } from './network_news.ts'

/**
 * Numbers of setsid(2), dup3(2) and setns(2), by Node's `process.arch`: arguments of the launcher, since Perl's own module for them (POSIX) takes
 * 2 MB. Source: the kernel's system call tables.
 */
export const LAUNCHER_NUMBERS: Readonly<Record<string, readonly [setsid: number, dup3: number, setns: number]>> = {
  x64: [112, 292, 308],
  arm64: [157, 24, 268],
  riscv64: [157, 24, 268],
  loong64: [157, 24, 268],
  ppc64: [66, 316, 350],
  s390x: [66, 326, 339],
  arm: [66, 358, 375],
  ia32: [66, 330, 346],
}

export const LAUNCHER_SCRIPT = String.raw`${CALLS}${NEWS_SUBS}my ($setsid, $dup3, $setns) = map { $_ + 0 } @ARGV;
my ($in, $out, %kids, %reads, $slow, %servers, @idle) = ('', '');
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = $SIG{PIPE} = 'IGNORE';
sub answer { my ($id, $channel, $data) = @_; $out .= pack('NNC', length($data) + 5, $id, $channel) . $data; }
sub watch { my ($h, $id, $channel) = @_; $reads{fileno $h} = [$h, $id, $channel]; }
sub ended {
  my ($id) = @_; my $kid = $kids{$id} or return;
  return if $kid->{pid} || $kid->{open};
  delete $kids{$id}; answer($id, 0, $kid->{status});
}
sub reap {
  my ($id) = @_; my $kid = $kids{$id};
  return unless $kid && $kid->{pid} && waitpid($kid->{pid}, 1) > 0;
  $kid->{status} = ($? >> 8) . ' ' . ($? & 127); $kid->{pid} = 0;
  ended($id);
}
sub server {
  pipe(my $from, my $say) && pipe(my $hear, my $to) && defined(my $pid = fork) or return;
  if (!$pid) {
    # Whoever waits for the end of one of these must not wait for this.
    close $_ for \*STDIN, \*STDOUT, $from, $to, map({ $_->[0] } values %reads), map({ $_->{to} } values %servers);
    close $_->{go} for grep { $_->{go} } values %kids;
    serve($setns, $hear, $say);
  }
  my $server = $servers{$pid} = { pid => $pid, to => $to, said => '', id => 0 };
  $reads{fileno $from} = [$from, 0, 10, $server];
  return $server;
}
sub dismiss { my ($server) = @_; @idle = grep { $_ != $server } @idle; close $server->{to}; }
sub have_done {
  my ($id, $cwd, $calls) = @_;
  my $text = join "\0", $cwd eq '' ? '/' : $cwd, @$calls;
  my $message = pack('N', length $text) . $text;
  while (1) {
    my $server = shift @idle || server() or return answer($id, 9, ($! + 0) . " fork");
    # One that has died meanwhile takes nothing; of that it is told below.
    my ($at, $n) = (0, 1);
    while ($at < length $message && $n) { $n = syswrite($server->{to}, $message, length($message) - $at, $at); $at += $n // 0 }
    next unless $n;
    $server->{id} = $id;
    return;
  }
}
sub heard {
  my ($fd, $server) = @_;
  if (!sysread($reads{$fd}[0], $server->{said}, 65536, length $server->{said})) {
    dismiss($server);
    delete $servers{$server->{pid}}; close $reads{$fd}[0]; delete $reads{$fd};
    waitpid $server->{pid}, 0;
    answer($server->{id}, 0, ($? >> 8) . ' ' . ($? & 127)) if $server->{id};
    return;
  }
  return if length $server->{said} < 5;
  my ($size, $failed) = unpack('NC', $server->{said});
  return if length $server->{said} < 4 + $size;
  answer($server->{id}, 2, substr($server->{said}, 5)) if $size > 1;
  answer($server->{id}, 0, "$failed 0");
  @$server{qw(said id)} = ('', 0);
  if (@idle < 4) { push @idle, $server } else { dismiss($server) }
}
sub launch {
  my ($id, $flags, $cwd, $envs, $env, $calls, $argv, $input) = @_;
  my (%pipe, $pid);
  for my $channel (1, 2, 3, 4, 9) {
    next if $channel =~ /[34]/ && $flags !~ /$channel/ or $channel == 1 && $flags =~ /q/;
    pipe(my $r, my $w) or return answer($id, 9, ($! + 0) . " pipe");
    $pipe{$channel} = [$r, $w];
  }
  if ($flags =~ /i/) { pipe(my $r, my $w) or return answer($id, 9, ($! + 0) . " pipe"); $pipe{0} = [$r, $w]; }
  defined($pid = fork) or return answer($id, 9, ($! + 0) . " fork");
  if (!$pid) {
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
    syscall($setsid) if $flags =~ /d/;
    # F_DUPFD_CLOEXEC: copies high enough that none lies where another is to go.
    my %high = map { $_ => fcntl($pipe{$_}[$_ && $_ != 4 ? 1 : 0], 1030, 20) } keys %pipe;
    my $fail = sub { my $said = ($! + 0) . " $_[0]"; open(my $tell, '>&=', $high{9}); syswrite($tell, $said); exit 127 };
    open(my $null, '+<', '/dev/null');
    syscall($dup3, $high{$_} // fileno $null, $_, 0) for 0, 1, 2;
    close $null;
    syscall($dup3, $high{$_} + 0, $_, 0) for grep { $high{$_} } 3, 4;
    # They may make the directory.
    exit 1 if calls(sub { syswrite STDERR, $_[0] }, @$calls) == 2;
    if ($cwd ne '') { chdir $cwd or $fail->("chdir $cwd") }
    if ($envs >= 0) { %ENV = map { split /=/, $_, 2 } @$env }
    { no warnings; exec { $argv->[0] } @$argv }
    $fail->('exec');
  }
  if ($pipe{0}) { close $pipe{0}[0]; syswrite($pipe{0}[1], $input) if $input ne ''; close $pipe{0}[1]; }
  my ($wait, $go) = @{delete $pipe{4} // []};
  close $wait if $wait;
  $kids{$id} = { pid => $pid, open => scalar(grep { $_ > 0 && $_ != 3 } keys %pipe), status => '', go => $go };
  for my $channel (grep { $_ > 0 } keys %pipe) { close $pipe{$channel}[1]; watch($pipe{$channel}[0], $id, $channel); }
  # pidfd_open(2): readable when the process has ended.
  my $pidfd = syscall(434, $pid, 0);
  if ($pidfd >= 0 && open(my $h, '<&=', $pidfd)) { watch($h, $id, 0) } else { $kids{$id}{slow} = 1; $slow = 1 }
}
sub release {
  my ($id) = @_;
  for my $fd (grep { $reads{$_}[1] == $id && $reads{$_}[2] } keys %reads) { close $reads{$fd}[0]; delete $reads{$fd} }
  if ($kids{$id}) { $kids{$id}{open} = 0; ended($id) }
}
sub request {
  my ($verb, $id, @rest) = split /\0/, $_[0], 3;
  return release($id) if $verb eq 'release';
  if ($verb eq 'go') {
    my $go = $kids{$id} && delete $kids{$id}{go};
    if ($go) { syswrite($go, 'x'); close $go }
    return;
  }
  if ($verb eq 'kill') {
    my ($kid) = ($kids{$id} // (), grep { $_->{id} == $id } values %servers);
    kill $rest[0], $kid->{pid} if $kid && $kid->{pid};
    return;
  }
  my ($flags, $cwd, $envs, $calls, $args, $body) = split /\0/, $rest[0], 6;
  return news($id) if $flags =~ /n/;
  my $variables = $envs > 0 ? $envs : 0;
  my @fields = split /\0/, $body, $variables + $calls + $args + 1;
  my $input = pop @fields;
  my @env = splice @fields, 0, $variables;
  return have_done($id, $cwd, \@fields) unless $args;
  launch($id, $flags, $cwd, $envs, \@env, [splice @fields, 0, $calls], \@fields, $input);
}
# Our owner is gone: what still waits for its word never gets it.
sub leave { kill 9, $_->{pid} for grep { $_->{go} && $_->{pid} } values %kids; exit 0 }
while (1) {
  my ($r, $w) = ('', '');
  vec($r, 0, 1) = 1;
  vec($r, $_, 1) = 1 for keys %reads;
  vec($w, 1, 1) = 1 if $out ne '';
  my $any = select($r, $w, undef, $slow ? 0.01 : @idle ? 1 : undef);
  if (!$any && !$slow) { dismiss($_) for my @quiet = @idle }
  if ($slow) { $slow = 0; for my $id (grep { $kids{$_}{slow} && $kids{$_}{pid} } keys %kids) { $slow = 1; reap($id) } }
  if (vec($w, 1, 1)) { my $n = syswrite(STDOUT, $out, 65536); leave() unless defined $n; substr($out, 0, $n) = ''; }
  for my $fd (keys %reads) {
    next unless vec($r, $fd, 1);
    my ($h, $id, $channel) = @{$reads{$fd}};
    if ($channel == 10) { heard($fd, $reads{$fd}[3]); next }
    if ($channel == 0) { delete $reads{$fd}; close $h; reap($id); next }
    my $n = sysread($h, my $data, 65536);
    if ($n) { answer($id, $channel, $data); next }
    delete $reads{$fd}; close $h;
    if ($channel == 3) { answer($id, 3, ''); next }
    $kids{$id}{open}--; ended($id);
  }
  if (vec($r, 0, 1)) {
    my $n = sysread(STDIN, $in, 65536, length $in);
    leave() unless $n;
    while (length($in) >= 4) {
      my $size = unpack('N', $in);
      last if length($in) < 4 + $size;
      my $message = substr($in, 4, $size); substr($in, 0, 4 + $size) = '';
      request($message);
    }
  }
}
`
