//! A connection's bytes: in clear text or over TLS.
//!
//! The first bytes of a call are handed to the socket and counted as one act ([`Departure::send`]), over TLS too: what the
//! socket takes then are the first sealed bytes, which nothing else had a chance to write.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Departure;
use crate::socket::Socket;

/// What carries a connection.
pub type Wire = Socket<TlsStream<TcpStream>>;

impl Wire {
    /// Whether nothing has come and the other side has not ended: it can carry a call.
    pub(super) fn is_silent(&mut self) -> bool {
        match self {
            // No system call as long as nothing has come: the runtime knows.
            Self::Plain(socket) => socket
                .try_read(&mut [0])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            // Session tickets may have come, which are no data. Whoever reads next leaves a waker of his own.
            Self::Tls(stream) => {
                let (mut byte, mut context) = ([0], Context::from_waker(Waker::noop()));
                Pin::new(&mut **stream)
                    .poll_read(&mut context, &mut ReadBuf::new(&mut byte))
                    .is_pending()
            }
        }
    }

    /// Hands over the first of `bytes`, and answers how many were taken. `sealed` is zero before the first attempt and
    /// is kept between polls: what is sealed once can't be sealed again.
    ///
    /// # Errors
    /// When the connection is broken; nothing was sent then.
    pub(super) fn poll_first(
        &mut self,
        context: &mut Context<'_>,
        (bytes, sealed): (&[u8], &mut usize),
        departure: &impl Departure,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => poll_send(socket, context, || departure.send(socket, bytes)),
            Self::Tls(stream) => {
                if *sealed == 0 {
                    // What TLS itself has to say is not the call's.
                    ready!(Pin::new(&mut **stream).poll_flush(context))?;
                    *sealed = stream.get_mut().1.writer().write(bytes)?;
                }
                let (socket, session) = stream.get_mut();
                let socket: &TcpStream = socket;
                let mut sending = Sending { socket, departure };
                let sent = poll_send(socket, context, || session.write_tls(&mut sending));
                sent.map_ok(|_| *sealed)
            }
        }
    }
}

fn poll_send(
    socket: &TcpStream,
    context: &mut Context<'_>,
    mut send: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(context))?;
        match socket.try_io(Interest::WRITABLE, &mut send) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            // It was no longer ready; now the runtime knows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// Where TLS writes the first sealed bytes of a call.
struct Sending<'a, D> {
    socket: &'a TcpStream,
    departure: &'a D,
}

impl<D: Departure> io::Write for Sending<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.departure.send(self.socket, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
