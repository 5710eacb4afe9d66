//! Why a WebSocket closes: the codes of RFC 6455 §7.4 and the IANA registry.

use bytes::Bytes;
use thiserror::Error;

/// The purpose is fulfilled.
pub const NORMAL: u16 = 1000;
/// The server goes down.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Stands for a close frame without a code; never sent.
pub const NO_STATUS: u16 = 1005;
/// Stands for a connection that ended without a close frame; never sent.
pub const ABNORMAL: u16 = 1006;
/// Text that is not UTF-8.
pub const INVALID_DATA: u16 = 1007;
/// More than the limits allow.
pub const TOO_BIG: u16 = 1009;
/// The application failed.
pub const INTERNAL_ERROR: u16 = 1011;

/// RFC 6455 §5.5: a control frame has at most 125 bytes, and the code takes two.
pub const MAX_REASON_BYTES: usize = 123;

/// Whether a close frame may carry this code, in either direction.
///
/// 1004 has no meaning yet; 1005, 1006 and 1015 stand for what happened without a frame; up to
/// 2999 the rest awaits definition. 3000 to 4999 belong to libraries and applications.
pub fn may_travel(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// A code that may travel, or, for what happened without a frame, [`NO_STATUS`] or
    /// [`ABNORMAL`].
    pub code: u16,
    /// At most [`MAX_REASON_BYTES`] of UTF-8.
    pub reason: String,
}

/// A close that cannot be sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CloseError {
    /// The code has no place in a frame.
    #[error("expected a close code of 1000-1003, 1007-1014 or 3000-4999, got {0}")]
    Code(i64),
    /// The reason does not fit a control frame.
    #[error("expected a close reason of at most {MAX_REASON_BYTES} bytes, got {0}")]
    Reason(usize),
}

impl Close {
    /// Checks what an application wants to send.
    ///
    /// # Errors
    /// When the code may not travel or the reason is too long.
    pub fn new(code: i64, reason: String) -> Result<Self, CloseError> {
        let valid = u16::try_from(code).ok().filter(|code| may_travel(*code));
        let code = valid.ok_or(CloseError::Code(code))?;
        if reason.len() > MAX_REASON_BYTES {
            return Err(CloseError::Reason(reason.len()));
        }
        Ok(Self { code, reason })
    }

    /// A close of ours with a short reason.
    pub(crate) fn of(code: u16, reason: &'static str) -> Self {
        debug_assert!(reason.len() <= MAX_REASON_BYTES, "our reasons are short");
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// The payload of the frame; empty when the code stands for none.
    pub fn payload(&self) -> Bytes {
        if !may_travel(self.code) {
            return Bytes::new();
        }
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        payload.extend_from_slice(&self.code.to_be_bytes());
        payload.extend_from_slice(self.reason.as_bytes());
        payload.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_with_a_meaning_on_the_wire_travel() {
        let allowed = [
            1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999,
        ];
        let refused = [
            0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
        ];
        for code in allowed {
            assert!(Close::new(code, String::new()).is_ok(), "{code}");
        }
        for code in refused.into_iter().chain([-1, 65536 + 1000, i64::MAX]) {
            assert_eq!(Close::new(code, String::new()), Err(CloseError::Code(code)));
        }
    }

    #[test]
    fn a_reason_fits_a_control_frame() {
        assert!(Close::new(1000, "x".repeat(123)).is_ok());
        assert_eq!(
            Close::new(1000, "é".repeat(62)),
            Err(CloseError::Reason(124))
        );
    }

    #[test]
    fn a_code_that_does_not_travel_makes_an_empty_frame() {
        assert_eq!(Close::of(NO_STATUS, "").payload(), "");
        assert_eq!(Close::of(NORMAL, "ok").payload(), &b"\x03\xe8ok"[..]);
    }
}
