//! The client's HPACK table (RFC 7541 §2.3), followed from outside of `h2`.
//!
//! `h2` keeps the table too, but gives it to nobody. [`Table`] reads each header block only as far
//! as the table goes: entries are kept as they came, Huffman coding and all, because all that is
//! ever wanted of them is to say them again to a new decoder.

use std::collections::VecDeque;

/// Entries of the static table (RFC 7541 Appendix A).
const STATIC_ENTRIES: usize = 61;
/// Lengths of their names, in order.
const STATIC_NAME_BYTES: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// What an entry counts beside its name and value (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;
/// Size of a table before anybody changes it (RFC 9113 §6.5.2), and the largest that we allow.
const MAX_BYTES: usize = 4096;

/// The Huffman code (RFC 7541 Appendix B) as far as lengths go: bits of a code, the first code of
/// that length, how many there are. Codes of one length follow each other.
const HUFFMAN: [(u32, u32, u32); 21] = [
    (5, 0x0, 10),
    (6, 0x14, 26),
    (7, 0x5c, 32),
    (8, 0xf8, 6),
    (10, 0x3f8, 5),
    (11, 0x7fa, 3),
    (12, 0xffa, 2),
    (13, 0x1ff8, 6),
    (14, 0x3ffc, 2),
    (15, 0x7ffc, 3),
    (19, 0x7_fff0, 3),
    (20, 0xf_ffe6, 8),
    (21, 0x1f_ffdc, 13),
    (22, 0x3f_ffd2, 26),
    (23, 0x7f_ffd8, 29),
    (24, 0xff_ffea, 12),
    (25, 0x1ff_ffec, 4),
    (26, 0x3ff_ffe0, 15),
    (27, 0x7ff_ffde, 19),
    (28, 0xfff_ffe2, 29),
    (30, 0x3fff_fffc, 3),
];

/// A header block that does not follow RFC 7541; `h2` ends the connection over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The dynamic table that header blocks of the client have filled.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first, as they are numbered.
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    /// A literal field with indexing (RFC 7541 §6.2.1) that says this entry.
    literal: Box<[u8]>,
    /// Where its value begins.
    value_at: usize,
    name_bytes: usize,
    bytes: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes: MAX_BYTES,
        }
    }

    /// The size of the entries as RFC 7541 §4.1 counts it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.max_bytes == MAX_BYTES
    }

    /// Follows one whole header block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<(), Unreadable> {
        let mut rest = Reader(block);
        while let Some(&first) = rest.0.first() {
            match first.leading_zeros() {
                // Indexed field.
                0 => {
                    rest.integer(7)?;
                }
                1 => self.read_indexing(&mut rest)?,
                2 => {
                    let max_bytes = rest.integer(5)?;
                    if max_bytes > MAX_BYTES {
                        return Err(Unreadable);
                    }
                    self.max_bytes = max_bytes;
                    self.make_room(0);
                }
                // Literal without indexing, or never indexed.
                _ => {
                    if rest.integer(4)? == 0 {
                        rest.string()?;
                    }
                    rest.string()?;
                }
            }
        }
        Ok(())
    }

    fn read_indexing(&mut self, rest: &mut Reader<'_>) -> Result<(), Unreadable> {
        let (mut literal, name_bytes) = match rest.integer(6)? {
            0 => {
                let name = rest.string()?;
                ([&[0x40], name.raw].concat(), name.decoded_bytes()?)
            }
            index if index <= STATIC_ENTRIES => {
                let first = 0x40 | u8::try_from(index).map_err(|_| Unreadable)?;
                (vec![first], STATIC_NAME_BYTES[index - 1].into())
            }
            index => {
                let entry = self.entries.get(index - STATIC_ENTRIES - 1);
                let entry = entry.ok_or(Unreadable)?;
                (entry.literal[..entry.value_at].to_vec(), entry.name_bytes)
            }
        };
        let value = rest.string()?;
        let value_at = literal.len();
        literal.extend_from_slice(value.raw);
        let bytes = name_bytes + value.decoded_bytes()? + ENTRY_OVERHEAD;
        self.make_room(bytes);
        // RFC 7541 §4.4: one that is larger than the table leaves it empty.
        if bytes <= self.max_bytes {
            self.bytes += bytes;
            self.entries.push_front(Entry {
                literal: literal.into(),
                value_at,
                name_bytes,
                bytes,
            });
        }
        Ok(())
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// A header block that gives an empty table of the usual size these entries.
    pub(super) fn replay(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.bytes);
        if self.max_bytes != MAX_BYTES {
            put_integer(&mut block, 0x20, 5, self.max_bytes);
        }
        for entry in self.entries.iter().rev() {
            block.extend_from_slice(&entry.literal);
        }
        block
    }
}

/// Writes an integer behind the bits of `first` (RFC 7541 §5.1).
fn put_integer(block: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let most = (1 << prefix_bits) - 1;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    if value < most {
        block.push(first | low(value));
        return;
    }
    block.push(first | low(most));
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push(0x80 | low(rest));
        rest >>= 7;
    }
    block.push(low(rest));
}

/// What is left of a header block.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads an integer (RFC 7541 §5.1).
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, Unreadable> {
        let most = (1_usize << prefix_bits) - 1;
        let (&first, mut rest) = self.0.split_first().ok_or(Unreadable)?;
        let mut value = usize::from(first) & most;
        if value == most {
            let mut shift = 0;
            loop {
                let (&next, after) = rest.split_first().ok_or(Unreadable)?;
                rest = after;
                // Nothing here is longer than a header list can be.
                if shift > 21 {
                    return Err(Unreadable);
                }
                value += usize::from(next & 0x7f) << shift;
                shift += 7;
                if next & 0x80 == 0 {
                    break;
                }
            }
        }
        self.0 = rest;
        Ok(value)
    }

    /// Reads a string (RFC 7541 §5.2) without decoding it.
    fn string(&mut self) -> Result<RawString<'a>, Unreadable> {
        let all = self.0;
        let is_huffman = all.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        let raw = &all[..all.len() - rest.len()];
        Ok(RawString {
            raw,
            text,
            is_huffman,
        })
    }
}

#[derive(Clone, Copy)]
struct RawString<'a> {
    /// With its length.
    raw: &'a [u8],
    text: &'a [u8],
    is_huffman: bool,
}

impl RawString<'_> {
    fn decoded_bytes(self) -> Result<usize, Unreadable> {
        if self.is_huffman {
            huffman_symbols(self.text).ok_or(Unreadable)
        } else {
            Ok(self.text.len())
        }
    }
}

/// How many symbols a Huffman string has; `None` when it has one that does not exist.
fn huffman_symbols(text: &[u8]) -> Option<usize> {
    let mut symbols = 0;
    let mut bits: u64 = 0;
    let mut held = 0;
    let mut text = text.iter();
    loop {
        while held <= 32
            && let Some(&byte) = text.next()
        {
            bits = bits << 8 | u64::from(byte);
            held += 8;
        }
        let code = HUFFMAN.iter().find(|(length, first, count)| {
            *length <= held && {
                let code = bits >> (held - length) & ((1 << length) - 1);
                // The codes of the lengths before are all smaller.
                code < u64::from(first + count)
            }
        });
        match code {
            Some((length, ..)) => held -= length,
            // RFC 7541 §5.2: the padding is the beginning of a code of ones.
            None if held < 8 && bits & ((1 << held) - 1) == (1 << held) - 1 => {
                return Some(symbols);
            }
            None => return None,
        }
        symbols += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size and the replay after these blocks, in hexadecimal as RFC 7541 prints them.
    fn after(blocks: &[&str]) -> (usize, String) {
        let mut table = Table::new();
        for block in blocks {
            table.read(&bytes(block)).unwrap();
        }
        let replay = table.replay();
        let mut again = Table::new();
        again.read(&replay).unwrap();
        assert_eq!((again.bytes, again.replay()), (table.bytes, replay.clone()));
        (table.bytes, hex(&replay))
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    #[test]
    fn the_examples_of_the_rfc_have_the_sizes_it_gives() {
        // RFC 7541 Appendix C.3 and C.4: the same three requests, without and with Huffman coding.
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let huffman = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, huffman] {
            for (count, size) in [(1, 57), (2, 110), (3, 164)] {
                assert_eq!(after(&blocks[..count]).0, size, "{:?}", &blocks[..count]);
            }
        }
    }

    #[test]
    fn the_replay_says_the_entries_oldest_first() {
        let (_, replay) = after(&["4001 6101 31", "be 7e01 32 0f0d0133"]);
        // The second entry takes the name of the first by its number.
        assert_eq!(replay, "40016101314001610132");
    }

    #[test]
    fn a_smaller_table_evicts_and_is_said_again() {
        let (size, replay) = after(&["4001 6101 31 4001 6201 32", "3f03"]);
        assert_eq!((size, replay.as_str()), (34, "3f034001620132"));
        assert_eq!(after(&["4001 6101 31", "20"]), (0, "20".into()));
        assert_eq!(after(&["4001 6101 31", "20 3fe11f"]), (0, String::new()));
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        assert_eq!(after(&["3f03 4001 6101 31", "4001 6203 313233"]).0, 0);
    }

    #[test]
    fn what_is_not_hpack_is_unreadable() {
        for block in [
            "40",
            "4001",
            "400161",
            "40016102",
            "be 4141",
            "7f",
            "7f80",
            "3fe21f",
            "7e0131",
            "7fffffffffff0f0131",
            "4081000131",
            "40 84ffffffff 0131",
        ] {
            let mut table = Table::new();
            assert_eq!(table.read(&bytes(block)), Err(Unreadable), "{block}");
        }
    }
}
