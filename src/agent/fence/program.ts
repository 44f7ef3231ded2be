/**
 * The fencer: a page of Perl (perl-base is essential on Debian; attach and the launcher need it too) in a process of its own,
 * about 6 MB. It kills every process of the node's exclusive pods once their lease has run out, and goes on killing until there is a
 * lease again. It needs nobody: what it must know stands in a directory.
 *
 *   <dir>/lease         "<boot id> <deadline>"; the deadline in milliseconds of /proc/uptime, which counts suspended time.
 *                       Replaced as a whole by the agent; absent, damaged or of another boot: there is no lease
 *   <dir>/pods/<uid>    an exclusive pod, there before its first container; holds when the fencer last killed in it
 *   <dir>/status        "<pid> <uptime ms of the round> <1 with a lease, else 0>", ten times a second
 *   <dir>/lock          held while it lives, so that there is one
 *
 * Arguments: dir, cgroup parent, then the mount points of the cgroup hierarchies. It ends by itself when the directory or
 * its last pod is gone.
 *
 * Invariant: a round reads the clock after the lease, so that a round that was held up in between sees a clock that is late, never a lease
 * that is old and a clock that is young.
 *
 * Rejected: a thread of the agent (SIGSTOP stops it too); a timer in select (it counts no suspended time); freezing instead
 * of killing (what is thawed writes on); a second Node (40 MB).
 */
export const FENCER = String.raw`
use strict; use Fcntl ':flock';
my ($dir, $parent, @mounts) = @ARGV;
$0 = "drover-fencer $dir";
$SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE USR1 USR2);
open(my $lock, '>>', "$dir/lock") or exit 1;
flock($lock, LOCK_EX | LOCK_NB) or exit 0;
sub text { open(my $h, '<', $_[0]) or return ''; local $/; my $t = readline $h; defined $t ? $t : '' }
sub replace { my ($path, $t) = @_; open(my $h, '>', "$path.tmp") or return 0; print $h $t; close $h; rename "$path.tmp", $path }
sub names { opendir(my $h, $_[0]) or return; grep { !/^\./ } readdir $h }
my ($boot) = text('/proc/sys/kernel/random/boot_id') =~ /(\S+)/;
sub uptime { text('/proc/uptime') =~ /^(\d+)\.(\d\d)/ or die 'no /proc/uptime'; $1 * 1000 + $2 * 10 }
# What hardly gets a processor dies late. The next container's start has the pod weigh what it did.
sub hasten {
  my ($path) = @_;
  for (['cpu.shares', 1024], ['cpu.weight', 100]) {
    my ($file, $least) = ("$path/$_->[0]", $_->[1]);
    my ($weight) = text($file) =~ /^(\d+)/;
    if (defined $weight && $weight < $least && open(my $h, '+<', $file)) { syswrite $h, $least }
  }
}
sub end {
  my ($path) = @_; my $killed = 0;
  hasten($path);
  if (-e "$path/cgroup.kill" && open(my $h, '>', "$path/cgroup.kill")) { syswrite $h, '1' }
  for my $pid (text("$path/cgroup.procs") =~ /^([1-9]\d*)$/mg) { $killed += kill 'KILL', $pid }
  for my $child (names($path)) { $killed += end("$path/$child") if -d "$path/$child" }
  $killed;
}
my ($idle, $told) = (0, -1000);
while (-d "$dir/pods") {
  my ($of, $deadline) = text("$dir/lease") =~ /^(\S+) (\d+)$/;
  my $now = uptime();
  my @pods = grep { /^[\w-]+$/ } names("$dir/pods");
  my $licensed = defined $deadline && $of eq $boot && $now < $deadline;
  unless ($licensed) {
    for my $pod (@pods) {
      my $killed = 0;
      $killed += end("$_$parent/$pod") for @mounts;
      replace("$dir/.$pod", time) && -e "$dir/pods/$pod" && rename("$dir/.$pod", "$dir/pods/$pod") if $killed;
    }
  }
  $idle = @pods ? 0 : $idle + 1;
  exit 0 if $idle > 500;
  if ($now - $told >= 100) { replace("$dir/status", "$$ $now " . ($licensed ? 1 : 0) . "\n"); $told = $now }
  select undef, undef, undef, 0.02;
}
`
