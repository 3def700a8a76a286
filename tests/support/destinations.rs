//! The destinations of many flows, as numbered rows.

use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::lab::{Family, mapped};

/// Of a larger prefix so many bits are counted through, more than any test sends flows.
const MAX_COUNTED_BITS: u8 = 28;
/// Odd, so that it walks through a row of any power of two; other sizes are corrected by [`stride`].
const STRIDE: u64 = 2_654_435_761;

/// The addresses of some prefixes of one family as one numbered row, each used once with every source port.
#[derive(Debug)]
pub struct Row {
    prefixes: Vec<IpNet>,
    size: u64,
    stride: u64,
    /// How many destinations have been taken.
    pub taken: u64,
}

impl Row {
    /// A row for each family that has prefixes.
    pub fn of_each_family(prefixes: &[IpNet]) -> Vec<Self> {
        let rows = Family::BOTH.map(|family| {
            let of_family = |prefix: &&IpNet| Family::of(prefix.addr()) == family;
            let prefixes: Vec<IpNet> = prefixes.iter().filter(of_family).copied().collect();
            let size = prefixes.iter().map(prefix_size).sum();
            (size > 0).then(|| Self {
                prefixes,
                size,
                stride: stride(size),
                taken: 0,
            })
        });
        rows.into_iter().flatten().collect()
    }

    /// The destination of flow number `number`, and which source port it takes. No two numbers give
    /// the same pair until the source ports are used up.
    fn flow(&self, number: u64) -> (Ipv6Addr, usize) {
        let round = usize::try_from(number / self.size).expect("64-bit usize");
        let mut index = (number % self.size).wrapping_mul(self.stride) % self.size;
        for prefix in &self.prefixes {
            if index < prefix_size(prefix) {
                return (address_at(prefix, index), round);
            }
            index -= prefix_size(prefix);
        }
        unreachable!("the index is smaller than the row");
    }

    /// The next destinations, and which source port they take. A batch has one: at the end of a round some of its
    /// flows take the next one early.
    pub fn next_batch(&mut self, length: u64) -> (Vec<Ipv6Addr>, usize) {
        let numbers = self.taken..self.taken + length;
        self.taken = numbers.end;
        let (_, round) = self.flow(numbers.end - 1);
        (numbers.map(|number| self.flow(number).0).collect(), round)
    }
}

/// How many bits of a destination are counted through, and how many bits behind them stay zero: the addresses
/// are spread over the whole prefix.
fn counted_bits(prefix: &IpNet) -> (u8, u8) {
    let host_bits = prefix.max_prefix_len() - prefix.prefix_len();
    let counted = host_bits.min(MAX_COUNTED_BITS);
    (counted, host_bits - counted)
}

fn prefix_size(prefix: &IpNet) -> u64 {
    1 << counted_bits(prefix).0
}

/// IPv4 is sent through the same sockets, by IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
fn address_at(prefix: &IpNet, index: u64) -> Ipv6Addr {
    let network = mapped(prefix.network()).to_bits();
    Ipv6Addr::from_bits(network | u128::from(index) << counted_bits(prefix).1)
}

/// A step that visits every index of a row once, without visiting neighbours one after the other.
fn stride(size: u64) -> u64 {
    let mut stride = STRIDE % size.max(2);
    while gcd(stride, size) != 1 {
        stride += 1;
    }
    stride
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
