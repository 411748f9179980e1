//! Connections to the service, on which an end in the middle of an answer is an error.
//!
//! The HTTP client takes the end of a connection for the end of a body sent in chunks, and so would pass half an answer on
//! as a whole one. The service never ends a body by closing, so here an end is always an error.

use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector, Resolve, Resolver};
use actix_web::dev::Service as _;
use actix_web::http::Uri;
use actix_web::rt::net::{ActixStream, Ready, TcpStream};
use futures_util::future::LocalBoxFuture;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::lookup_host;

/// A connection on which an end is an error.
#[derive(Debug)]
pub(super) struct Whole(TcpStream);

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Whole {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

impl ActixStream for Whole {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.0, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.0, context)
    }
}

/// Opens a connection to the service. A name is looked up each time, so that one that comes or goes is known at once, and
/// where it has several addresses each is as likely: the first one that takes the connection has it.
pub(super) async fn connect(
    info: ConnectInfo<Uri>,
) -> Result<Connection<Uri, Whole>, ConnectError> {
    let opened = Connector::new(Resolver::custom(AnyOrder))
        .service()
        .call(info)
        .await?;
    let (stream, target) = opened.into_parts();
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    Ok(Connection::new(target, Whole(stream)))
}

/// The system's look-up, in an order that is not the system's: that one puts the same address first again and again.
#[derive(Debug)]
struct AnyOrder;

impl Resolve for AnyOrder {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn Error>>> {
        Box::pin(async move {
            let mut found: Vec<_> = lookup_host((host, port)).await?.collect();
            fastrand::shuffle(&mut found);
            Ok(found)
        })
    }
}
