/**
 * The Perl that starts programs for us (launcher.ts) and does system calls that Node has none for (kernel_calls.ts).
 * It uses what perl-base brings, nothing more.
 */

import { NEWS_SUBS } from './network_news.ts'

/**
 * Calls, each as four parts: what to say of it when it fails, its number (or the name of a sub below), how many values
 * follow, the values: `n` and a number, `s` and a string. The first that fails ends the process with 1; one whose
 * number begins with `?` lets those after it be done.
 */
const CALLS = `
use strict;
# Raises a network interface.
sub up {
  my ($name) = @_; my ($socket, $request);
  return socket($socket, 2, 2, 0) && ioctl($socket, 0x8914, $request = pack('a16 s x22', $name, 0x41));
}
# Shows a tree of mounts at another place, with the ids of a user namespace: open_tree, mount_setattr, move_mount. With a
# fourth value, flags of mount_setattr, also read-only.
sub idmap {
  my ($source, $target, $users, $fixed) = @_; my $none = '';
  open(my $map, '<', $users) or return;
  my $tree = syscall(428, -100, $source, 0x88001);
  return if $tree < 0;
  my $attr = pack('Q4', 0x100000, 0, 0x40000, fileno $map);
  syscall(442, $tree, $none, 0x9000, $attr, 32) == 0 or return;
  my $only = pack('Q4', 1, 0, 0, 0);
  return if $fixed && syscall(442, $tree, $none, $fixed, $only, 32) != 0;
  return syscall(429, $tree, $none, -100, $target, 4) == 0;
}
# Makes a user namespace and others that it owns, writes its ids and pins them; only another process may write the ids.
sub users {
  my ($unshare, $mount, $flags, $first, $size, @pins) = @_; my ($ready, $tell, $wait, $go);
  pipe($ready, $tell) && pipe($wait, $go) or return;
  defined(my $pid = fork) or return;
  if (!$pid) {
    close $_ for $ready, $go;
    syscall($unshare, $flags) == 0 && up('lo') or exit($! + 0);
    syswrite($tell, 'y'); sysread($wait, my $end, 1); exit 0;
  }
  close $_ for $tell, $wait;
  my $done = sysread($ready, my $said, 1);
  for my $map (qw(uid_map gid_map)) {
    my $file;
    $done &&= open($file, '>', "/proc/$pid/$map") && syswrite($file, "0 $first $size");
  }
  while ($done && @pins) {
    my ($name, $path) = splice @pins, 0, 2;
    $done = syscall($mount, "/proc/$pid/ns/$name", $path, 0, 4096, 0) == 0;
  }
  my $error = $! + 0;
  close $go; waitpid $pid, 0;
  $! = ($? >> 8) || $error;
  return $done;
}
# Goes into the namespace that a file holds.
sub enter {
  my ($setns, $path, $kind) = @_; my $file;
  return open($file, '<', $path) && syscall($setns, fileno $file, $kind) == 0;
}
# Tells the kernel by netlink and hears what became of it, which it has answered by the time that send returns. After family
# and message pairs of a place in it and what goes there: the number of an open file, or an interface's index (SIOCGIFINDEX).
sub tell {
  my ($family, $message, @places) = @_; my ($socket, $said, @open);
  $message = pack('H*', $message);
  while (my ($place, $what) = splice @places, 0, 2) {
    my ($kind, $name) = split /:/, $what, 2; my ($number, $any, $request);
    if ($kind eq 'file') { open(my $file, '<', $name) or return; push @open, $file; $number = fileno $file }
    else {
      socket($any, 2, 2, 0) && ioctl($any, 0x8933, $request = pack('a16 x24', $name)) or return;
      $number = unpack('x16 l', $request);
    }
    substr($message, $place, 4) = pack('L', $number);
  }
  socket($socket, 16, 0x80003, $family) or return;
  defined(send($socket, $message, 0, pack('SSLL', 16, 0, 0, 0))) && defined(recv($socket, $said, 8192, 0x40)) or return;
  my ($type, $error) = unpack('x4 S x10 l', $said . "\\0" x 20);
  $! = $type == 2 ? -$error : 71;
  return $type == 2 && $error == 0;
}
my %special = (up => \\&up, idmap => \\&idmap, users => \\&users, enter => \\&enter, netlink => \\&tell);
sub calls {
  my $failed = 0;
  while (my ($what, $number, $count) = splice @_, 0, 3) {
    my @values = map { /^n/ ? substr($_, 1) + 0 : substr($_, 1) } splice @_, 0, $count;
    my $mild = $number =~ s/^[?]//;
    my $done = $special{$number} ? $special{$number}->(@values) : syscall($number + 0, @values) != -1;
    next if $done;
    my $said = "$what: $!";
    syswrite STDERR, $said;
    exit 1 unless $mild;
    $failed = 1;
  }
  return $failed;
}
`

/** Does the calls that are its arguments, and ends. */
export const CALLS_SCRIPT = `${CALLS}exit calls(@ARGV);`

/**
 * Numbers of setsid(2) and dup3(2), by Node's `process.arch`: arguments of the launcher, since Perl's own module for them (POSIX) takes
 * 2 MB. Source: the kernel's system call tables.
 */
export const LAUNCHER_NUMBERS: Readonly<Record<string, readonly [setsid: number, dup3: number]>> = {
  x64: [112, 292],
  arm64: [157, 24],
  riscv64: [157, 24],
  loong64: [157, 24],
  ppc64: [66, 316],
  s390x: [66, 326],
  arm: [66, 358],
  ia32: [66, 330],
}

export const LAUNCHER_SCRIPT = String.raw`${CALLS}${NEWS_SUBS}my ($setsid, $dup3) = map { $_ + 0 } @ARGV;
my ($in, $out, %kids, %reads, $slow) = ('', '');
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
sub launch {
  my ($id, $flags, $cwd, $envs, $env, $calls, $argv, $input) = @_;
  my (%pipe, $pid);
  for my $channel (1, 2, 3, 9) {
    next if $channel == 3 && $flags !~ /3/ or $channel == 1 && $flags =~ /q/;
    pipe(my $r, my $w) or return answer($id, 9, ($! + 0) . " pipe");
    $pipe{$channel} = [$r, $w];
  }
  if ($flags =~ /i/) { pipe(my $r, my $w) or return answer($id, 9, ($! + 0) . " pipe"); $pipe{0} = [$r, $w]; }
  defined($pid = fork) or return answer($id, 9, ($! + 0) . " fork");
  if (!$pid) {
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
    syscall($setsid) if $flags =~ /d/;
    # F_DUPFD_CLOEXEC: copies high enough that none lies where another is to go.
    my %high = map { $_ => fcntl($pipe{$_}[$_ ? 1 : 0], 1030, 20) } keys %pipe;
    my $fail = sub { my $said = ($! + 0) . " $_[0]"; open(my $tell, '>&=', $high{9}); syswrite($tell, $said); exit 127 };
    open(my $null, '+<', '/dev/null');
    syscall($dup3, $high{$_} // fileno $null, $_, 0) for 0, 1, 2;
    close $null;
    syscall($dup3, $high{3} + 0, 3, 0) if $high{3};
    if ($cwd ne '') { chdir $cwd or $fail->("chdir $cwd") }
    my $failed = calls(@$calls);
    exit $failed unless @$argv;
    if ($envs >= 0) { %ENV = map { split /=/, $_, 2 } @$env }
    { no warnings; exec { $argv->[0] } @$argv }
    $fail->('exec');
  }
  if ($pipe{0}) { close $pipe{0}[0]; syswrite($pipe{0}[1], $input) if $input ne ''; close $pipe{0}[1]; }
  $kids{$id} = { pid => $pid, open => scalar(grep { $_ > 0 && $_ != 3 } keys %pipe), status => '' };
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
  if ($verb eq 'kill') { my $kid = $kids{$id}; kill $rest[0], $kid->{pid} if $kid && $kid->{pid}; return; }
  my ($flags, $cwd, $envs, $calls, $args, $body) = split /\0/, $rest[0], 6;
  return news($id) if $flags =~ /n/;
  my $variables = $envs > 0 ? $envs : 0;
  my @fields = split /\0/, $body, $variables + $calls + $args + 1;
  my $input = pop @fields;
  launch($id, $flags, $cwd, $envs, [splice @fields, 0, $variables], [splice @fields, 0, $calls], \@fields, $input);
}
while (1) {
  my ($r, $w) = ('', '');
  vec($r, 0, 1) = 1;
  vec($r, $_, 1) = 1 for keys %reads;
  vec($w, 1, 1) = 1 if $out ne '';
  select($r, $w, undef, $slow ? 0.01 : undef);
  if ($slow) { $slow = 0; for my $id (grep { $kids{$_}{slow} && $kids{$_}{pid} } keys %kids) { $slow = 1; reap($id) } }
  if (vec($w, 1, 1)) { my $n = syswrite(STDOUT, $out, 65536); exit 0 unless defined $n; substr($out, 0, $n) = ''; }
  for my $fd (keys %reads) {
    next unless vec($r, $fd, 1);
    my ($h, $id, $channel) = @{$reads{$fd}};
    if ($channel == 0) { delete $reads{$fd}; close $h; reap($id); next }
    my $n = sysread($h, my $data, 65536);
    if ($n) { answer($id, $channel, $data); next }
    delete $reads{$fd}; close $h;
    if ($channel == 3) { answer($id, 3, ''); next }
    $kids{$id}{open}--; ended($id);
  }
  if (vec($r, 0, 1)) {
    my $n = sysread(STDIN, $in, 65536, length $in);
    exit 0 unless $n;
    while (length($in) >= 4) {
      my $size = unpack('N', $in);
      last if length($in) < 4 + $size;
      my $message = substr($in, 4, $size); substr($in, 0, 4 + $size) = '';
      request($message);
    }
  }
}
`
