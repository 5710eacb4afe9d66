//! What `h2` knows of a connection without streams, followed from outside, to begin again with it.
//!
//! How this works: an idle `h2` connection holds some 20 KiB of buffers and tables and cannot be
//! taken apart. So the connection's task drops it and keeps the socket and this ledger. When bytes
//! come, [`Replay`] tells a new `h2` what it has to know, as a client would: the preface, the
//! client's settings, its last request and the entries of its HPACK table. What `h2` answers to
//! that is thrown away. Neither side of the wire can tell the difference:
//!
//! - client settings: said again;
//! - the client's HPACK table: filled again, by a request that is malformed on purpose, because
//!   entries in their order make no valid one;
//! - our own HPACK table: begins empty, in the size that the client allows and was told. What `h2`
//!   then adds is numbered from the newest, on both sides, so the client's older entries are never
//!   named;
//! - the last stream's number: that of the replayed request;
//! - the connection's window for responses: more than the initial one is given by a
//!   `WINDOW_UPDATE`; less by a response of that length, which goes nowhere;
//! - the connection's window for requests: `h2` believes it full, and the client is told so when a
//!   quarter is missing.

use super::frames::{Direction, Frames, PREFACE, Piece};
use super::table::Table;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// RFC 9113 §6.9.2: the window of a connection, and of a stream before any SETTINGS.
const INITIAL_WINDOW: i64 = 65_535;
/// The smallest maximum frame size (RFC 9113 §6.5.2): every peer takes a frame of this length.
const FRAME_BYTES: usize = 16_384;
/// A header block longer than this is not followed; it is longer than any that `h2` accepts.
const MAX_BLOCK_BYTES: usize = 64 * 1024;

/// `GET /` with entries of the static table alone, so that no table changes.
const GET: [u8; 3] = [0x82, 0x86, 0x84];
/// A field and then a pseudo-field: malformed (RFC 9113 §8.3), and no table changes.
const MALFORMED: [u8; 2] = [0x90, 0x82];

/// The numbers of the client's settings that `h2` looks at (RFC 9113 §6.5.2).
const SETTING_NUMBERS: std::ops::RangeInclusive<u16> = 1..=6;
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: usize = 4;

/// Follows both directions of a connection.
#[derive(Debug)]
pub(super) struct Ledger {
    table: Table,
    /// By number; the first is no setting.
    settings: [Option<u32>; 7],
    last_stream: u32,
    /// What we may still send.
    send_window: i64,
    /// What the client may still send.
    receive_window: i64,
    sent: Frames,
    received_head: FrameHead,
    sent_head: FrameHead,
    /// Payload of a frame that has come in part, of the kinds that matter.
    received_part: Vec<u8>,
    sent_part: Vec<u8>,
    /// A header block that has come in part.
    block: Vec<u8>,
    /// The client allows our HPACK table another size, and no response has said yet that we know.
    is_size_unsaid: bool,
    /// The client has acknowledged our settings.
    is_acknowledged: bool,
    /// Something was not understood: there is no beginning again.
    is_lost: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct FrameHead {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn new(header: [u8; 9]) -> Self {
        let [_, _, _, kind, flags, a, b, c, d] = header;
        Self {
            kind,
            flags,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
        }
    }

    fn is_window_of_connection(self) -> bool {
        self.kind == WINDOW_UPDATE && self.stream == 0
    }

    fn is_settings(self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }

    fn is_header_block(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }
}

/// What a new `h2` is told, and what the client is told meanwhile.
#[derive(Debug)]
pub(super) struct Replay {
    /// The preface, the settings and the last request.
    pub(super) opening: Vec<u8>,
    /// How many bytes the response to that request must have.
    pub(super) owed_bytes: usize,
    /// The entries of the client's HPACK table.
    pub(super) table: Vec<u8>,
    /// A `WINDOW_UPDATE` for the client.
    pub(super) top_up: Vec<u8>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            settings: [None; 7],
            last_stream: 0,
            send_window: INITIAL_WINDOW,
            receive_window: INITIAL_WINDOW,
            sent: Frames::new(Direction::ToClient),
            received_head: FrameHead::default(),
            sent_head: FrameHead::default(),
            received_part: Vec::new(),
            sent_part: Vec::new(),
            block: Vec::new(),
            is_size_unsaid: false,
            is_acknowledged: false,
            is_lost: false,
        }
    }

    /// Follows a piece of what the client sends.
    pub(super) fn received(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Head { header, length } => {
                let head = FrameHead::new(header);
                self.received_head = head;
                match head.kind {
                    DATA => self.receive_window -= length_of(length),
                    HEADERS => self.last_stream = self.last_stream.max(head.stream),
                    SETTINGS if head.flags & ACK != 0 => self.is_acknowledged = true,
                    _ => {}
                }
                // `h2` ends the connection over it, and it is not worth the memory.
                self.is_lost |= length > FRAME_BYTES;
            }
            Piece::Payload { bytes, is_last } => {
                let head = self.received_head;
                if self.is_lost
                    || !(head.is_header_block()
                        || head.is_settings()
                        || head.is_window_of_connection())
                {
                    return;
                }
                if is_last && self.received_part.is_empty() {
                    self.received_frame(head, bytes);
                } else {
                    self.received_part.extend_from_slice(bytes);
                    if is_last {
                        let payload = std::mem::take(&mut self.received_part);
                        self.received_frame(head, &payload);
                    }
                }
            }
        }
    }

    fn received_frame(&mut self, head: FrameHead, payload: &[u8]) {
        let understood = match head.kind {
            SETTINGS => {
                self.read_settings(payload);
                Some(())
            }
            WINDOW_UPDATE => increment(payload).map(|bytes| self.send_window += bytes),
            HEADERS => fragment(head.flags, payload)
                .and_then(|fragment| self.read_fragment(head.flags, fragment)),
            _ => self.read_fragment(head.flags, payload),
        };
        self.is_lost |= understood.is_none();
    }

    fn read_settings(&mut self, payload: &[u8]) {
        let (settings, _) = payload.as_chunks::<6>();
        for &[a, b, value @ ..] in settings {
            let number = u16::from_be_bytes([a, b]);
            self.is_size_unsaid |= number == HEADER_TABLE_SIZE;
            if SETTING_NUMBERS.contains(&number) {
                self.settings[usize::from(number)] = Some(u32::from_be_bytes(value));
            }
        }
    }

    fn read_fragment(&mut self, flags: u8, fragment: &[u8]) -> Option<()> {
        let is_last = flags & END_HEADERS != 0;
        if is_last && self.block.is_empty() {
            return self.table.read(fragment).ok();
        }
        if self.block.len() + fragment.len() > MAX_BLOCK_BYTES {
            self.block = Vec::new();
            return None;
        }
        self.block.extend_from_slice(fragment);
        if is_last {
            let block = std::mem::take(&mut self.block);
            self.table.read(&block).ok()?;
        }
        Some(())
    }

    /// Follows bytes that the client was sent.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while let Some(piece) = self.sent.next(&mut bytes) {
            match piece {
                Piece::Head { header, length } => {
                    self.sent_head = FrameHead::new(header);
                    match self.sent_head.kind {
                        DATA => self.send_window -= length_of(length),
                        HEADERS => self.is_size_unsaid = false,
                        _ => {}
                    }
                }
                Piece::Payload { bytes, is_last } => {
                    if self.sent_head.is_window_of_connection() {
                        self.sent_part.extend_from_slice(bytes);
                        if is_last {
                            self.receive_window += increment(&self.sent_part).unwrap_or_default();
                            self.sent_part.clear();
                        }
                    }
                }
            }
        }
    }

    /// What a new `h2`, with this window for requests, has to be told; `None` when it cannot be.
    /// No frame may be under way in either direction.
    pub(super) fn replay(&self, connection_window: u32, max_header_bytes: u32) -> Option<Replay> {
        let owed_bytes = usize::try_from(INITIAL_WINDOW - self.send_window).unwrap_or(0);
        let stream_window = self.settings[INITIAL_WINDOW_SIZE].map_or(INITIAL_WINDOW, i64::from);
        // Table entries may be as many and as large as one request's fields may.
        if self.is_lost
            || !self.is_acknowledged
            || !self.block.is_empty()
            || length_of(owed_bytes) > stream_window
            || (owed_bytes > 0 && self.last_stream == 0)
            // The response to the replayed request would say it, to nobody.
            || (self.is_size_unsaid && self.last_stream > 0)
            || self.table.bytes() + 256 > usize::try_from(max_header_bytes).unwrap_or(usize::MAX)
        {
            return None;
        }
        let mut opening = PREFACE.to_vec();
        let mut settings = Vec::new();
        for number in SETTING_NUMBERS {
            if let Some(value) = self.settings[usize::from(number)] {
                settings.extend_from_slice(&number.to_be_bytes());
                settings.extend_from_slice(&value.to_be_bytes());
            }
        }
        put_frame(&mut opening, SETTINGS, 0, 0, &settings);
        put_frame(&mut opening, SETTINGS, ACK, 0, &[]);
        put_window_update(&mut opening, self.send_window - INITIAL_WINDOW);
        let mut table = Vec::new();
        if self.last_stream > 0 {
            let flags = END_STREAM | END_HEADERS;
            put_frame(&mut opening, HEADERS, flags, self.last_stream, &GET);
            if !self.table.is_empty() {
                let block = [self.table.replay().as_slice(), &MALFORMED].concat();
                if block.len() > FRAME_BYTES {
                    return None;
                }
                put_frame(&mut table, HEADERS, flags, self.last_stream, &block);
            }
        }
        let mut top_up = Vec::new();
        let full = INITIAL_WINDOW.max(i64::from(connection_window));
        // Less is not worth a packet; what is missing stays in the ledger.
        if self.receive_window <= full - full / 4 {
            put_window_update(&mut top_up, full - self.receive_window);
        }
        Some(Replay {
            opening,
            owed_bytes,
            table,
            top_up,
        })
    }

    /// Whether no frame is under way to the client.
    pub(super) fn is_between(&self) -> bool {
        self.sent.is_between()
    }

    /// Gives back what is not needed while nothing happens.
    pub(super) fn shrink(&mut self) {
        self.table.shrink();
        self.received_part = Vec::new();
        self.sent_part = Vec::new();
    }
}

fn length_of(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The payload of a `WINDOW_UPDATE`.
fn increment(payload: &[u8]) -> Option<i64> {
    let [a, b, c, d] = payload.try_into().ok()?;
    Some(u32::from_be_bytes([a & 0x7f, b, c, d]).into())
}

/// The header block in a HEADERS frame, without padding and priority (RFC 9113 §6.2).
fn fragment(flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (first, rest) = payload.split_first()?;
        (padding, payload) = ((*first).into(), rest);
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(5..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

fn put_frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A `WINDOW_UPDATE` of the connection; none when there is nothing to give.
fn put_window_update(bytes: &mut Vec<u8>, increment: i64) {
    if let Ok(increment @ 1..) = u32::try_from(increment) {
        put_frame(bytes, WINDOW_UPDATE, 0, 0, &increment.to_be_bytes());
    }
}
