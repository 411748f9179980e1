//! The ingress put together: the only file that knows every part. Start: options checked, keys read, port bound. Stop: not
//! ready any more, time for what is open, the port closed.

use crate::config::{ServeOptions, Unfit};
use crate::cors::Cors;
use crate::door::{self, Door};
use crate::health::Readiness;
use crate::keys::{self, KeyFileError, KeyRing, Stamp};
use crate::limits::{InFlight, Limits};
use crate::meters::{self, Meters};
use crate::proxy::Upstream;
use crate::sources::{Sources, SourcesError};
use crate::{pages, tasks};
use actix_web::App;
use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::{System, net::TcpStream};
use actix_web::web::{self, Data};
use governor::clock::DefaultClock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Shutdown, shutdown};
use sandpiper_http_kit::ServerOptions;
use sandpiper_http_kit::descriptors::{TooFewDescriptors, connections_within};
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Bounds of the port of metrics.
const METRICS: ServerOptions = ServerOptions {
    workers: 1,
    connections_max: 64,
    backlog: 64,
    header_timeout: Duration::from_secs(5),
    keep_alive: Duration::from_secs(75),
    write_timeout: Duration::from_secs(30),
    shutdown_timeout: Duration::from_secs(1),
};

/// Why the ingress does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An option.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The keys.
    #[error("--keys-file: {0}")]
    Keys(#[from] KeyFileError),
    /// Scripts that requests only point at.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The limit of open files.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The address.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// The address of metrics.
    #[error("--metrics-port: cannot listen on {address}: {cause}")]
    ListenForMetrics {
        /// Where.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Lets requests through until it is told to stop.
pub fn serve(mut options: ServeOptions) -> Result<(), ServeError> {
    options.check()?;
    // Before the runtime, which needs some itself.
    options.connections_max = connections_within_descriptors(&options)?;
    let options = &options;
    meters::started();
    System::new().block_on(async {
        let signals = StopSignals::hold()?;
        let keys_seen = options.keys_file.as_deref().and_then(Stamp::of);
        let door = Data::new(door(options)?);
        let listener = listen(options)?;
        let address = listener.local_addr()?;
        let server = http_server(options, &door, listener)?;
        if let Some(server) = metrics_server(options, &door)? {
            actix_web::rt::spawn(server);
        }
        let sweeping = tasks::sweep(door.clone());
        let watching = tasks::watch_keys(door.clone(), options.keys_file.clone(), keys_seen);
        say_what_stands(options, &door);
        info!(
            %address,
            service = %options.authority()?,
            "listening on http://{address}"
        );
        run_until_told(signals, server, &door).await;
        sweeping.abort();
        watching.abort();
        Ok(())
    })
}

fn door(options: &ServeOptions) -> Result<Door, ServeError> {
    let client_quotas = options.client_quotas();
    let keys = match &options.keys_file {
        None => None,
        Some(path) => Some(Arc::new(KeyRing::new(
            &keys::load(path)?,
            client_quotas,
            options.requests_per_client,
        ))),
    };
    Ok(Door {
        trust: options.trust(),
        limits: Limits::new(
            options.total_quota,
            client_quotas,
            options.health_quota,
            &options.client_bounds(),
            &DefaultClock::default(),
        ),
        in_flight: InFlight::new(options.network_clients.get()),
        requests_per_client: options.requests_per_client,
        hosts: options.allowed_hosts(),
        cors: Cors::new(options.cors_origins.clone()),
        keys,
        sources: options.sources.checked()?.map(Sources::new).transpose()?,
        url_bytes: as_usize(options.url_bytes.as_u64()),
        header_bytes: as_usize(options.header_bytes.as_u64()),
        is_open: options.open,
        readiness: Readiness::default(),
        stopping: AtomicBool::new(false),
        meters: Arc::default(),
        trace_ratio: options.telemetry.trace_ratio,
    })
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What an operator should know who has read nothing.
fn say_what_stands(options: &ServeOptions, door: &Door) {
    match &door.keys {
        Some(keys) => info!(keys = keys.len(), "a key is needed"),
        None if options.open => warn!(
            "a public demonstration (--open): anybody may run code, and read and stop what was run by its id; nothing is listed"
        ),
        None => warn!(
            "no key is needed: whoever reaches this port may run code and read every job (--keys-file)"
        ),
    }
    if !pages::has_page(&options.pages_dir) {
        warn!(folder = %options.pages_dir.display(), "no web page is built there: a plain one stands in");
    }
}

/// Takes as many descriptors as the system allows; returns how many connections that is enough for.
fn connections_within_descriptors(options: &ServeOptions) -> Result<NonZeroUsize, ServeError> {
    // Log, signals, runtimes, keys, pages and scripts that are read, names that are looked up.
    const ITSELF: usize = 64;
    const OF_AN_HTTP_WORKER: usize = 8;
    // Each client's connection may need one to the service.
    const OF_A_CONNECTION: usize = 2;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(io::Error::from)?;
    let metrics = (options.telemetry.metrics_address()).map_or(0, |_| METRICS.connections_max);
    let fetches = options.sources.fetches_max.get();
    let kept = ITSELF + OF_AN_HTTP_WORKER * options.workers() + metrics + fetches;
    let wanted = options.connections_max;
    let connections = connections_within(as_usize(most), kept, OF_A_CONNECTION, wanted.get())?;
    if connections < wanted.get() {
        warn!(
            connections_max = connections,
            descriptors = most,
            "fewer connections than configured: the limit of open files (RLIMIT_NOFILE) is low"
        );
    }
    Ok(NonZeroUsize::new(connections).unwrap_or(NonZeroUsize::MIN))
}

fn listen(options: &ServeOptions) -> Result<TcpListener, ServeError> {
    TcpListener::bind((options.host, options.port)).map_err(|cause| ServeError::Listen {
        address: format!("{}:{}", options.host, options.port),
        cause,
    })
}

fn http_server(
    options: &ServeOptions,
    door: &Data<Door>,
    listener: TcpListener,
) -> Result<Server, ServeError> {
    let upstream = Arc::new(options.upstream()?);
    let reached = Arc::new(AtomicBool::new(true));
    let pages_dir = options.pages_dir.clone();
    let app = {
        let door = door.clone();
        move || {
            App::new()
                .app_data(door.clone())
                .app_data(Upstream::new(
                    Arc::clone(&upstream),
                    Arc::clone(&reached),
                    Arc::clone(&door.meters),
                ))
                .wrap(from_fn(door::pass))
                .configure(|config| pages::configure(&pages_dir, config))
        }
    };
    let bounds = ServerOptions {
        workers: options.workers(),
        connections_max: options.connections_per_worker(),
        backlog: BACKLOG,
        header_timeout: Duration::from_millis(options.header_timeout_ms),
        keep_alive: Duration::from_secs(options.keep_alive_s),
        write_timeout: Duration::from_millis(options.write_timeout_ms),
        shutdown_timeout: Duration::from_millis(options.drain_ms),
    };
    let greeter = greeter(options, Arc::clone(&door.meters));
    Ok(sandpiper_http_kit::serve(bounds, listener, greeter, app)?)
}

/// A port of its own for metrics, if there is to be one. It answers until the process ends.
fn metrics_server(options: &ServeOptions, door: &Data<Door>) -> Result<Option<Server>, ServeError> {
    let Some(address) = options.telemetry.metrics_address() else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).map_err(|cause| ServeError::ListenForMetrics {
        address: address.to_string(),
        cause,
    })?;
    let address = listener.local_addr()?;
    info!(%address, "metrics on http://{address}/metrics");
    let door = door.clone();
    let app = move || {
        App::new()
            .app_data(door.clone())
            .route("/metrics", web::get().to(meters::show))
    };
    let server = sandpiper_http_kit::serve(METRICS, listener, |_, _| {}, app)?;
    Ok(Some(server))
}

/// Bounds how many connections an address may have.
fn greeter(
    options: &ServeOptions,
    meters: Arc<Meters>,
) -> impl Fn(&TcpStream, &mut Extensions) + Clone + Send + 'static {
    let connections = Arc::new(InFlight::new(options.network_clients.get()));
    let trust = options.trust();
    let (per_client, per_proxy) = (
        options.connections_per_client(),
        options.connections_per_proxy(),
    );
    move |stream, extensions| {
        let Ok(peer) = stream.peer_addr() else { return };
        // Behind a proxy, many clients come from one address. No address takes all connections either way.
        let most = if trust.believes(peer.ip()) {
            per_proxy
        } else {
            per_client
        };
        match connections.enter(door::client_of_connection(peer.ip()), most) {
            Ok(visit) => {
                extensions.insert(visit);
            }
            Err(_) => {
                meters.connections_refused.count();
                let _ = shutdown(stream.as_raw_fd(), Shutdown::Both);
            }
        }
    }
}

/// The two signals that end the ingress. From the moment it holds them none of them kills it; so it holds them before it
/// answers anybody, and whoever is told to stop in that moment stops in order too.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn hold() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stops in order on the first signal, and at once on the second.
async fn run_until_told(mut signals: StopSignals, server: Server, door: &Door) {
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    signals.told().await;
    info!("stopping: no new connections, and time for what is open");
    door.stopping.store(true, Ordering::Relaxed);
    tokio::select! {
        () = handle.stop(true) => info!("stopped"),
        () = signals.told() => warn!("stopped at once, by a second signal"),
    }
    server.abort();
}
