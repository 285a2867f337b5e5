//! One event in a segment: `len u32 | crc32 u32 | seq u64 | payload`, little endian. The checksum covers length, number and
//! payload, so that a flipped bit in any of them is found.

/// Bytes before the payload.
pub const HEADER: usize = 16;
/// The largest payload.
pub const MAX_PAYLOAD: usize = 64 << 10;

/// What the next bytes of a segment are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An event, `HEADER + payload.len()` bytes long.
    Record { seq: u64, payload: &'a [u8] },
    /// The bytes end before the event does.
    Incomplete,
    /// Not what was written.
    Damaged,
}

/// Appends one event to `buffer`. `payload` is at most [`MAX_PAYLOAD`] long.
pub fn encode(buffer: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    let len = (payload.len() as u32).to_le_bytes();
    let seq = seq.to_le_bytes();
    buffer.extend_from_slice(&len);
    buffer.extend_from_slice(&checksum(len, seq, payload).to_le_bytes());
    buffer.extend_from_slice(&seq);
    buffer.extend_from_slice(payload);
}

/// Looks at the event that begins `bytes`; one whose number is not above `after` is damaged.
pub fn parse(bytes: &[u8], after: u64) -> Parsed<'_> {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Parsed::Incomplete };
    let payload_len = u32::from_le_bytes(*len) as usize;
    if payload_len > MAX_PAYLOAD {
        return Parsed::Damaged;
    }
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Parsed::Incomplete };
    let Some((seq, rest)) = rest.split_first_chunk::<8>() else { return Parsed::Incomplete };
    let number = u64::from_le_bytes(*seq);
    if number <= after {
        return Parsed::Damaged;
    }
    let Some(payload) = rest.get(..payload_len) else { return Parsed::Incomplete };
    if checksum(*len, *seq, payload) != u32::from_le_bytes(*crc) {
        return Parsed::Damaged;
    }
    Parsed::Record { seq: number, payload }
}

/// How long the events at the start of `bytes` are that fit into `room` (one at least), and the last one's number.
/// `bytes` is what [`encode`] made.
pub fn fitting(bytes: &[u8], room: u64) -> (usize, u64) {
    let (mut taken, mut last) = (0, 0);
    while let Parsed::Record { seq, payload } = unchecked(&bytes[taken..]) {
        let len = HEADER + payload.len();
        if taken > 0 && (taken + len) as u64 > room {
            break;
        }
        taken += len;
        last = seq;
    }
    (taken, last)
}

/// The number of the first event in `bytes`, which is what [`encode`] made; 0 when there is none.
pub fn first(bytes: &[u8]) -> u64 {
    match unchecked(bytes) {
        Parsed::Record { seq, .. } => seq,
        _ => 0,
    }
}

/// As [`parse`] for bytes that were never outside this process.
fn unchecked(bytes: &[u8]) -> Parsed<'_> {
    let parts = bytes.split_first_chunk::<4>().zip(bytes.get(8..).and_then(|b| b.split_first_chunk::<8>()));
    let Some(((len, _), (seq, rest))) = parts else { return Parsed::Incomplete };
    match rest.get(..u32::from_le_bytes(*len) as usize) {
        Some(payload) => Parsed::Record { seq: u64::from_le_bytes(*seq), payload },
        None => Parsed::Incomplete,
    }
}

fn checksum(len: [u8; 4], seq: [u8; 8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&len);
    crc.update(&seq);
    crc.update(payload);
    crc.finalize()
}
