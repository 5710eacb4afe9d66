//! Static files: which file of which directory a request means, and how it is opened so that
//! nothing outside of the directory ever is.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode, Uri};
use rustix::fs::{Mode, OFlags};

use super::coding::{Accepted, Coding};
use super::config::{ConfigError, StaticFilesConfig};
use super::file::{FileConditions, FileSource, Patience};
use super::file_body::FileBody;
use super::problem;
use crate::message::body::ResponseBody;
use crate::message::head::Head;
use crate::message::percent::decode_path;
use crate::message::problem::Problem;

/// The configured directories, longest prefix first.
#[derive(Debug)]
pub(super) struct StaticFiles {
    mounts: Vec<Mount>,
}

#[derive(Debug)]
struct Mount {
    /// As it stands in a raw path, without a trailing slash.
    prefix: String,
    directory: Arc<Directory>,
    public: bool,
}

/// An open directory and how its files are served.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting with a name of its own"
)]
struct Directory {
    root: OwnedFd,
    index_file: bool,
    spa_fallback: bool,
    precompressed: bool,
    follow_symlinks: bool,
    cache_control: Option<HeaderValue>,
}

/// A place below a mount.
#[derive(Debug)]
pub(super) struct Found {
    mount: usize,
    /// How many bytes of the raw path the mount's prefix takes.
    pub(super) prefix_len: usize,
    /// Whether it is served without authentication.
    pub(super) public: bool,
}

impl StaticFiles {
    /// Opens the directories; `None` when there are none.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for a directory that cannot be opened, a bad or repeated prefix, or a
    /// `cache_control` that no field can hold.
    pub(super) fn new(configs: &[StaticFilesConfig]) -> Result<Option<Self>, ConfigError> {
        let mut mounts = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let mount = Mount::new(&format!("static_files[{index}]"), config)?;
            if mounts
                .iter()
                .any(|other: &Mount| other.prefix == mount.prefix)
            {
                return Err(ConfigError::value(
                    format!("static_files[{index}].route_prefix"),
                    &config.route_prefix,
                    "a prefix that no other directory has",
                ));
            }
            mounts.push(mount);
        }
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        Ok((!mounts.is_empty()).then_some(Self { mounts }))
    }

    /// Finds the directory that a raw path lies in.
    pub(super) fn find(&self, raw_path: &str) -> Option<Found> {
        let is_below = |mount: &Mount| {
            raw_path
                .strip_prefix(mount.prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let index = self.mounts.iter().position(is_below)?;
        let mount = &self.mounts[index];
        Some(Found {
            mount: index,
            prefix_len: mount.prefix.len(),
            public: mount.public,
        })
    }

    /// Takes from the head what opening the file needs; `None` for a path that names no file.
    pub(super) fn select(&self, found: &Found, head: &Head) -> Option<SendFile> {
        let directory = &self.mounts[found.mount].directory;
        let (path, is_directory) = relative_path(&head.raw_path()[found.prefix_len..])?;
        Some(SendFile {
            directory: Arc::clone(directory),
            path,
            is_directory,
            target: head.uri.clone(),
            accepted: Accepted::new(&head.headers),
            conditions: FileConditions::new(&head.method, &head.headers),
            wants_page: directory.spa_fallback && wants_page(head),
        })
    }
}

impl Mount {
    fn new(field: &str, config: &StaticFilesConfig) -> Result<Self, ConfigError> {
        let prefix = config.route_prefix.trim_end_matches('/');
        let is_plain = config.route_prefix.starts_with('/')
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#{}".contains(&byte));
        if !is_plain {
            return Err(ConfigError::value(
                format!("{field}.route_prefix"),
                format!("{:?}", config.route_prefix),
                "a literal path beginning with '/', percent-encoded where needed",
            ));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(config.directory.as_str(), flags, Mode::empty());
        let root = root.map_err(|error| {
            ConfigError::value(
                format!("{field}.directory"),
                format!("{:?}", config.directory),
                format!("a directory that can be read ({error})"),
            )
        })?;
        let cache_control = config.cache_control.as_deref().map(HeaderValue::from_str);
        let cache_control = cache_control.transpose().map_err(|_| {
            ConfigError::value(
                format!("{field}.cache_control"),
                format!("{:?}", config.cache_control),
                "printable ASCII",
            )
        })?;
        Ok(Self {
            prefix: prefix.to_owned(),
            directory: Arc::new(Directory {
                root,
                index_file: config.index_file,
                spa_fallback: config.spa_fallback,
                precompressed: config.precompressed,
                follow_symlinks: config.follow_symlinks,
                cache_control,
            }),
            public: config.public,
        })
    }
}

/// Decodes what follows the prefix, segment by segment, and says whether it ends in a slash.
///
/// `None` for everything that is not plainly the name of a file below: `..` in any spelling, an
/// encoded slash, a backslash, an empty segment, a control character, a hidden file.
fn relative_path(rest: &str) -> Option<(String, bool)> {
    let is_directory = rest.ends_with('/');
    let names = rest.strip_prefix('/').unwrap_or(rest);
    let names = names.strip_suffix('/').unwrap_or(names);
    let mut path = String::with_capacity(names.len());
    for raw in names.split('/').filter(|_| !names.is_empty()) {
        let name = decode_path(raw).ok()?;
        let is_hidden = name.starts_with('.') && name != ".well-known";
        let is_odd = |c: char| c == '/' || c == '\\' || c.is_control();
        if name.is_empty() || is_hidden || name.contains(is_odd) {
            return None;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&name);
    }
    Some((path, is_directory))
}

/// The target that a directory without its slash is sent on to: relative to the request's own, so
/// that no host or scheme in it can be anything but the client's.
fn redirect(target: &Uri) -> HeaderValue {
    let last = target.path().rsplit('/').next().unwrap_or("");
    let mut location = format!("./{last}/");
    if let Some(query) = target.query() {
        location.push('?');
        location.push_str(query);
    }
    HeaderValue::try_from(location).unwrap_or_else(|_| HeaderValue::from_static("./"))
}

/// Whether a browser is on its way to a page, as against asking for a script or picture.
fn wants_page(head: &Head) -> bool {
    let accept = head.headers.get(http::header::ACCEPT);
    accept.is_some_and(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// A static file that was chosen, and all that its response depends on.
///
/// Opening and reading it is I/O: [`SendFile::open_cached`] never waits for the disk,
/// [`SendFile::open`] does.
#[derive(Clone, Debug)]
pub struct SendFile {
    directory: Arc<Directory>,
    /// Relative to the directory; `""` is the directory itself.
    path: String,
    is_directory: bool,
    /// The request's own, of which a redirect is made.
    target: Uri,
    accepted: Accepted,
    conditions: FileConditions,
    /// Whether nothing there is answered with the directory's own index.
    wants_page: bool,
}

impl SendFile {
    /// Answers with the file, a 404, or what the request's conditions make of it. Blocks on the
    /// disk, so not for the loop's thread.
    pub fn open(&self) -> Response<FileBody> {
        self.respond(Patience::Blocking)
            .unwrap_or_else(|error| failure(&error))
    }

    /// As [`SendFile::open`], when everything it needs is in the kernel's caches; else `None`.
    pub fn open_cached(&self) -> Option<Response<ResponseBody>> {
        let response = match self.respond(Patience::Cached) {
            Ok(response) => response,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => failure(&error),
        };
        Some(response.map(ResponseBody::from))
    }

    fn respond(&self, patience: Patience) -> io::Result<Response<FileBody>> {
        let directory = &self.directory;
        let found = if self.is_directory {
            if directory.index_file {
                self.file(&self.index(), patience)?
            } else {
                None
            }
        } else {
            match directory.open(&self.path, patience)? {
                Opened::File(file, metadata) => {
                    self.variant(&self.path, file, &metadata, patience)?
                }
                Opened::Directory if directory.index_file => {
                    return if self.file(&self.index(), patience)?.is_some() {
                        Ok(moved(redirect(&self.target)))
                    } else {
                        Ok(not_found())
                    };
                }
                Opened::Directory | Opened::Nothing => None,
            }
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if self.wants_page {
            let page = self.file("index.html", patience)?;
            return Ok(page.unwrap_or_else(not_found));
        }
        Ok(not_found())
    }

    fn index(&self) -> String {
        if self.path.is_empty() {
            "index.html".to_owned()
        } else {
            format!("{}/index.html", self.path)
        }
    }

    /// Answers with the file at `path`, `None` when there is no regular file.
    fn file(&self, path: &str, patience: Patience) -> io::Result<Option<Response<FileBody>>> {
        match self.directory.open(path, patience)? {
            Opened::File(file, metadata) => self.variant(path, file, &metadata, patience),
            Opened::Directory | Opened::Nothing => Ok(None),
        }
    }

    /// Prefers a precompressed neighbour that the client takes to the file itself.
    fn variant(
        &self,
        path: &str,
        file: File,
        metadata: &std::fs::Metadata,
        patience: Patience,
    ) -> io::Result<Option<Response<FileBody>>> {
        let mut chosen = None;
        let mut neighbours: Vec<(Coding, File, std::fs::Metadata)> = Vec::new();
        if self.directory.precompressed && self.accepted.wants_coding() {
            for coding in Coding::ALL {
                let neighbour = format!("{path}{}", coding.file_ending());
                if let Opened::File(file, metadata) = self.directory.open(&neighbour, patience)? {
                    neighbours.push((coding, file, metadata));
                }
            }
            chosen = self
                .accepted
                .best(|coding| neighbours.iter().any(|(other, ..)| *other == coding));
        }
        let (source, coding) = match chosen
            .and_then(|coding| neighbours.into_iter().find(|(other, ..)| *other == coding))
        {
            Some((coding, file, metadata)) => (FileSource::new(file, &metadata), Some(coding)),
            None => (FileSource::new(file, metadata), None),
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let media = media_type(path);
        let mut response = source.respond(&self.conditions, &media, patience)?;
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, coding.header_value());
        }
        if self.directory.precompressed {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(cache_control) = &self.directory.cache_control {
            headers.insert(CACHE_CONTROL, cache_control.clone());
        }
        Ok(Some(response))
    }
}

/// What there is at a path.
enum Opened {
    File(File, std::fs::Metadata),
    Directory,
    Nothing,
}

impl Directory {
    /// Opens what `path` names, without ever leaving the directory.
    fn open(&self, path: &str, patience: Patience) -> io::Result<Opened> {
        // O_NONBLOCK: opening a pipe that nobody writes to would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = if path.is_empty() { "." } else { path };
        let opened = if self.follow_symlinks {
            rustix::fs::openat(&self.root, path, flags, Mode::empty())
        } else {
            open_beneath(&self.root, path, flags, patience)
        };
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(error) => {
                return if is_absence(error) {
                    Ok(Opened::Nothing)
                } else {
                    Err(error.into())
                };
            }
        };
        let metadata = file.metadata()?;
        Ok(if metadata.is_file() {
            Opened::File(file, metadata)
        } else if metadata.is_dir() {
            Opened::Directory
        } else {
            Opened::Nothing
        })
    }
}

/// Opens a file by a path of which no step may lead out of `root`, in one system call: a check
/// before the call could be outrun by somebody who swaps a directory for a link.
#[cfg(target_os = "linux")]
fn open_beneath(
    root: &OwnedFd,
    path: &str,
    flags: OFlags,
    patience: Patience,
) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;

    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::CACHED, patience == Patience::Cached);
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // A rename beside us made the kernel unsure; it asks to try again.
        Err(Errno::AGAIN) if patience == Patience::Blocking => {
            rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
        }
        // Kernels before 5.12 know the call but not the question.
        Err(Errno::INVAL) if patience == Patience::Cached => Err(Errno::AGAIN),
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk_beneath(root, path, flags),
        outcome => outcome,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(
    root: &OwnedFd,
    path: &str,
    flags: OFlags,
    _patience: Patience,
) -> rustix::io::Result<OwnedFd> {
    walk_beneath(root, path, flags)
}

/// The same step by step from descriptor to descriptor; follows no link at all.
pub(super) fn walk_beneath(
    root: &OwnedFd,
    path: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut parent: Option<OwnedFd> = None;
    for step in parents.split('/').filter(|step| !step.is_empty()) {
        let from = parent.as_ref().unwrap_or(root).as_fd();
        let next = rustix::fs::openat(from, step, flags | OFlags::DIRECTORY, Mode::empty())?;
        parent = Some(next);
    }
    rustix::fs::openat(parent.as_ref().unwrap_or(root), name, flags, Mode::empty())
}

/// Errors that mean "there is nothing to serve here", whatever the reason: the client learns no
/// more than that.
fn is_absence(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::ACCESS,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::NXIO,
        Errno::NODEV,
    ]
    .contains(&error)
}

/// Guesses from the ending; text is not given a charset, which its files may say themselves.
fn media_type(path: &str) -> HeaderValue {
    let ending = Path::new(path)
        .extension()
        .and_then(OsStr::to_str)
        .unwrap_or("");
    let guess = mime_guess::from_ext(ending).first_raw();
    HeaderValue::from_static(guess.unwrap_or("application/octet-stream"))
}

fn moved(location: HeaderValue) -> Response<FileBody> {
    let mut response = Response::new(FileBody::default());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response
}

fn not_found() -> Response<FileBody> {
    problem_body(&Problem::not_found())
}

fn problem_body(problem: &Problem) -> Response<FileBody> {
    problem::answer(problem).map(|body| match body {
        ResponseBody::Full(bytes) => FileBody::ready(bytes),
        ResponseBody::Empty | ResponseBody::Stream(_) => FileBody::default(),
    })
}

/// The server's own trouble: out of descriptors or a disk that fails.
fn failure(error: &io::Error) -> Response<FileBody> {
    use rustix::io::Errno;
    let is_shortage = [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    problem_body(&if is_shortage {
        Problem::service_unavailable("the server is busy, try again")
    } else {
        Problem::internal_server_error()
    })
}
