//! The server of one port, built from an application and a bound listener.

use crate::connection::{Connection, Timeouts};
use crate::service::WatchedFactory;
use actix_http::body::MessageBody;
use actix_http::{Extensions, HttpService, KeepAlive, Request, Response};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};
use std::fmt;
use std::future::ready;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

/// Time for a client to read a response before the connection is closed while it still sends a body.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    pub workers: usize,
    /// Maximum open connections of each thread.
    pub connections_max: usize,
    /// Maximum connections that wait to be accepted.
    pub backlog: u32,
    /// Maximum time from the first to the last byte of a head; for the first head, from the start of the connection.
    pub header_timeout: Duration,
    /// Maximum time from the end of a response to the first byte of the next head.
    pub keep_alive: Duration,
    /// Maximum time that a client may read nothing of its response.
    pub write_timeout: Duration,
    /// Maximum time for open requests once the server stops, rounded up to seconds.
    pub shutdown_timeout: Duration,
}

impl ServerOptions {
    /// The bounds of a port that serves only metrics.
    pub const METRICS: Self = Self {
        workers: 1,
        connections_max: 64,
        backlog: 64,
        header_timeout: Duration::from_secs(5),
        keep_alive: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        shutdown_timeout: Duration::from_secs(1),
    };
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct ListenError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds an address.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|cause| ListenError { address, cause })
}

/// Returns the address at which a client on this machine reaches a server: loopback if the server listens on all
/// addresses.
pub fn local_address(listening_on: IpAddr, port: u16) -> SocketAddr {
    let host = match listening_on {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, port)
}

/// Serves the application on the listener.
///
/// `on_connect` gets each connection before its first byte, and may store values in its extensions for the life of the
/// connection. A client that closes its sending half counts as disconnected. The caller handles signals.
pub fn serve<F, I, S, B>(
    options: ServerOptions,
    listener: TcpListener,
    on_connect: impl Fn(&TcpStream, &mut Extensions) + Clone + Send + 'static,
    application: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let timeouts = Timeouts {
        head: options.header_timeout,
        idle: options.keep_alive,
    };
    let unread_max = u32::try_from(options.write_timeout.as_millis()).unwrap_or(u32::MAX);
    let builder = Server::build()
        .workers(options.workers)
        .max_concurrent_connections(options.connections_max)
        .backlog(options.backlog)
        .shutdown_timeout(whole_seconds(options.shutdown_timeout))
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let make = move || {
        let stopping = stopping.clone();
        let on_connect = on_connect.clone();
        let application = application().into_factory();
        let application =
            application.map_err(|error| Response::from(error.into().error_response()));
        let application = WatchedFactory::new(map_config(application, |()| AppConfig::default()));
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // `Connection` times idle connections.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(options.header_timeout)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(false)
            .expect(application.for_expectations())
            .on_connect_ext(move |connection: &Connection, extensions| {
                extensions.insert(Rc::clone(connection.state()));
                on_connect(connection.stream(), extensions);
            })
            .h1(application);
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            set_options(&stream, unread_max);
            ready(Ok((Connection::new(stream, timeouts), peer)))
        })
        .and_then(http)
    };
    Ok(builder.listen("http", listener, make)?.run())
}

/// Sets the socket options of a connection. `unread_max` is the maximum time that a client may read nothing,
/// milliseconds.
///
/// A connection without these options works too, so errors are ignored.
fn set_options(stream: &TcpStream, unread_max: u32) {
    // Nagle's algorithm would delay the body until the client has acknowledged the head.
    let _ = stream.set_nodelay(true);
    // The kernel closes the connection of a client that does not read its response.
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &unread_max);
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
