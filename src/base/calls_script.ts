/**
 * The Perl that does system calls that Node has none for (kernel_calls.ts), in a process of its own: one for what has to be done now
 * (`CALLS_SCRIPT`), or one that the launcher keeps while there is more to do (`serve`). It uses what perl-base brings, nothing more.
 */

/**
 * Calls, each as four parts: what to say of it when it fails, its number (or the name of a sub below), how many values
 * follow, the values: `n` and a number, `s` and a string. The first that fails ends the process with 1; one whose
 * number begins with `?` lets those after it be done.
 */
export const CALLS = `
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
  # Closed with this.
  open(my $held, '<&=', $tree) or return;
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
# Writes to a file of the kernel's.
sub put {
  my ($path, $text) = @_; my $file;
  return open($file, '>', $path) && defined syswrite($file, $text);
}
# A file that is not there yet; on a full disk a part of it stays.
sub file {
  my ($path, $mode, $text) = @_; my ($file, $at) = (undef, 0);
  # O_WRONLY, O_CREAT, O_EXCL
  sysopen($file, $path, 0301, $mode) && chmod($mode, $file) or return;
  while ($at < length $text) { $at += syswrite($file, $text, length($text) - $at, $at) // return }
  return close $file;
}
# A directory with those above it, unless it is there.
sub path {
  my ($path, $mode) = @_;
  my ($above) = $path =~ m{^(.+)/[^/]+$};
  return -d $path || (!defined $above || path($above, $mode)) && (mkdir($path, $mode) || -d $path);
}
my %special = (
  put => \\&put, up => \\&up, idmap => \\&idmap, users => \\&users, enter => \\&enter, netlink => \\&tell,
  file => \\&file, path => \\&path,
  mkdir => sub { mkdir $_[0], $_[1] }, symlink => sub { symlink $_[0], $_[1] }, rename => sub { rename $_[0], $_[1] },
  chdir => sub { chdir $_[0] },
);
# 0: all done; 1: those after \`?\` alone failed; 2: one failed, and none was done after it.
sub calls {
  my $say = shift; my $failed = 0;
  while (my ($what, $number, $count) = splice @_, 0, 3) {
    my @values = map { /^n/ ? substr($_, 1) + 0 : substr($_, 1) } splice @_, 0, $count;
    my $mild = $number =~ s/^[?]//;
    my $done = $special{$number} ? $special{$number}->(@values) : syscall($number + 0, @values) != -1;
    next if $done;
    $say->("$what: $!");
    return 2 unless $mild;
    $failed = 1;
  }
  return $failed;
}
# So many bytes, or nothing at the end.
sub take {
  my ($in, $size) = @_; my $text = '';
  while (length $text < $size) { sysread($in, $text, $size - length $text, length $text) or return }
  return $text;
}
# Does calls for others, one after the other, and is after each where it was before; else it ends.
sub serve {
  my ($setns, $in, $out) = @_;
  my @home = map { my $file; open($file, '<', "/proc/self/ns/$_") ? $file : () } qw(net ipc uts);
  while (defined(my $size = take($in, 4))) {
    defined(my $text = take($in, unpack('N', $size))) or last;
    my ($directory, @calls) = split /\\0/, $text, -1; my $said = '';
    my $failed = chdir($directory) ? calls(sub { $said .= $_[0] }, @calls) : 2;
    $said = "chdir $directory: $!" if $failed == 2 && $said eq '';
    my $back = chdir('/') && @home == grep { syscall($setns, fileno $_, 0) == 0 } @home;
    syswrite($out, pack('NC', length($said) + 1, $failed ? 1 : 0) . $said);
    exit 0 unless $back && @home == 3;
  }
  exit 0;
}
`

/** Does the calls that stand on its input, split by NUL, and ends. Not its arguments: those everybody may read, and they are bounded. */
export const CALLS_SCRIPT = `${CALLS}local $/; exit(calls(sub { syswrite STDERR, $_[0] }, split /\\0/, <STDIN>, -1) ? 1 : 0);`
