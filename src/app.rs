//! The start and the stop of the service. The only file that knows every layer.
//!
//! Start, in order: check the options, bind the port, read the scripts, prove the isolation, start the executors and
//! the Dispatcher; only then are requests served. Stop, in order: take no new work, give running work time to end, kill
//! the rest, close the port.

mod lazy_api;

use crate::actors::{
    Dispatcher, DispatcherHandle, DispatcherJobRunner, Executors, HandleParts, Stats, StoreHealth,
    sandboxes,
};
use crate::config::{OptionConflict, ServeOptions, StoreChoice};
use crate::http::{self, Api, HttpMeters};
use crate::meters::Operations;
use crate::scripts::{ScriptLibrary, ScriptLibraryError};
use crate::store::{
    Address, DurableStore, InProcessStore, JobStore, MeasuredStore, MemoryStore, OpenError,
    RecentExecutions, StoreError,
};
use crate::telemetry::{Telemetry, TelemetryError};
use actix::{Actor, System};
use actix_web::App;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use lazy_api::LazyApi;
use sandpiper_domain::{Limits, Timestamp};
use sandpiper_http_kit::descriptors::{TooFewDescriptors, connections_within, raise_limit};
use sandpiper_http_kit::signals::StopSignals;
use sandpiper_http_kit::{ListenError, ServerOptions, listen};
use sandpiper_sandbox_client::{
    IsolationLevel, LayerReport, Sandbox, SandboxError, SandboxProgram,
};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// Longest time until all executors are up. A start that takes longer has failed.
const EXECUTORS_UP_WITHIN: Duration = Duration::from_secs(20);
/// Time from the last accepted connection until idle connections are closed, once nothing runs any more.
const CONNECTIONS_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Time to send the remaining spans when everything else has ended.
const SPANS_SENT_WITHIN: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The reason why the service does not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Two options conflict.
    #[error(transparent)]
    OptionConflict(#[from] OptionConflict),
    /// An isolation layer is missing.
    #[error("{0}; `sandpiper doctor` tries every isolation layer and prints the state of each")]
    Isolation(#[from] SandboxError),
    /// The example scripts cannot be loaded.
    #[error("--scripts-dir: {0}")]
    Scripts(#[from] ScriptLibraryError),
    /// The limit of open files is too low.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address of the metrics port cannot be bound.
    #[error("--metrics-port: {0}")]
    ListenForMetrics(ListenError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An executor has no sandbox, although a sandbox could be started before.
    #[error("only {ready} of {total} executors came up; the log has the reason")]
    Executors {
        /// Executors that are up.
        ready: usize,
        /// Executors that were to start.
        total: usize,
    },
    /// The database of jobs cannot be opened.
    #[error("--store: {0}")]
    Store(#[from] OpenError),
    /// The database of jobs was opened and then failed.
    #[error("--store: {0}")]
    StoreLost(#[from] StoreError),
    /// No HTTP worker thread started.
    #[error("no HTTP worker started; the log has the reason")]
    NoWorker,
    /// An error of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until a signal stops the service.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let started = Instant::now();
    options.check()?;
    let connections_max = connections_within_descriptors(options)?;
    // Connections that arrive before the service is up wait in the backlog, for milliseconds.
    let listener = listen(SocketAddr::new(options.host, options.port))?;
    let scripts = ScriptLibrary::open(options.scripts_dir.as_deref())?;
    let proof = prove_isolation(options)?;
    let defaults = options.limits.defaults(&options.ceilings.ceiling())?;
    let (store, operations) = open_store(options, defaults)?;
    let telemetry = Telemetry::start(&options.telemetry.telemetry())?;
    let metrics = listen_for_metrics(options)?;
    let served = System::new().block_on(async {
        let stats = Stats::with_telemetry(
            options.executors(),
            options.reserve_executors(),
            telemetry.clone(),
        );
        let executors = start_executors(options, &proof, &stats).await?;
        let recent = Arc::new(RecentExecutions::new(options.recent()));
        let dispatcher = Dispatcher::new(
            options.dispatcher(),
            executors,
            Arc::clone(&stats),
            Arc::clone(&store),
            Arc::clone(&recent),
        );
        let address = listener.local_addr()?;
        let api = {
            let (execute_within, sources) = (options.execute_within(), options.sources());
            let (ceiling, bounds) = (options.ceilings.ceiling(), options.http());
            let (streams, metrics_apart) = (options.streams(), metrics.is_some());
            move || {
                let dispatcher = dispatcher.start();
                store.start_dispatch(Arc::new(DispatcherJobRunner::new(dispatcher.clone())))?;
                let dispatcher = DispatcherHandle::new(HandleParts {
                    dispatcher,
                    store_health: StoreHealth::new(Arc::clone(&store)),
                    store,
                    recent,
                    stats,
                    isolation_level: proof.level,
                    isolation_layers: proof.isolation_layers,
                    execute_within,
                    net_check_limits: defaults,
                    started_at: Timestamp::now(),
                    drained: watch::Sender::new(false),
                });
                Ok(Api {
                    dispatcher,
                    scripts,
                    sources,
                    defaults,
                    ceiling,
                    bounds,
                    streams,
                    started,
                    meters: HttpMeters::default(),
                    store: operations,
                    metrics_apart,
                })
            }
        };
        let signals = StopSignals::install()?;
        let (api, api_started) = LazyApi::new(api);
        let server = http_server(options, api, listener, connections_max)?;
        let server_handle = server.handle();
        let server = actix::spawn(server);
        let api = api_started.await.map_err(|_| ServeError::NoWorker)??;
        if let Some(listener) = metrics {
            actix::spawn(metrics_server(api.clone(), listener)?);
        }
        info!(
            %address,
            executors = options.executors(),
            startup_ms = started.elapsed().as_millis(),
            "listening on http://{address}"
        );
        let dispatcher = api.dispatcher.clone();
        run_until_stopped(signals, &server_handle, &dispatcher, options).await;
        server.abort();
        Ok(())
    });
    telemetry.close(SPANS_SENT_WITHIN);
    served
}

struct Proof {
    program: SandboxProgram,
    level: IsolationLevel,
    isolation_layers: Vec<LayerReport>,
}

/// Starts a sandbox once, as every executor will, before any request is served.
fn prove_isolation(options: &ServeOptions) -> Result<Proof, SandboxError> {
    let program = SandboxProgram::beside_this_program()?;
    let sandbox = Sandbox::start(options.isolation.sandbox(program.clone()))?;
    let (level, layers) = sandbox.isolation().ok_or_else(|| {
        SandboxError::Zygote("the zygote ended before it reported its isolation".to_owned())
    })?;
    info!(isolation = %level, "every isolation layer was tried");
    for layer in layers.iter().filter(|layer| !layer.present) {
        warn!(
            layer = layer.layer,
            detail = layer.detail,
            "an isolation layer is absent: the service runs with less isolation than it could have"
        );
    }
    Ok(Proof {
        program,
        level,
        isolation_layers: layers.to_vec(),
    })
}

/// Opens the store, and returns it with the durations of its operations.
fn open_store(
    options: &ServeOptions,
    defaults: Limits,
) -> Result<(Arc<dyn JobStore>, Arc<Operations>), ServeError> {
    Ok(match &options.store {
        StoreChoice::Memory => {
            let memory = MemoryStore::new(options.memory_store());
            let records = MeasuredStore::new(Arc::new(memory));
            let operations = records.operations();
            let store = InProcessStore::new(Arc::new(records), options.attempts_max);
            (Arc::new(store), operations)
        }
        StoreChoice::Durable(address) => {
            let durable = options.durable_store(address.clone(), defaults);
            let store = MeasuredStore::new(Arc::new(DurableStore::open(durable)?));
            let operations = store.operations();
            (Arc::new(store), operations)
        }
    })
}

async fn start_executors(
    options: &ServeOptions,
    proof: &Proof,
    stats: &Arc<Stats>,
) -> Result<Executors, ServeError> {
    // No later zygote may have less isolation than was proved.
    let mut as_proved = options.isolation.sandbox(proof.program.clone());
    as_proved.min_isolation = proof.level;
    let factory = sandboxes(as_proved);
    let processors = options.processors()?;
    let executors = Executors::start(factory, Arc::clone(stats), processors);
    wait_for_executors(stats).await?;
    Ok(executors)
}

async fn wait_for_executors(stats: &Stats) -> Result<(), ServeError> {
    let deadline = Instant::now() + EXECUTORS_UP_WITHIN;
    loop {
        let (ready, total) = (stats.executors_ready(), stats.executors());
        if ready == total {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ServeError::Executors { ready, total });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Raises the limit of open files as far as the system allows, and reserves those that executors and the store need: a
/// service that gives all descriptors to connections could start no zygote.
fn connections_within_descriptors(options: &ServeOptions) -> Result<usize, ServeError> {
    let limit = raise_limit()?;
    let wanted = usize::try_from(options.connections_max).unwrap_or(usize::MAX);
    let connections = connections_within(limit, descriptors_kept(options), 1, wanted)?;
    if connections < wanted {
        warn!(
            connections_max = connections,
            descriptors = limit,
            "fewer connections than configured: the limit of open files (RLIMIT_NOFILE) is low"
        );
    }
    Ok(connections)
}

/// Returns the number of descriptors that are reserved for everything but clients' connections.
fn descriptors_kept(options: &ServeOptions) -> usize {
    // Log, signals, runtimes, the span exporter, scripts that are read, and a zygote while it is being started.
    const ITSELF: usize = 48;
    const OF_AN_EXECUTOR: usize = 8;
    const OF_AN_HTTP_WORKER: usize = 8;
    // Each connection to SQLite has three files.
    const OF_SQLITE: usize = 24;
    const OF_POSTGRES_ITSELF: usize = 8;
    let store = match &options.store {
        StoreChoice::Memory => 0,
        StoreChoice::Durable(Address::Sqlite(_)) => OF_SQLITE,
        StoreChoice::Durable(Address::Postgres(_)) => {
            OF_POSTGRES_ITSELF + usize::from(options.store_connections)
        }
    };
    let metrics =
        (options.telemetry.metrics_address()).map_or(0, |_| ServerOptions::METRICS.connections_max);
    ITSELF
        + OF_AN_EXECUTOR * (options.executors() + options.reserve_executors())
        + OF_AN_HTTP_WORKER * options.http_workers()
        + store
        + metrics
}

fn http_server(
    options: &ServeOptions,
    api: LazyApi,
    listener: TcpListener,
    connections_max: usize,
) -> Result<Server, ServeError> {
    let workers = options.http_workers();
    let bounds = ServerOptions {
        workers,
        connections_max: connections_max.div_ceil(workers),
        backlog: BACKLOG,
        header_timeout: Duration::from_millis(options.header_timeout_ms),
        keep_alive: Duration::from_secs(options.keep_alive_s),
        write_timeout: Duration::from_millis(options.write_timeout_ms),
        shutdown_timeout: CONNECTIONS_CLOSE_WITHIN,
    };
    let application = move || {
        App::new()
            .wrap(from_fn(http::observe))
            .configure(|service| {
                if let Some(api) = api.get_or_start() {
                    service.app_data(api);
                    http::configure(service);
                }
            })
    };
    let server = sandpiper_http_kit::serve(bounds, listener, |_, _| {}, application)?;
    Ok(server)
}

/// Binds the metrics port, if the options name one.
fn listen_for_metrics(options: &ServeOptions) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = options.telemetry.metrics_address() else {
        return Ok(None);
    };
    let listener = listen(address).map_err(ServeError::ListenForMetrics)?;
    let address = listener.local_addr()?;
    info!(%address, "metrics on http://{address}/metrics");
    Ok(Some(listener))
}

/// Starts the server of the metrics port. One thread is enough for a scrape every few seconds. The server runs until
/// the process ends.
fn metrics_server(api: Data<Api>, listener: TcpListener) -> io::Result<Server> {
    let app = move || {
        App::new()
            .app_data(api.clone())
            .configure(http::configure_metrics)
    };
    sandpiper_http_kit::serve(ServerOptions::METRICS, listener, |_, _| {}, app)
}

/// Waits for a signal. The first starts a graceful shutdown, a second one stops the service at once.
async fn run_until_stopped(
    mut signals: StopSignals,
    server: &ServerHandle,
    dispatcher: &DispatcherHandle,
    options: &ServeOptions,
) {
    signals.received().await;
    info!("stopping: no new work is taken, and running work gets time to end");
    let in_order = async {
        dispatcher
            .drain(Duration::from_millis(options.drain_ms))
            .await;
        server.stop(true).await;
    };
    tokio::select! {
        () = in_order => info!("stopped"),
        () = signals.received() => warn!("stopped at once, because a second signal came: running work was killed"),
    }
}
