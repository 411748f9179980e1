//! The start and the stop of the ingress. No other file knows every part.
//!
//! Start: check the options, load the keys, bind the ports. Stop: fail readiness, wait for open requests, close the
//! port.

use crate::audit::{Audit, AuditLogError};
use crate::client::Client;
use crate::config::{OptionConflict, ServeOptions};
use crate::cors::Cors;
use crate::gateway::Gateway;
use crate::health::Readiness;
use crate::in_flight::InFlight;
use crate::keys::{self, KeyFileError, KeyRing, Stamp, UsesFile};
use crate::limits::{ClientBounds, Limits};
use crate::meters::Meters;
use crate::principal::Principal;
use crate::proxy::Upstream;
use crate::sources::{Sources, SourcesError};
use crate::tasks::{KeyFiles, Tasks};
use crate::{metrics, middleware, pages};
use actix_web::App;
use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::{System, net::TcpStream};
use actix_web::web::{self, Data};
use governor::clock::DefaultClock;
use nix::sys::socket::{Shutdown, shutdown};
use sandpiper_http_kit::descriptors::{TooFewDescriptors, connections_within, raise_limit};
use sandpiper_http_kit::hosts::AllowedHosts;
use sandpiper_http_kit::signals::StopSignals;
use sandpiper_http_kit::{ListenError, ServerOptions, listen};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

const BACKLOG: u32 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Options(#[from] OptionConflict),
    #[error("--keys-file: {0}")]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("--audit-log: {0}")]
    Audit(#[from] AuditLogError),
    #[error("--metrics-port: {0}")]
    ListenForMetrics(ListenError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves requests until a signal stops the ingress.
pub fn serve(mut options: ServeOptions) -> Result<(), ServeError> {
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    options.check()?;
    // Before the runtime opens descriptors of its own.
    options.connections_max = connections_within_descriptors(&options)?;
    let options = &options;
    System::new().block_on(async {
        let signals = StopSignals::install()?;
        let audit_log = options.telemetry.audit_log.as_ref();
        // Without an audit log SIGHUP ends the process, as by default.
        let hangups = audit_log
            .map(|_| signal(SignalKind::hangup()))
            .transpose()?;
        let keys_seen = options.keys_file.as_deref().and_then(Stamp::of);
        let gateway = Data::new(build_gateway(options, started)?);
        let listener = listen(SocketAddr::new(options.host, options.port))?;
        let address = listener.local_addr()?;
        let server = http_server(options, &gateway, listener)?;
        if let Some(server) = metrics_server(options, &gateway)? {
            actix_web::rt::spawn(server);
        }
        let key_files = options.keys_file.clone().map(|keys| KeyFiles {
            uses: UsesFile::new(options.key_uses_file.as_deref(), &keys),
            keys,
            keys_seen,
        });
        let tasks = Tasks::start(&gateway, key_files, hangups);
        log_access(options, &gateway);
        info!(
            %address,
            service = %options.authority()?,
            "listening on http://{address}"
        );
        run_until_signal(signals, server, &gateway).await;
        tasks.stop(&gateway);
        Ok(())
    })
}

fn build_gateway(options: &ServeOptions, started: Duration) -> Result<Gateway, ServeError> {
    let client_quotas = options.client_quotas();
    let bounds = ClientBounds {
        clients_max: options.clients_max.get(),
        network_clients: options.network_clients,
    };
    let keys = match &options.keys_file {
        None => None,
        Some(path) => Some(Arc::new(KeyRing::new(
            &keys::load(path)?,
            client_quotas,
            options.requests_per_client,
        ))),
    };
    let meters = Arc::<Meters>::default();
    let audit_log = options.telemetry.audit_log.as_ref();
    let audit = audit_log.map(|log| Audit::start(log, Arc::clone(&meters)));
    Ok(Gateway {
        trust: options.trust(),
        limits: Limits::new(
            options.total_quota,
            client_quotas,
            options.health_quota,
            &bounds,
            &DefaultClock::default(),
        ),
        in_flight: InFlight::new(options.network_clients.get()),
        requests_per_client: options.requests_per_client,
        hosts: AllowedHosts::new(options.allowed_hosts.clone()),
        cors: Cors::new(options.cors_origins.clone()),
        keys,
        sources: options.sources.checked()?.map(Sources::new).transpose()?,
        url_bytes: as_usize(options.url_bytes.as_u64()),
        header_bytes: as_usize(options.header_bytes.as_u64()),
        is_demonstration: options.open,
        readiness: Readiness::default(),
        started,
        stopping: AtomicBool::new(false),
        meters,
        audit: audit.transpose()?,
        trace_ratio: options.telemetry.trace_ratio,
    })
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Logs who may run code here, and warns if the web page is missing.
fn log_access(options: &ServeOptions, gateway: &Gateway) {
    match &gateway.keys {
        Some(keys) => info!(keys = keys.len(), "the API requires a key (--keys-file)"),
        None if options.open => warn!(
            "public demonstration (--open): anyone may run code, and read or stop a job by its id; jobs are not listed"
        ),
        None => warn!(
            "the API requires no key: every client that reaches this port may run code and read every job; give --keys-file to require keys"
        ),
    }
    if !pages::has_page(&options.pages_dir) {
        warn!(folder = %options.pages_dir.display(), "no index.html in --pages-dir: a plain page is served instead; build the web page to replace it");
    }
}

/// Raises the limit of open files as far as the system allows. Returns how many connections fit into the limit.
fn connections_within_descriptors(options: &ServeOptions) -> Result<NonZeroUsize, ServeError> {
    // Log, signals, runtimes, keys, pages, scripts, name look-ups.
    const FIXED: usize = 64;
    const PER_HTTP_WORKER: usize = 8;
    // Each connection of a client may need one to the service.
    const PER_CONNECTION: usize = 2;
    let limit = raise_limit()?;
    let metrics =
        (options.telemetry.metrics_address()).map_or(0, |_| ServerOptions::METRICS.connections_max);
    let fetches = options.sources.fetches_max.get();
    let reserved = FIXED + PER_HTTP_WORKER * options.workers() + metrics + fetches;
    let wanted = options.connections_max;
    let connections = connections_within(limit, reserved, PER_CONNECTION, wanted.get())?;
    if connections < wanted.get() {
        warn!(
            connections_max = connections,
            descriptors = limit,
            "the limit of open files (RLIMIT_NOFILE) allows fewer connections than --connections-max; raise it or lower --connections-max"
        );
    }
    Ok(NonZeroUsize::new(connections).unwrap_or(NonZeroUsize::MIN))
}

fn http_server(
    options: &ServeOptions,
    gateway: &Data<Gateway>,
    listener: TcpListener,
) -> Result<Server, ServeError> {
    let upstream = Arc::new(options.upstream()?);
    let reached = Arc::new(AtomicBool::new(true));
    let pages_dir = options.pages_dir.clone();
    let app = {
        let gateway = gateway.clone();
        move || {
            App::new()
                .app_data(gateway.clone())
                .app_data(Upstream::new(
                    Arc::clone(&upstream),
                    Arc::clone(&reached),
                    Arc::clone(&gateway.meters),
                ))
                .wrap(from_fn(middleware::handle))
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
    let on_connect = limit_connections(options, Arc::clone(&gateway.meters));
    Ok(sandpiper_http_kit::serve(
        bounds, listener, on_connect, app,
    )?)
}

/// Starts the server of the metrics port, if one is configured. The server runs until the process ends.
fn metrics_server(
    options: &ServeOptions,
    gateway: &Data<Gateway>,
) -> Result<Option<Server>, ServeError> {
    let Some(address) = options.telemetry.metrics_address() else {
        return Ok(None);
    };
    let listener = listen(address).map_err(ServeError::ListenForMetrics)?;
    let address = listener.local_addr()?;
    info!(%address, "metrics on http://{address}/metrics");
    let gateway = gateway.clone();
    let app = move || {
        App::new()
            .app_data(gateway.clone())
            .route("/metrics", web::get().to(metrics::show))
    };
    let server = sandpiper_http_kit::serve(ServerOptions::METRICS, listener, |_, _| {}, app)?;
    Ok(Some(server))
}

/// Returns a hook that closes a new connection if its address has its maximum open.
fn limit_connections(
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
        // A proxy opens connections for many clients from one address.
        let most = if trust.trusts(peer.ip()) {
            per_proxy
        } else {
            per_client
        };
        match connections.acquire(Principal::Client(Client::of(peer.ip())), most) {
            Ok(permit) => {
                extensions.insert(permit);
            }
            Err(_) => {
                meters.connections_rejected.count();
                let _ = shutdown(stream.as_raw_fd(), Shutdown::Both);
            }
        }
    }
}

/// Runs the server until the first signal, then stops gracefully. A second signal stops at once.
async fn run_until_signal(mut signals: StopSignals, server: Server, gateway: &Gateway) {
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    signals.received().await;
    info!("stopping: no new connections; open requests may finish within --drain-ms");
    gateway.stopping.store(true, Ordering::Relaxed);
    tokio::select! {
        () = handle.stop(true) => info!("stopped"),
        () = signals.received() => warn!("stopped at once by a second signal; open requests were aborted"),
    }
    server.abort();
}
