//! Netfilter's netlink messages, taken apart. What is cut short ends the walk.

/// Behind the headers of netlink (16 bytes) and netfilter (4).
const HEADERS: usize = 20;

/// The messages of a datagram: kind, attributes.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let message = bytes.get(..length).filter(|m| m.len() >= 16)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([message[4], message[5]]), message.get(HEADERS..).unwrap_or_default()))
    })
}

/// Kind and value of each attribute.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let attribute = bytes.get(..size).filter(|a| a.len() >= 4)?;
        bytes = bytes.get(size.next_multiple_of(4)..).unwrap_or_default();
        // the upper bits say that it is nested, or in network order
        Some((u16::from_ne_bytes([attribute[2], attribute[3]]) & 0x3fff, &attribute[4..]))
    })
}

/// The value of the first attribute of that kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// An attribute, padded.
pub fn encoded(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A request with the flags of netlink, for an address family.
pub fn request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADERS + attributes.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // sequence and port are of no use on a socket that has one request at a time
    bytes.resize(16, 0);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}
