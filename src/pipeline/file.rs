//! A file as a response: validators, conditions and ranges (RFC 9110 §13, §14), nothing of routes.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::file_body::{FileBody, PIECE_BYTES, Segment, read_range};
use crate::message::range::{self, Selection};

/// Whether opening and reading may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// No: `WouldBlock` when the kernel's caches do not have it.
    Cached,
    /// Yes, so not on the loop's thread.
    Blocking,
}

/// What a request asks of a file: its conditions and ranges, taken from the head.
#[derive(Clone, Debug, Default)]
pub struct FileConditions {
    is_head: bool,
    if_match: Option<String>,
    if_unmodified_since: Option<SystemTime>,
    if_none_match: Option<String>,
    if_modified_since: Option<SystemTime>,
    range: Option<String>,
    if_range: Option<String>,
}

impl FileConditions {
    /// Reads the conditions; fields that make no sense count as absent.
    pub fn new(method: &Method, headers: &HeaderMap) -> Self {
        let date = |name| headers.get(name).and_then(http_date);
        Self {
            is_head: *method == Method::HEAD,
            if_match: list(headers, &IF_MATCH),
            if_unmodified_since: date(IF_UNMODIFIED_SINCE),
            if_none_match: list(headers, &IF_NONE_MATCH),
            if_modified_since: date(IF_MODIFIED_SINCE),
            range: list(headers, &RANGE).filter(|_| *method == Method::GET),
            if_range: list(headers, &IF_RANGE),
        }
    }
}

/// Joins the lines of a list field.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::to_str);
    let mut joined = lines.next()?.ok()?.to_owned();
    for line in lines {
        joined.push(',');
        joined.push_str(line.ok()?);
    }
    Some(joined)
}

fn http_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// An open file and what its response says of it.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
    modified: SystemTime,
    etag: String,
}

impl FileSource {
    /// Takes an open regular file; anything else (directory, device, pipe) is `None`.
    pub fn new(file: File, metadata: &Metadata) -> Option<Self> {
        if !metadata.is_file() {
            return None;
        }
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let stamp = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Some(Self {
            file,
            size: metadata.len(),
            modified,
            // The inode tells apart two files that were written at once and swapped.
            etag: format!(
                "\"{:x}-{:x}-{:x}\"",
                metadata.ino(),
                metadata.len(),
                stamp.as_nanos()
            ),
        })
    }

    /// Answers with the file, a part of it, or what the conditions make of it.
    ///
    /// `content_type` is that of the whole file. A body up to 64 KiB is read at once, a longer one
    /// as it is sent.
    ///
    /// # Errors
    ///
    /// The operating system's, from reading; `WouldBlock` as `patience` says.
    pub fn respond(
        self,
        conditions: &FileConditions,
        content_type: &HeaderValue,
        patience: Patience,
    ) -> io::Result<Response<FileBody>> {
        let size = self.size;
        let mut response = Response::new(FileBody::default());
        let etag = ascii(&self.etag);
        let modified = httpdate::fmt_http_date(self.modified);
        let headers = response.headers_mut();
        headers.insert(ETAG, etag);
        headers.insert(LAST_MODIFIED, ascii(&modified));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match self.outcome(conditions) {
            Outcome::PreconditionFailed => {
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            }
            Outcome::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
            Outcome::Unsatisfiable => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                response
                    .headers_mut()
                    .insert(CONTENT_RANGE, ascii(&format!("bytes */{size}")));
            }
            Outcome::Whole => {
                headers.insert(CONTENT_TYPE, content_type.clone());
                headers.insert(CONTENT_LENGTH, size.into());
                if !conditions.is_head {
                    *response.body_mut() = self.body(0..size, patience)?;
                }
            }
            Outcome::Parts(ranges) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let headers = response.headers_mut();
                if let [range] = ranges.as_slice() {
                    headers.insert(CONTENT_TYPE, content_type.clone());
                    headers.insert(CONTENT_RANGE, content_range(range, size));
                    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
                    *response.body_mut() = self.body(range.clone(), patience)?;
                } else {
                    let boundary = format!("{:032x}", boundary_number(&self.etag));
                    let multipart = format!("multipart/byteranges; boundary={boundary}");
                    headers.insert(CONTENT_TYPE, ascii(&multipart));
                    let body = self.multipart(&ranges, content_type, &boundary);
                    headers.insert(CONTENT_LENGTH, body.remaining().into());
                    *response.body_mut() = body;
                }
            }
        }
        Ok(response)
    }

    /// RFC 9110 §13.2.2: the order in which conditions are evaluated.
    fn outcome(&self, conditions: &FileConditions) -> Outcome {
        if let Some(tags) = &conditions.if_match {
            if !self.matches(tags, Comparison::Strong) {
                return Outcome::PreconditionFailed;
            }
        } else if let Some(date) = conditions.if_unmodified_since
            && self.modified_second() > date
        {
            return Outcome::PreconditionFailed;
        }
        if let Some(tags) = &conditions.if_none_match {
            if self.matches(tags, Comparison::Weak) {
                return Outcome::NotModified;
            }
        } else if let Some(date) = conditions.if_modified_since
            && self.modified_second() <= date
        {
            return Outcome::NotModified;
        }
        match &conditions.range {
            Some(range) if self.range_applies(conditions) => requested(range, self.size),
            _ => Outcome::Whole,
        }
    }

    /// RFC 9110 §13.1.5: a range counts only for the very representation the client has.
    fn range_applies(&self, conditions: &FileConditions) -> bool {
        conditions.if_range.as_deref().is_none_or(|validator| {
            validator == self.etag
                || httpdate::parse_http_date(validator)
                    .is_ok_and(|date| date == self.modified_second())
        })
    }

    fn matches(&self, tags: &str, comparison: Comparison) -> bool {
        tags.split(',').map(str::trim).any(|tag| match comparison {
            _ if tag == "*" => true,
            Comparison::Strong => tag == self.etag,
            Comparison::Weak => tag.strip_prefix("W/").unwrap_or(tag) == self.etag,
        })
    }

    /// The time of the last change in the precision of an HTTP date.
    fn modified_second(&self) -> SystemTime {
        let since = self.modified.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(self.modified, |since| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
        })
    }

    fn body(self, range: Range<u64>, patience: Patience) -> io::Result<FileBody> {
        if range.end - range.start <= PIECE_BYTES {
            return read_range(&self.file, range, patience).map(FileBody::ready);
        }
        Ok(FileBody::new(self.file, vec![Segment::File(range)]))
    }

    /// RFC 9110 §14.6: several ranges travel as the parts of one body.
    fn multipart(self, ranges: &[Range<u64>], media: &HeaderValue, boundary: &str) -> FileBody {
        let media = media.to_str().unwrap_or("application/octet-stream");
        let mut segments = Vec::with_capacity(2 * ranges.len() + 1);
        for range in ranges {
            let (start, last) = (range.start, range.end - 1);
            let head = format!(
                "\r\n--{boundary}\r\ncontent-type: {media}\r\ncontent-range: bytes {start}-{last}/{}\r\n\r\n",
                self.size
            );
            segments.push(Segment::Ready(head.into()));
            segments.push(Segment::File(range.clone()));
        }
        segments.push(Segment::Ready(format!("\r\n--{boundary}--\r\n").into()));
        FileBody::new(self.file, segments)
    }
}

#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

/// What conditions and ranges make of a request for a file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Parts(Vec<Range<u64>>),
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
}

fn requested(range: &str, size: u64) -> Outcome {
    match range::select(range, size) {
        Selection::Whole => Outcome::Whole,
        Selection::NotSatisfiable => Outcome::Unsatisfiable,
        Selection::Ranges(ranges) => {
            Outcome::Parts(ranges.iter().map(|r| r.first..r.last + 1).collect())
        }
    }
}

fn content_range(range: &Range<u64>, size: u64) -> HeaderValue {
    ascii(&format!("bytes {}-{}/{size}", range.start, range.end - 1))
}

/// A boundary that the file's own bytes cannot aim at: nobody but this process knows its part.
fn boundary_number(etag: &str) -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    u128::from(state.hash_one(etag)) << 64 | u128::from(state.hash_one((etag, 1)))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("made of ASCII here")
}
