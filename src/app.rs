//! The start and the stop of the service. The only file that knows every layer.
//!
//! Start, in order: check the options, bind the port, read the scripts, prove the isolation, start the executors and
//! the Dispatcher; only then are requests served. Stop, in order: take no new work, give running work time to end, kill
//! the rest, close the port.

mod error;
mod isolation;
mod lazy_api;

pub use error::ServeError;

use crate::actors::{
    Dispatcher, DispatcherHandle, DispatcherJobRunner, HandleParts, PurgedTenants, Stats,
    StoreHealth,
};
use crate::config::{ServeOptions, StoreChoice};
use crate::http::{self, Api, HttpMeters, ToolMeters};
use crate::measured_store::{MeasuredStore, Operations};
use crate::replay::Replays;
use crate::scripts::ScriptLibrary;
use crate::telemetry::Telemetry;
use crate::usage::UsageMeter;
use actix::{Actor, System};
use actix_web::App;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use isolation::{Proof, prove_isolation, start_executors};
use lazy_api::LazyApi;
use sandpiper_domain::{Limits, Timestamp};
use sandpiper_http_kit::descriptors::{connections_within, raise_limit};
use sandpiper_http_kit::signals::StopSignals;
use sandpiper_http_kit::{ServerOptions, listen};
use sandpiper_store::{
    Address, DataKeys, DurableStore, InProcessStore, JobStore, MemoryStore, RecentExecutions,
};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// Longest time until all executors are up. A start that takes longer has failed.
const EXECUTORS_UP_WITHIN: Duration = Duration::from_secs(20);
/// Maximum time for open requests once the server stops. Nothing runs any more by then.
const CONNECTIONS_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Time to send the remaining spans when everything else has ended.
const SPANS_SENT_WITHIN: Duration = Duration::from_millis(500);
/// Name of the key in the store that seals executions which wait for answers.
const REPLAY_KEY: &str = "replay-key";
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Serves until a signal stops the service.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let started = Instant::now();
    options.check()?;
    let connections_max = connections_within_descriptors(options)?;
    // Connections that arrive before the service is up wait in the backlog, for milliseconds.
    let listener = listen(SocketAddr::new(options.host, options.port))?;
    let parts = Parts::prepare(options, started)?;
    let metrics = listen_for_metrics(options)?;
    let ports = Ports {
        listener,
        connections_max,
        metrics,
    };
    let telemetry = parts.telemetry.clone();
    let served = System::new().block_on(run(options, parts, ports));
    telemetry.close(SPANS_SENT_WITHIN);
    served
}

/// The ports of the service, bound before it is up.
struct Ports {
    listener: TcpListener,
    connections_max: usize,
    metrics: Option<TcpListener>,
}

/// The parts of the service that exist before its actors.
struct Parts {
    started: Instant,
    scripts: ScriptLibrary,
    proof: Proof,
    defaults: Limits,
    store: Arc<dyn JobStore>,
    operations: Arc<Operations>,
    usage: Arc<UsageMeter>,
    telemetry: Telemetry,
}

impl Parts {
    fn prepare(options: &ServeOptions, started: Instant) -> Result<Self, ServeError> {
        let scripts = ScriptLibrary::open(options.scripts_dir.as_deref())?;
        let proof = prove_isolation(options)?;
        let defaults = options.limits.defaults(&options.ceilings.ceiling())?;
        let (store, operations) = open_store(options, defaults)?;
        let usage = UsageMeter::new(Arc::clone(&store) as _);
        let telemetry = Telemetry::start(&options.telemetry.telemetry())?;
        Ok(Self {
            started,
            scripts,
            proof,
            defaults,
            store,
            operations,
            usage,
            telemetry,
        })
    }
}

/// Starts the actors and the servers, and serves until a signal comes.
async fn run(options: &ServeOptions, parts: Parts, ports: Ports) -> Result<(), ServeError> {
    let address = ports.listener.local_addr()?;
    let started = parts.started;
    let (executors, reserve) = (options.executors(), options.reserve_executors());
    let stats = Stats::with_telemetry(executors, reserve, parts.telemetry.clone());
    let recent = Arc::new(RecentExecutions::new(options.recent()));
    let dispatcher = Dispatcher::new(
        options.dispatcher(),
        start_executors(options, &parts.proof, &stats).await?,
        Arc::clone(&stats),
        Arc::clone(&parts.store),
        Arc::clone(&recent),
        Arc::clone(&parts.usage),
    );
    let purged_tenants = PurgedTenants::new(Arc::clone(&parts.store));
    // Before the first request of a purged tenant can come.
    purged_tenants.read().await?;
    let replays = open_replays(options, &*parts.store).await?;
    let usage = Arc::clone(&parts.usage);
    let signals = StopSignals::install()?;
    let metrics_apart = ports.metrics.is_some();
    let state = SharedState {
        stats,
        recent,
        purged_tenants,
        replays,
    };
    let api = api_start(options, parts, state, dispatcher, metrics_apart);
    let (api, api_started) = LazyApi::new(api);
    let server = http_server(options, api, ports.listener, ports.connections_max)?;
    let server_handle = server.handle();
    let server = actix::spawn(server);
    let api = api_started.await.map_err(|_| ServeError::NoWorker)??;
    if let Some(listener) = ports.metrics {
        actix::spawn(metrics_server(api.clone(), listener)?);
    }
    actix::spawn(async move { usage.run().await });
    let startup_ms = started.elapsed().as_millis();
    info!(%address, executors, startup_ms, "listening on http://{address}");
    run_until_stopped(signals, &server_handle, &api, options).await;
    server.abort();
    Ok(())
}

/// The state that the handle shares with the Dispatcher and with background tasks.
struct SharedState {
    stats: Arc<Stats>,
    recent: Arc<RecentExecutions>,
    purged_tenants: Arc<PurgedTenants>,
    replays: Replays,
}

/// Returns a function that starts the Dispatcher on the thread that calls it.
fn api_start(
    options: &ServeOptions,
    parts: Parts,
    state: SharedState,
    dispatcher: Dispatcher,
    metrics_apart: bool,
) -> impl FnOnce() -> Result<Api, ServeError> + Send + 'static {
    let (execute_within, sources) = (options.execute_within(), options.sources());
    let (ceiling, bounds) = (options.ceilings.ceiling(), options.http());
    let streams = options.streams();
    move || {
        let dispatcher = dispatcher.start();
        let runner = DispatcherJobRunner::new(dispatcher.clone(), Arc::clone(&state.stats));
        parts.store.start_dispatch(Arc::new(runner))?;
        actix::spawn(Arc::clone(&state.purged_tenants).keep_current());
        let dispatcher = DispatcherHandle::new(HandleParts {
            dispatcher,
            store_health: StoreHealth::new(Arc::clone(&parts.store)),
            purged_tenants: state.purged_tenants,
            store: parts.store,
            recent: state.recent,
            stats: state.stats,
            isolation_level: parts.proof.level,
            isolation_layers: parts.proof.isolation_layers,
            execute_within,
            net_check_limits: parts.defaults,
            started_at: Timestamp::now(),
            drained: watch::Sender::new(false),
        });
        Ok(Api {
            dispatcher,
            scripts: parts.scripts,
            sources,
            defaults: parts.defaults,
            ceiling,
            bounds,
            streams,
            started: parts.started,
            meters: HttpMeters::default(),
            tools: ToolMeters::default(),
            replays: state.replays,
            store: parts.operations,
            usage: parts.usage,
            metrics_apart,
        })
    }
}

/// Returns the seals of executions that wait: with the operator's keys, or with a key that the nodes of the store share.
async fn open_replays(options: &ServeOptions, store: &dyn JobStore) -> Result<Replays, ServeError> {
    let keys = match options.replay.keys()? {
        Some(keys) => keys,
        None => {
            let new = DataKeys::generate().map_err(io::Error::other)?;
            let key = store.secret(REPLAY_KEY, new).await?;
            // The store returns what this function, in this or another process, gave it.
            key.parse().map_err(io::Error::other)?
        }
    };
    Ok(Replays::new(keys, options.replay.ttl()))
}

/// Opens the store, and returns it with the durations of its operations.
fn open_store(
    options: &ServeOptions,
    defaults: Limits,
) -> Result<(Arc<dyn JobStore>, Arc<Operations>), ServeError> {
    // Read whatever the store, so that a mistake is found before the store is changed to a database.
    let data_keys = options.data_keys.read()?;
    Ok(match &options.store {
        StoreChoice::Memory => {
            if data_keys.is_some() {
                warn!("the data keys are not used: the memory store writes nothing to a disk");
            }
            let memory = MemoryStore::new(options.memory_store());
            let records = MeasuredStore::new(Arc::new(memory));
            let operations = records.operations();
            let store = InProcessStore::new(Arc::new(records), options.attempts_max);
            (Arc::new(store), operations)
        }
        StoreChoice::Durable(address) => {
            let durable = options.durable_store(address.clone(), data_keys, defaults);
            let store = MeasuredStore::new(Arc::new(DurableStore::open(durable)?));
            let operations = store.operations();
            (Arc::new(store), operations)
        }
    })
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
    api: &Api,
    options: &ServeOptions,
) {
    signals.received().await;
    info!("stopping: no new work is taken, and running work gets time to end");
    let in_order = async {
        let patience = Duration::from_millis(options.drain_ms);
        api.dispatcher.drain(patience).await;
        api.usage.close().await;
        server.stop(true).await;
    };
    tokio::select! {
        () = in_order => info!("stopped"),
        () = signals.received() => warn!("stopped at once, because a second signal came: running work was killed"),
    }
}
