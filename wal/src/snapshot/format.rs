//! The bytes of a snapshot: its header, its blocks, its totals.
//!
//! It turns bytes into values and back, and must not know files.

use crc32c::{crc32c, crc32c_append};

use super::Identity;
use crate::lsn::Lsn;

/// Bytes of the header of a snapshot.
pub(crate) const SNAPSHOT_HEADER_BYTES: usize = 128;
/// First bytes of every snapshot.
pub(crate) const SNAPSHOT_MAGIC: [u8; 8] = *b"TWHEELSN";
/// The format version that this crate writes, and the highest that it reads.
pub(crate) const SNAPSHOT_VERSION: u32 = 1;
/// Feature bits that this crate knows.
pub(crate) const SNAPSHOT_FEATURES_KNOWN: u32 = 0;
/// Bytes before the payload of a block.
pub(crate) const BLOCK_HEADER_BYTES: usize = 16;
/// Longest payload of a block.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Every block begins and ends at a multiple of this.
pub(crate) const BLOCK_ALIGN: usize = 8;
/// Payload of the last block: the totals.
pub(crate) const TOTALS_BYTES: usize = 16;

/// Offsets of the fields in the header.
pub(crate) mod field {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    pub(crate) const FEATURES: usize = 12;
    pub(crate) const SHARD: usize = 16;
    pub(crate) const SALT: usize = 24;
    pub(crate) const LSN: usize = 32;
    pub(crate) const EPOCH: usize = 40;
    pub(crate) const CREATED_MS: usize = 48;
    pub(crate) const HEAD: usize = 56;
    pub(crate) const CRC: usize = 124;
}

/// Offsets of the fields in a block header.
pub(crate) mod block_field {
    pub(crate) const HEADER_CRC: usize = 0;
    pub(crate) const PAYLOAD_CRC: usize = 4;
    pub(crate) const PAYLOAD_LEN: usize = 8;
    pub(crate) const KIND: usize = 12;
    pub(crate) const RESERVED: usize = 13;
}

// Lengths of payloads are stored as u32, and a full block needs no padding.
const _: () = assert!(BLOCK_BYTES <= u32::MAX as usize && BLOCK_BYTES.is_multiple_of(BLOCK_ALIGN));
// The first block begins where a block may begin.
const _: () = assert!(SNAPSHOT_HEADER_BYTES.is_multiple_of(BLOCK_ALIGN));
// The last block is read into the buffer for blocks.
const _: () = assert!(TOTALS_BYTES <= BLOCK_BYTES);

/// The header of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    /// The log that it belongs to.
    pub(crate) identity: Identity,
    /// The position that the state is of.
    pub(crate) lsn: Lsn,
    /// Epoch of the segment that holds that position.
    pub(crate) epoch: u64,
    /// When it was written, in milliseconds of the Unix clock. For people only.
    pub(crate) created_ms: u64,
    /// Everything below is released by a record below [`lsn`](SnapshotHeader::lsn): an opening from
    /// the snapshot does not read that record.
    pub(crate) head: Lsn,
}

/// Why some bytes are not the header of a snapshot that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Written by a newer program.
    Newer { version: u32 },
    /// Written with features that are not known here.
    UnknownFeatures { features: u32 },
    /// No header of any version.
    Damaged(&'static str),
}

impl SnapshotHeader {
    pub(crate) fn encode(&self) -> [u8; SNAPSHOT_HEADER_BYTES] {
        let mut header = [0; SNAPSHOT_HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::MAGIC, &SNAPSHOT_MAGIC);
        put(field::VERSION, &SNAPSHOT_VERSION.to_le_bytes());
        put(field::FEATURES, &SNAPSHOT_FEATURES_KNOWN.to_le_bytes());
        put(field::SHARD, &self.identity.shard.to_le_bytes());
        put(field::SALT, &self.identity.salt.to_le_bytes());
        put(field::LSN, &self.lsn.0.to_le_bytes());
        put(field::EPOCH, &self.epoch.to_le_bytes());
        put(field::CREATED_MS, &self.created_ms.to_le_bytes());
        put(field::HEAD, &self.head.0.to_le_bytes());
        let crc = crc32c(&header[..field::CRC]);
        header[field::CRC..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    pub(crate) fn decode(bytes: &[u8; SNAPSHOT_HEADER_BYTES]) -> Result<Self, BadHeader> {
        if bytes[..SNAPSHOT_MAGIC.len()] != SNAPSHOT_MAGIC {
            return Err(BadHeader::Damaged("the file does not begin as a snapshot does"));
        }
        // Before the checksum: a newer version may keep its checksum elsewhere.
        let version = u32_at(bytes, field::VERSION);
        if version > SNAPSHOT_VERSION {
            return Err(BadHeader::Newer { version });
        }
        if u32_at(bytes, field::CRC) != crc32c(&bytes[..field::CRC]) {
            return Err(BadHeader::Damaged("the checksum of the header is wrong"));
        }
        let features = u32_at(bytes, field::FEATURES);
        if features & !SNAPSHOT_FEATURES_KNOWN != 0 {
            return Err(BadHeader::UnknownFeatures { features });
        }
        let header = SnapshotHeader {
            identity: Identity {
                shard: u16::from_le_bytes([bytes[field::SHARD], bytes[field::SHARD + 1]]),
                salt: u64_at(bytes, field::SALT),
            },
            lsn: Lsn(u64_at(bytes, field::LSN)),
            epoch: u64_at(bytes, field::EPOCH),
            created_ms: u64_at(bytes, field::CREATED_MS),
            head: Lsn(u64_at(bytes, field::HEAD)),
        };
        // Encoding again proves that the version is ours and that every unused byte is zero.
        if header.encode() != *bytes {
            return Err(BadHeader::Damaged("unused bytes of the header are not zero"));
        }
        if header.head > header.lsn {
            return Err(BadHeader::Damaged("a position in the header is impossible"));
        }
        Ok(header)
    }
}

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    /// Bytes of the owner.
    Data = 1,
    /// The totals; the file ends after it.
    Last = 2,
}

/// The header of a block, valid for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) kind: BlockKind,
    /// Length of the payload; never above [`BLOCK_BYTES`].
    pub(crate) payload_len: usize,
    payload_crc: u32,
}

impl BlockHeader {
    /// Bytes of the payload with its padding.
    pub(crate) fn body_bytes(&self) -> usize {
        padded(self.payload_len)
    }
}

/// Checksum of what all block headers of one snapshot have in common but do not store. It keeps
/// stale, misplaced and foreign blocks from passing as valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSeed(u32);

impl BlockSeed {
    pub(crate) fn new(header: &SnapshotHeader) -> Self {
        let mut bytes = [0; 26];
        bytes[..2].copy_from_slice(&header.identity.shard.to_le_bytes());
        bytes[2..10].copy_from_slice(&header.identity.salt.to_le_bytes());
        bytes[10..18].copy_from_slice(&header.lsn.0.to_le_bytes());
        bytes[18..].copy_from_slice(&header.epoch.to_le_bytes());
        BlockSeed(crc32c(&bytes))
    }

    /// Checksum of the block header at `offset`: over the offset, then its bytes 4 to 15.
    pub(crate) fn header_crc(self, offset: u64, header: &[u8; BLOCK_HEADER_BYTES]) -> u32 {
        let crc = crc32c_append(self.0, &offset.to_le_bytes());
        crc32c_append(crc, &header[block_field::PAYLOAD_CRC..])
    }
}

/// The header of a block at `offset` with this payload.
pub(crate) fn encode_block_header(
    seed: BlockSeed,
    offset: u64,
    kind: BlockKind,
    payload: &[u8],
) -> [u8; BLOCK_HEADER_BYTES] {
    debug_assert!(payload.len() <= BLOCK_BYTES);
    let mut header = [0; BLOCK_HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(block_field::PAYLOAD_CRC, &crc32c(payload).to_le_bytes());
    put(block_field::PAYLOAD_LEN, &(payload.len() as u32).to_le_bytes());
    put(block_field::KIND, &[kind as u8]);
    let crc = seed.header_crc(offset, &header);
    header[block_field::HEADER_CRC..block_field::PAYLOAD_CRC].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Reads the header of a block at `offset`. The reason says why it is none.
pub(crate) fn decode_block_header(
    bytes: &[u8; BLOCK_HEADER_BYTES],
    seed: BlockSeed,
    offset: u64,
) -> Result<BlockHeader, &'static str> {
    if u32_at(bytes, block_field::HEADER_CRC) != seed.header_crc(offset, bytes) {
        return Err("the checksum of the block header is wrong");
    }
    // The checksum is right, so what follows can only fail on bytes made to deceive, or by a bug.
    let kind = match bytes[block_field::KIND] {
        1 => BlockKind::Data,
        2 => BlockKind::Last,
        _ => return Err("the block is of an unknown kind"),
    };
    if bytes[block_field::RESERVED..] != [0; 3] {
        return Err("unused bytes of the block header are not zero");
    }
    let payload_len = u32_at(bytes, block_field::PAYLOAD_LEN) as usize;
    let is_possible = match kind {
        BlockKind::Data => (1..=BLOCK_BYTES).contains(&payload_len),
        BlockKind::Last => payload_len == TOTALS_BYTES,
    };
    if !is_possible {
        return Err("the length of the block is impossible");
    }
    Ok(BlockHeader { kind, payload_len, payload_crc: u32_at(bytes, block_field::PAYLOAD_CRC) })
}

/// Checks the payload of a block and its padding.
pub(crate) fn check_body(header: &BlockHeader, body: &[u8]) -> Result<(), &'static str> {
    let (payload, padding) =
        body.split_at_checked(header.payload_len).ok_or("the block is cut off")?;
    if body.len() != header.body_bytes() || padding.iter().any(|&byte| byte != 0) {
        return Err("the padding of the block is not zero");
    }
    if crc32c(payload) != header.payload_crc {
        return Err("the checksum of the payload is wrong");
    }
    Ok(())
}

/// A length with the padding that follows, for any length up to [`BLOCK_BYTES`].
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(BLOCK_ALIGN)
}

/// What the last block says about those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Bytes of their payloads.
    pub(crate) bytes: u64,
    /// How many they are.
    pub(crate) blocks: u64,
}

impl Totals {
    /// Counts one block more.
    pub(crate) fn add(&mut self, payload_len: usize) {
        self.bytes += payload_len as u64;
        self.blocks += 1;
    }

    pub(crate) fn encode(self) -> [u8; TOTALS_BYTES] {
        let mut bytes = [0; TOTALS_BYTES];
        bytes[..8].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.blocks.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; TOTALS_BYTES]) -> Self {
        Totals { bytes: u64_at(bytes, 0), blocks: u64_at(bytes, 8) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
