/**
 * Whether somebody else has changed this namespace's nft rules: the kernel counts transactions, of whatever table, and we count
 * ours. Asked through netlink by a page of Perl (which the agent needs anyway, see base/launcher.ts): 3 ms, where reading 10,000
 * services' rules takes seconds.
 *
 * Rejected: `nft monitor` as a child, which holds the whole ruleset in memory and prints every change that we make ourselves.
 */
import type { Programs } from './programs.ts'

/** NFT_MSG_GETGEN of NFNL_SUBSYS_NFTABLES; in the answer, after 20 bytes of headers, attribute NFTA_GEN_ID. */
const ASK = `
socket(my $s, 16, 3, 12) or die "netlink: $!";
send($s, pack("LSSLLCCn", 20, 0xa10, 1, 1, 0, 0, 0, 0), 0, pack("SSLL", 16, 0, 0, 0)) or die "send: $!";
defined recv($s, my $m, 4096, 0) or die "receive: $!";
my ($length, $type) = unpack("LS", $m);
die "answer of type $type" if $type != 0xa0f;
for (my $at = 20; $at < $length;) {
  my ($size, $kind) = unpack("SS", substr($m, $at));
  if ($kind == 1) { print unpack("N", substr($m, $at + 4)); exit 0 }
  $at += ($size + 3) & ~3;
}
die "no generation in the answer";
`
const MODULUS = 2 ** 32

export interface Generation {
  /** One transaction of ours was taken. */
  count(): void
  /** False when others have written since the last look, or when that cannot be told. */
  isOurs(): Promise<boolean>
  /** Call before the rules are read. */
  note(): Promise<void>
}

export function createGeneration(programs: Pick<Programs, 'run'>): Generation {
  let expected: number | undefined
  const ask = async (): Promise<number | undefined> => {
    const { exitCode, stdout } = await programs.run('perl', ['-e', ASK])
    return exitCode === 0 && /^\d+$/.test(stdout) ? Number(stdout) : undefined
  }
  return {
    count() {
      if (expected !== undefined) expected = (expected + 1) % MODULUS
    },
    async isOurs() {
      return expected !== undefined && (await ask()) === expected
    },
    async note() {
      expected = await ask()
    },
  }
}
