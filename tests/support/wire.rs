//! Packets that no ordinary socket sends, and what a receiver reads from them.
//!
//! Masquerading changes ports and identifiers, so each packet repeats the port that it was sent from: its mark.

use super::lab::Family;

/// Type of an echo request: RFC 792 for ICMP, RFC 4443 for ICMPv6.
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_6: u8 = 128;
/// Header before the data of an echo request, the same in both standards.
const ECHO_HEADER_BYTES: usize = 8;
/// Where SCTP has its checksum, after ports and verification tag (RFC 9260, section 3.1).
const SCTP_CHECKSUM: std::ops::Range<usize> = 8..12;
/// Where an INIT chunk behind the SCTP header has its initiate tag (RFC 9260, section 3.3.2).
const SCTP_INITIATE_TAG: std::ops::Range<usize> = 16..20;

/// An echo request. In IPv6 the kernel adds the checksum (RFC 3542, section 3.1).
pub fn echo_request(family: Family, identifier: u16) -> Vec<u8> {
    let kind = match family {
        Family::V4 => ECHO_REQUEST,
        Family::V6 => ECHO_REQUEST_6,
    };
    let [high, low] = identifier.to_be_bytes();
    let mut packet = vec![kind, 0, 0, 0, high, low, 0, 1, high, low];
    if family == Family::V4 {
        let sum = internet_checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The identifier of the echo request that was sent with this one.
pub fn echo_identifier(family: Family, message: &[u8], sent_with: u16) -> Option<u16> {
    let expected = match family {
        Family::V4 => ECHO_REQUEST,
        Family::V6 => ECHO_REQUEST_6,
    };
    let ours = *message.first()? == expected
        && message.get(ECHO_HEADER_BYTES..) == Some(sent_with.to_be_bytes().as_slice());
    ours.then(|| port_at(message, 4))?
}

/// The first packet of an SCTP association (RFC 9260, section 3.3.2). Conntrack begins a connection only with
/// an INIT whose verification tag is zero and whose checksum is right.
pub fn sctp_init(source_port: u16, destination_port: u16) -> Vec<u8> {
    // Chunk INIT of 20 bytes without flags.
    let mut chunk = vec![1, 0, 0, 20];
    chunk.extend(initiate_tag(source_port));
    // Window, then one stream each way, then the first sequence number.
    chunk.extend(65_535_u32.to_be_bytes());
    chunk.extend([0, 1, 0, 1]);
    chunk.extend(1_u32.to_be_bytes());
    sctp(source_port, destination_port, 0, &chunk)
}

/// A packet of SCTP with one chunk.
pub fn sctp(source_port: u16, destination_port: u16, tag: u32, chunk: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(12 + chunk.len());
    packet.extend(source_port.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    // The checksum is reckoned with zeros in its place.
    packet.extend([0; 4]);
    packet.extend(chunk);
    let sum = crc32c(&packet).to_le_bytes();
    packet[SCTP_CHECKSUM].copy_from_slice(&sum);
    packet
}

/// The source port of the INIT that was sent from this one.
pub fn sctp_source_port(packet: &[u8], sent_from: u16) -> Option<u16> {
    let ours = packet.get(SCTP_INITIATE_TAG)? == initiate_tag(sent_from).as_slice();
    ours.then(|| port_at(packet, 0))?
}

/// Not zero, which an INIT may not carry, and different for each port.
fn initiate_tag(port: u16) -> [u8; 4] {
    (0x4c41_0000 | u32::from(port)).to_be_bytes()
}

/// A packet as PPTP sends it (RFC 2637, section 4.1). Conntrack tells such flows by their call IDs; plain GRE has only
/// addresses, so that two probes to one destination would be one connection.
pub fn gre(call_id: u16) -> [u8; 10] {
    let [high, low] = call_id.to_be_bytes();
    // Key present and version 1, then PPP, then the length of what follows the header.
    [0x20, 0x01, 0x88, 0x0b, 0, 2, high, low, high, low]
}

/// The call ID of the packet that was sent with this one.
pub fn gre_call_id(packet: &[u8], sent_with: u16) -> Option<u16> {
    let ours = packet.get(8..)? == sent_with.to_be_bytes().as_slice();
    ours.then(|| port_at(packet, 6))?
}

fn port_at(packet: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes([
        *packet.get(offset)?,
        *packet.get(offset + 1)?,
    ]))
}

/// What follows the header of an IPv4 packet, whose length is counted in words of four bytes (RFC 791).
pub fn behind_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let header_words = usize::from(packet.first()? & 0x0f);
    packet.get(header_words * 4..)
}

/// The checksum of IPv4, TCP and others (RFC 1071), of an even number of bytes.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// SCTP's checksum (RFC 9260, appendix A), bit by bit: the packets are short.
fn crc32c(bytes: &[u8]) -> u32 {
    // Castagnoli's polynomial, reflected.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    !crc
}
