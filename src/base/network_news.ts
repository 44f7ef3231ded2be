/**
 * What has become of a network namespace since somebody asked last: the kernel tells listeners of every change of devices,
 * addresses, routes and neighbours, and counts the transactions on its nft rules. The launcher listens (launcher_script.ts), for it is
 * there anyway, and answers in a fraction of a millisecond; looking at everything takes seven programs.
 *
 * Rejected: `ip monitor` and `nft monitor`, two more processes for each agent, of which the second holds all rules in memory and prints
 * every change that we make ourselves.
 */
import { DroverError } from './errors.ts'

export interface NetworkNews {
  /** Of the nft rules, of all tables: counted up by each transaction. Undefined where it cannot be told. */
  generation: number | undefined
  /** A device, an address or a route has changed, or nobody knows. */
  changed: boolean
  /** Devices, by index, of which a neighbour or a forwarding entry has changed. */
  neighboursOf: readonly number[]
}

/** Undefined: there is nobody to ask. */
export type AskNews = () => Promise<NetworkNews | undefined>

/**
 * Subs of the launcher. `changes`: RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR and _IPV4_ROUTE on one socket, emptied when asked; `all` when it is
 * new, or has overflowed (ENOBUFS), or broken. `generation`: NFT_MSG_GETGEN; in the answer attribute NFTA_GEN_ID.
 * Source: netlink(7), rtnetlink(7), the kernel's nfnetlink.h and nf_tables.h.
 */
export const NEWS_SUBS = String.raw`
my ($routes, $rules);
sub netlink {
  my ($protocol, $groups) = @_; my $socket;
  return socket($socket, 16, 0x80803, $protocol) && bind($socket, pack('SSLL', 16, 0, 0, $groups)) ? $socket : undef;
}
sub changes {
  my %seen;
  $routes or $seen{all} = 1, $routes = netlink(0, 0x55);
  for (1 .. 4096) {
    last unless $routes;
    my $got = recv($routes, my $said, 65536, 0);
    last if !defined $got && $! == 11;
    if (!defined $got) { $seen{all} = 1; undef $routes unless $! == 105; next }
    for (my ($at, $length) = (0, 0); $at + 20 <= length $said; $at += ($length + 3) & ~3) {
      ($length, my ($type, $device)) = unpack('L S x14 l', substr($said, $at) . "\0" x 24);
      $seen{$type == 28 || $type == 29 ? "neighbour:$device" : 'changed'} = 1;
      last if $length < 16;
    }
  }
  return join ' ', sort keys %seen;
}
sub generation {
  $rules ||= netlink(12, 0) or return '';
  my $said = '';
  send($rules, pack('LSSLLCCn', 20, 0xa10, 1, 1, 0, 0, 0, 0), 0, pack('SSLL', 16, 0, 0, 0)) && recv($rules, $said, 4096, 0);
  my ($length, $type) = length $said < 20 ? (0, 0) : unpack('LS', $said);
  for (my $at = 20; $type == 0xa0f && $at + 4 <= $length;) {
    my ($size, $kind) = unpack('SS', substr($said, $at));
    return unpack('N', substr($said, $at + 4)) if $kind == 1 && $size == 8;
    $at += $size < 4 ? 4 : ($size + 3) & ~3;
  }
  undef $rules;
  return '';
}
sub news { my ($id) = @_; answer($id, 1, changes() . "\n" . generation()); answer($id, 0, '0 0') }
`

/** Reads what `news` answers. Throws `internal` for anything else. */
export function parseNews(text: string): NetworkNews {
  const [, kinds, generation] = /^([a-z0-9: -]*)\n(\d*)$/.exec(text) ?? []
  if (kinds === undefined) throw new DroverError('internal', `what the launcher heard of the network is not "${text}"`)
  const words = kinds.split(' ').filter((word) => word !== '')
  const neighbours = words.filter((word) => word.startsWith('neighbour:'))
  return {
    generation: generation === '' ? undefined : Number(generation),
    changed: neighbours.length < words.length,
    neighboursOf: neighbours.map((word) => Number(word.slice('neighbour:'.length))),
  }
}
