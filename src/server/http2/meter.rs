//! Counts the frames that a client sends, in front of `h2`, which does not limit the cheap ones.
//!
//! Every byte read passes through a [`Meter`], which follows the frame headers only.

use tokio::time::Instant;

use super::frames::{Direction, Frames, Piece};
use super::ledger::Ledger;
use super::limits::{Budget, Http2Limits};

/// Overhead that a connection may have beyond an eighth of its traffic: nginx's rule.
const FREE_OVERHEAD_BYTES: u64 = 1024 * 1024;

/// DATA frames up to this length carry less than their own header; no gRPC message and no masked
/// WebSocket frame is as short.
const TINY_DATA_BYTES: usize = 4;
const TINY_DATA_BUDGET: Budget = Budget {
    burst: 8_000,
    per_second: 100,
};

/// `WINDOW_UPDATE` frames besides one for each [`BYTES_PER_WINDOW_UPDATE`] that we have sent:
/// some clients acknowledge every DATA frame twice.
const WINDOW_UPDATE_BUDGET: Budget = Budget {
    burst: 4_096,
    per_second: 512,
};
const BYTES_PER_WINDOW_UPDATE: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Flood,
}

/// Keeps the budgets of what the client sends.
#[derive(Debug)]
pub(super) struct Meter {
    frames: Frames,
    pub(super) ledger: Ledger,
    received_bytes: u64,
    useful_bytes: u64,
    /// DATA frames since somebody asked last.
    data_frames: u32,
    /// Sent bytes that have not yet paid for a `WINDOW_UPDATE`.
    unspent_bytes: u64,
    ping: Bucket,
    settings: Bucket,
    reset: Bucket,
    window_update: Bucket,
    priority: Bucket,
    tiny_data: Bucket,
    other: Bucket,
}

impl Meter {
    pub(super) fn new(limits: &Http2Limits, now: Instant) -> Self {
        let bucket = |budget| Bucket::new(budget, now);
        Self {
            frames: Frames::new(Direction::FromClient),
            ledger: Ledger::new(),
            received_bytes: 0,
            useful_bytes: 0,
            data_frames: 0,
            unspent_bytes: 0,
            ping: bucket(limits.ping_budget),
            settings: bucket(limits.settings_budget),
            reset: bucket(limits.reset_budget),
            window_update: bucket(WINDOW_UPDATE_BUDGET),
            priority: bucket(limits.other_budget),
            tiny_data: bucket(TINY_DATA_BUDGET),
            other: bucket(limits.other_budget),
        }
    }

    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Verdict {
        self.received_bytes += bytes.len() as u64;
        while let Some(piece) = self.frames.next(&mut bytes) {
            if let Piece::Head { header, length } = piece
                && !self.frame(header[3], length)
            {
                return Verdict::Flood;
            }
            self.ledger.received(piece);
        }
        if self.received_bytes / 8 > self.useful_bytes + FREE_OVERHEAD_BYTES {
            return Verdict::Flood;
        }
        Verdict::Fine
    }

    /// Charges one frame; false when its budget is overdrawn.
    fn frame(&mut self, kind: u8, length: usize) -> bool {
        match kind {
            // DATA
            0 => {
                self.data_frames += 1;
                self.useful_bytes += length as u64;
                length > TINY_DATA_BYTES || length == 0 || self.tiny_data.take()
            }
            // HEADERS, CONTINUATION
            1 | 9 => {
                self.useful_bytes += length as u64;
                true
            }
            2 => self.priority.take(),
            3 => self.reset.take(),
            4 => self.settings.take(),
            6 => self.ping.take(),
            8 => {
                if self.unspent_bytes >= BYTES_PER_WINDOW_UPDATE {
                    self.unspent_bytes -= BYTES_PER_WINDOW_UPDATE;
                    true
                } else {
                    self.window_update.take()
                }
            }
            _ => self.other.take(),
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.useful_bytes += bytes as u64;
        self.unspent_bytes += bytes as u64;
    }

    pub(super) fn completed(&mut self, responses: u32) {
        self.reset.give(responses);
    }

    /// DATA frames since this was asked last.
    pub(super) fn take_data_frames(&mut self) -> u32 {
        std::mem::take(&mut self.data_frames)
    }

    /// Whether what has come so far ends with a whole frame.
    pub(super) fn is_between(&self) -> bool {
        self.frames.is_between()
    }
}

/// A token bucket that looks at the clock only when it is empty.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    budget: Budget,
    filled: Instant,
}

impl Bucket {
    fn new(budget: Budget, now: Instant) -> Self {
        Self {
            tokens: budget.burst,
            budget,
            filled: now,
        }
    }

    fn take(&mut self) -> bool {
        if self.tokens == 0 {
            self.refill(Instant::now());
        }
        let some = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        some
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_millis();
        let earned = elapsed * u128::from(self.budget.per_second) / 1000;
        if earned > 0 {
            self.tokens = u32::try_from(earned)
                .unwrap_or(u32::MAX)
                .min(self.budget.burst);
            self.filled = now;
        }
    }

    fn give(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.budget.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::PREFACE;
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = length_bytes[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 1]);
        bytes.resize(bytes.len() + length, 0);
        bytes
    }

    fn meter() -> Meter {
        let mut meter = Meter::new(&Http2Limits::default(), Instant::now());
        assert_eq!(meter.received(PREFACE), Verdict::Fine);
        meter
    }

    #[test]
    fn each_kind_of_frame_has_its_budget() {
        // kind, payload length, number that is fine, number that is a flood
        for (kind, length, fine, flood) in [
            (2, 5, 512, 1_000),
            (3, 4, 100, 200),
            (4, 0, 20, 40),
            (6, 8, 100, 200),
            (8, 4, 4_096, 20_000),
            (0, 1, 8_000, 10_000),
            (0x77, 3, 512, 1_000),
        ] {
            let mut meter = meter();
            let frame = frame(kind, length);
            let count = (0..flood)
                .take_while(|_| meter.received(&frame) == Verdict::Fine)
                .count();
            assert!(count >= fine && count < flood, "kind {kind}: {count}");
        }
    }

    #[test]
    fn frames_are_followed_across_any_split() {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(frame(1, 300));
            bytes.extend(frame(6, 8));
        }
        for size in [1, 2, 7, 9, 10, 317, 4096] {
            let mut meter = meter();
            for piece in bytes.chunks(size) {
                assert_eq!(meter.received(piece), Verdict::Fine, "size {size}");
            }
            assert_eq!(meter.ping.tokens, 50, "size {size}");
            assert_eq!(meter.useful_bytes, 50 * 300, "size {size}");
        }
    }

    #[test]
    fn window_updates_are_paid_for_by_sent_bytes() {
        let mut meter = meter();
        let update = frame(8, 4);
        meter.sent(8 * 100_000);
        for _ in 0..100_000 {
            assert_eq!(meter.received(&update), Verdict::Fine);
        }
    }

    #[test]
    fn useless_bytes_beyond_an_eighth_are_a_flood() {
        let mut meter = meter();
        let unknown = frame(0x77, 16_384);
        let count = (0..512)
            .take_while(|_| meter.received(&unknown) == Verdict::Fine)
            .count();
        assert!(count < 512, "{count}");
    }

    #[test]
    fn finished_responses_pay_for_resets() {
        let mut meter = meter();
        let reset = frame(3, 4);
        for _ in 0..1_000 {
            meter.completed(1);
            assert_eq!(meter.received(&reset), Verdict::Fine);
        }
    }

    #[test]
    fn a_bucket_refills_with_time() {
        let now = Instant::now();
        let budget = Budget {
            burst: 10,
            per_second: 5,
        };
        let mut bucket = Bucket::new(budget, now);
        bucket.tokens = 0;
        bucket.refill(now + std::time::Duration::from_secs(1));
        assert_eq!(bucket.tokens, 5);
        bucket.refill(now + std::time::Duration::from_secs(100));
        assert_eq!(bucket.tokens, 10);
    }
}
