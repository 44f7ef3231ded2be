/**
 * The default seccomp profile: an allow-list in the shape that container engines have converged on. What is not listed
 * fails with EPERM, so that programs fall back; clone3 fails with ENOSYS, because its flags cannot be inspected and libc
 * then uses clone. Groups that need a capability open up with it. Names that an architecture or an older libseccomp lacks
 * are skipped by the runtime.
 */
import type { OciSeccomp } from './oci_types.ts'

const EPERM = 1
const ENOSYS = 38
/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: making namespaces is what the profile denies to clone. */
const CLONE_NAMESPACE_FLAGS = 0x7e020000
const AF_VSOCK = 40

/** A line a topic. */
const ALLOWED = `
read write readv writev pread64 pwrite64 preadv preadv2 pwritev pwritev2 lseek sendfile splice tee vmsplice copy_file_range
open openat openat2 creat close close_range dup dup2 dup3 fcntl flock ioctl pipe pipe2 name_to_handle_at
stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 cachestat
chdir fchdir getcwd mkdir mkdirat rmdir rename renameat renameat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat mknod mknodat
chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown umask utime utimes utimensat futimesat
truncate ftruncate fallocate fsync fdatasync sync syncfs sync_file_range sync_file_range2 fadvise64 readahead
getdents getdents64 getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
getxattrat setxattrat listxattrat removexattrat file_getattr file_setattr
inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
mmap munmap mremap mprotect madvise msync mincore mlock mlock2 mlockall munlock munlockall brk memfd_create memfd_secret map_shadow_stack
remap_file_pages mseal membarrier pkey_alloc pkey_free pkey_mprotect
fork vfork execve execveat exit exit_group wait4 waitid prctl arch_prctl set_tid_address set_robust_list get_robust_list rseq
getpid getppid gettid getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal process_mrelease
getuid geteuid getgid getegid getresuid getresgid getgroups
setuid setgid setreuid setregid setresuid setresgid setgroups
setfsuid setfsgid capget capset
kill tkill tgkill rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sigaltstack signalfd signalfd4 pause alarm restart_syscall
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
eventfd eventfd2 futex futex_wait futex_wake futex_requeue futex_waitv io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents
time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep times adjtimex clock_adjtime
timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
getitimer setitimer
accept accept4 bind connect listen getsockname getpeername getsockopt setsockopt shutdown socketpair
sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedreceive
sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler sched_setscheduler
sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set
getrlimit setrlimit prlimit64 getrusage sysinfo uname getcpu getrandom seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self
get_thread_area set_thread_area modify_ldt
`

/**
 * What only programs of 32 bits call so: a fifth of the names, and the time that libseccomp takes grows with the square of them
 * (measured: half a millisecond of fifty). Source: the kernel's asm/unistd_64.h and asm-generic/unistd.h.
 */
const ALLOWED_32_BIT = `
_llseek sendfile64 fcntl64 stat64 lstat64 fstat64 fstatat64 statfs64 fstatfs64 chown32 fchown32 lchown32 utimensat_time64 truncate64 ftruncate64
fadvise64_64 mmap2 waitpid getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32 getgroups32 setuid32 setgid32 setreuid32 setregid32
setresuid32 setresgid32 setgroups32 setfsuid32 setfsgid32 rt_sigtimedwait_time64 signal sigaction sigprocmask sigpending sigsuspend sigreturn
ppoll_time64 _newselect pselect6_time64 futex_time64 io_pgetevents_time64 clock_gettime64 clock_getres_time64 clock_nanosleep_time64 clock_adjtime64
timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 socketcall send recv recvmmsg_time64 semtimedop_time64 ipc mq_timedsend_time64
mq_timedreceive_time64 sched_rr_get_interval_time64 nice ugetrlimit arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls
`

/**
 * Safe beside seccomp since Linux 4.8, below which nothing here runs. The last two reach just what the first does: the
 * kernel asks for the same right over the other process.
 */
const TRACING = ['ptrace', 'process_vm_readv', 'process_vm_writev']

/** Opened by any one of the capabilities named. */
const WITH_CAPABILITY: Readonly<Record<string, string>> = {
  CAP_DAC_READ_SEARCH: 'open_by_handle_at',
  CAP_SYS_ADMIN:
    'bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns statmount syslog umount umount2 unshare',
  CAP_SYS_BOOT: 'reboot',
  CAP_SYS_CHROOT: 'chroot',
  CAP_SYS_MODULE: 'delete_module init_module finit_module',
  CAP_SYS_PACCT: 'acct',
  CAP_SYS_PTRACE: 'kcmp pidfd_getfd process_madvise',
  CAP_SYS_RAWIO: 'iopl ioperm',
  CAP_SYS_TIME: 'settimeofday stime clock_settime clock_settime64',
  CAP_SYS_TTY_CONFIG: 'vhangup',
  CAP_SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  CAP_SYSLOG: 'syslog',
  CAP_BPF: 'bpf',
  CAP_PERFMON: 'perf_event_open',
}

const ARCHITECTURES: Readonly<Record<string, { native: string; compat32: string }>> = {
  x64: { native: 'SCMP_ARCH_X86_64', compat32: 'SCMP_ARCH_X86' },
  arm64: { native: 'SCMP_ARCH_AARCH64', compat32: 'SCMP_ARCH_ARM' },
}

function names(text: string): string[] {
  return text.split(/\s+/).filter(Boolean)
}

/**
 * `architecture` is Node's `process.arch`. Undefined where no profile is known: better none than a broken one.
 * `compat32`: programs of the processor's 32-bit mode run too (see loaders.ts).
 */
export function seccompProfile(
  architecture: string,
  capabilities: readonly string[],
  compat32: boolean,
): OciSeccomp | undefined {
  const known = ARCHITECTURES[architecture]
  if (known === undefined) return undefined
  const architectures = compat32 ? [known.native, known.compat32] : [known.native]
  const admin = capabilities.includes('CAP_SYS_ADMIN')
  const allowed = new Set([...names(ALLOWED), ...(compat32 ? names(ALLOWED_32_BIT) : []), ...TRACING])
  for (const capability of capabilities) {
    for (const name of names(WITH_CAPABILITY[capability] ?? '')) allowed.add(name)
  }
  const action = 'SCMP_ACT_ALLOW'
  const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff]
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures,
    syscalls: [
      { names: [...allowed].sort(), action },
      { names: ['socket'], action, args: [{ index: 0, value: AF_VSOCK, op: 'SCMP_CMP_NE' }] },
      ...personalities.map((value) => ({
        names: ['personality'],
        action,
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      })),
      ...(admin
        ? []
        : [
            {
              names: ['clone'],
              action,
              args: [{ index: 0, value: CLONE_NAMESPACE_FLAGS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
            },
            { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
          ]),
    ],
  }
}
