//! Byte ranges of a file (RFC 9110 §14), with the limits that keep a small header from asking for
//! a huge answer (CVE-2011-3192).

/// The most ranges that one request may ask for; with more, the header is ignored.
pub const MAX_RANGES: usize = 16;

/// What a `range` header asks for, given the size of the representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The header does not count: answer 200 with everything.
    Whole,
    /// Answer 206 with these, in the order in which they were asked for; never empty.
    Ranges(Vec<ByteRange>),
    /// Answer 416.
    NotSatisfiable,
}

/// Bytes `first` to `last`, both included, both within the representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, not before the first.
    pub last: u64,
}

impl ByteRange {
    /// Returns how many bytes the range has, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Reads a `range` header for a representation of `size` bytes.
///
/// Ignored (as if absent) when it is malformed, of another unit, asks for more than
/// [`MAX_RANGES`], or for more bytes in all than there are.
pub fn select(header: &str, size: u64) -> Selection {
    let Some(specs) = specs_of(header) else {
        return Selection::Whole;
    };
    let ranges: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.within(size)).collect();
    let total = ranges
        .iter()
        .fold(0_u64, |sum, range| sum.saturating_add(range.len()));
    if ranges.is_empty() {
        Selection::NotSatisfiable
    } else if total > size {
        Selection::Whole
    } else {
        Selection::Ranges(ranges)
    }
}

/// One element of the header: `0-4`, `5-` or `-6`.
#[derive(Clone, Copy)]
enum Spec {
    FromTo(u64, u64),
    Last(u64),
}

impl Spec {
    fn within(self, size: u64) -> Option<ByteRange> {
        let end = size.checked_sub(1)?;
        match self {
            Self::FromTo(first, last) => (first <= end).then_some(ByteRange {
                first,
                last: last.min(end),
            }),
            Self::Last(0) => None,
            Self::Last(length) => Some(ByteRange {
                first: size.saturating_sub(length),
                last: end,
            }),
        }
    }
}

/// Reads the elements; `None` when any of them is malformed or there are too many.
fn specs_of(header: &str) -> Option<Vec<Spec>> {
    let (unit, list) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // Counts empty elements too, so that the time is bounded whatever the header's length.
    for (index, element) in list.split(',').enumerate() {
        if index == MAX_RANGES {
            return None;
        }
        let element = element.trim_matches([' ', '\t']);
        if !element.is_empty() {
            specs.push(spec_of(element)?);
        }
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec_of(element: &str) -> Option<Spec> {
    let (first, last) = element.split_once('-')?;
    if first.is_empty() {
        return Some(Spec::Last(number_of(last)?));
    }
    let first = number_of(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number_of(last)?
    };
    (first <= last).then_some(Spec::FromTo(first, last))
}

/// Reads ASCII digits; what is larger than any file becomes the largest number.
fn number_of(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(header: &str, size: u64) -> String {
        match select(header, size) {
            Selection::Whole => "whole".to_owned(),
            Selection::NotSatisfiable => "416".to_owned(),
            Selection::Ranges(ranges) => {
                let shown = ranges.iter().map(|r| format!("{}-{}", r.first, r.last));
                shown.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn a_range_selects_bytes_or_is_ignored() {
        let digits = "9".repeat(5_000);
        for (header, expected) in [
            ("bytes=0-4", "0-4"),
            ("Bytes = 0-4", "0-4"),
            ("bytes=5-", "5-9"),
            ("bytes=-3", "7-9"),
            ("bytes=-30", "0-9"),
            ("bytes=8-99", "8-9"),
            (&format!("bytes=0-{digits}"), "0-9"),
            ("bytes=0-1, 4-5 ,-1", "0-1 4-5 9-9"),
            ("bytes=,0-1,", "0-1"),
            ("bytes=0-1,50-60", "0-1"),
            ("bytes=10-", "416"),
            (&format!("bytes={digits}-"), "416"),
            ("bytes=-0", "416"),
            ("bytes=", "whole"),
            ("bytes=,", "whole"),
            ("bytes=-", "whole"),
            ("bytes=4-0", "whole"),
            ("bytes=a-b", "whole"),
            ("bytes=0-1,x", "whole"),
            ("bytes=+0-1", "whole"),
            ("bytes=0-1-2", "whole"),
            ("bytes=٠-١", "whole"),
            ("items=0-4", "whole"),
            ("0-4", "whole"),
        ] {
            assert_eq!(selected(header, 10), expected, "{header}");
        }
    }

    #[test]
    fn too_many_or_overlapping_ranges_are_ignored() {
        let disjoint = |count: u64| {
            let ranges: Vec<_> = (0..count).map(|n| format!("{}-{}", n * 2, n * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert_eq!(
            select(&format!("bytes={}", vec!["0-"; 1_000].join(",")), 10),
            Selection::Whole
        );
        assert_eq!(select("bytes=0-,0-", 10), Selection::Whole);
        assert_eq!(select(&disjoint(5_000), 100_000), Selection::Whole);
        assert_eq!(select(&disjoint(17), 100_000), Selection::Whole);
        assert!(matches!(select(&disjoint(16), 100_000), Selection::Ranges(r) if r.len() == 16));
        assert_eq!(
            select(&format!("bytes=0-1{}", ",".repeat(1_000_000)), 10),
            Selection::Whole
        );
    }

    #[test]
    fn nothing_of_an_empty_file_can_be_selected() {
        assert_eq!(selected("bytes=0-", 0), "416");
        assert_eq!(selected("bytes=-1", 0), "416");
    }
}
