//! Connections to the service, on which an end of file is an error.
//!
//! The HTTP client `awc` takes the end of a connection for the end of a chunked body, and so would forward half a
//! response as a whole one. The service never ends a body by closing the connection, so here an end of file is always
//! an error.

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

/// A TCP stream on which an end of file is an error.
#[derive(Debug)]
pub(super) struct StrictStream(TcpStream);

impl AsyncRead for StrictStream {
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

impl AsyncWrite for StrictStream {
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

impl ActixStream for StrictStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.0, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.0, context)
    }
}

/// Opens a connection to the service.
///
/// A host name is resolved for each connection, so that replicas which come or go are noticed at once. Its addresses
/// are tried in random order.
pub(super) async fn connect(
    info: ConnectInfo<Uri>,
) -> Result<Connection<Uri, StrictStream>, ConnectError> {
    let opened = Connector::new(Resolver::custom(ShuffledResolver))
        .service()
        .call(info)
        .await?;
    let (stream, target) = opened.into_parts();
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    Ok(Connection::new(target, StrictStream(stream)))
}

/// The system's resolver, with the addresses shuffled: the system returns the same address first again and again.
#[derive(Debug)]
struct ShuffledResolver;

impl Resolve for ShuffledResolver {
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
