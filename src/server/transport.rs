//! The byte stream under a connection: TCP or a Unix socket, with or without TLS.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// One connection's bytes.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    TlsTcp(Box<TlsStream<TcpStream>>),
    /// TLS over a Unix socket.
    TlsUnix(Box<TlsStream<UnixStream>>),
}

macro_rules! each {
    ($transport:expr, $stream:ident => $then:expr) => {
        match $transport {
            Transport::Tcp($stream) => $then,
            Transport::Unix($stream) => $then,
            Transport::TlsTcp($stream) => $then,
            Transport::TlsUnix($stream) => $then,
        }
    };
}

impl Transport {
    /// Polls until a read would give bytes or the end, without taking any and without a buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            // Readable ciphertext need not be readable plaintext (session tickets).
            Self::TlsTcp(stream) => {
                Poll::Ready(ready!(Pin::new(stream).poll_fill_buf(cx)).map(|_| ()))
            }
            Self::TlsUnix(stream) => {
                Poll::Ready(ready!(Pin::new(stream).poll_fill_buf(cx)).map(|_| ()))
            }
        }
    }

    /// Asks the kernel whether the peer has hung up, also when bytes wait to be read before its
    /// FIN. A peer that has closed only its sending half counts as gone.
    pub fn has_hung_up(&self) -> bool {
        let descriptor = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::TlsTcp(stream) => stream.get_ref().0.as_fd(),
            Self::TlsUnix(stream) => stream.get_ref().0.as_fd(),
        };
        let mut descriptors = [PollFd::from_borrowed_fd(descriptor, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // An error is EINTR or no memory: the next look will tell.
        rustix::event::poll(&mut descriptors, Some(&at_once)).is_ok()
            && descriptors[0]
                .revents()
                .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
