//! The service put together: the only file that knows every layer.
//!
//! Start: options checked, port bound, scripts read, walls proved, executors up, Dispatcher, and only then is anybody
//! answered. Stop: no new work, time for what
//! runs, the rest killed, the port closed.

mod seat;

use crate::actors::{
    Board, Claims, Dispatcher, DispatcherHandle, Executors, Parts, StoreHealth, sandboxes,
};
use crate::config::{OptionConflict, ServeOptions, StoreChoice};
use crate::http::{self, Api, HttpMeters};
use crate::scripts::{ScriptLibrary, ScriptLibraryError};
use crate::store::{
    Address, DurableStore, JobStore, MeasuredStore, MemoryStore, OpenError, RecentExecutions,
    StoreError,
};
use crate::telemetry::{Telemetry, TelemetryError};
use actix::{Actor, System};
use actix_web::App;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sandpiper_domain::{Limits, Timestamp};
use sandpiper_http_kit::ServerOptions;
use sandpiper_http_kit::descriptors::{TooFewDescriptors, connections_within};
use sandpiper_sandbox_client::{IsolationLevel, Sandbox, SandboxError, SandboxProgram, WallReport};
use seat::Seat;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// Executors that are not up by then will not be.
const EXECUTORS_UP_WITHIN: Duration = Duration::from_secs(20);
/// Between accepting the last connection and closing those that idle, once nothing runs any more.
const CONNECTIONS_CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Bounds of the port of metrics.
const METRICS: ServerOptions = ServerOptions {
    workers: 1,
    connections_max: 64,
    backlog: 64,
    header_timeout: Duration::from_secs(5),
    keep_alive: Duration::from_secs(75),
    write_timeout: Duration::from_secs(30),
    shutdown_timeout: CONNECTIONS_CLOSE_WITHIN,
};
/// Time for spans that are left when everything else has ended.
const SPANS_SENT_WITHIN: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Why the service does not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Two options contradict each other.
    #[error(transparent)]
    OptionConflict(#[from] OptionConflict),
    /// A wall is missing.
    #[error("{0}; `sandpiper doctor` tries every wall and says how each stands")]
    Walls(#[from] SandboxError),
    /// The example scripts.
    #[error("--scripts-dir: {0}")]
    Scripts(#[from] ScriptLibraryError),
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
    /// Spans.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An executor has no sandbox, although one could be raised before.
    #[error("only {ready} of {total} executors came up; the log has the reason")]
    Executors {
        /// Up.
        ready: usize,
        /// Wanted.
        total: usize,
    },
    /// The database of jobs.
    #[error("--store: {0}")]
    Store(#[from] OpenError),
    /// It was reached, and then not.
    #[error("--store: {0}")]
    StoreLost(#[from] StoreError),
    /// No thread that speaks HTTP came up.
    #[error("no HTTP worker started; the log has the reason")]
    NoWorker,
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until it is told to stop.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let started = Instant::now();
    options.check()?;
    let connections_max = connections_within_descriptors(options)?;
    // Whoever connects before the service is up waits in the backlog for those milliseconds.
    let listener = listen(options)?;
    let scripts = ScriptLibrary::load(&options.scripts_dir)?;
    let proof = prove_walls(options)?;
    let defaults = options.limits.defaults(&options.ceilings.ceiling())?;
    let store = MeasuredStore::new(open_store(options, defaults)?);
    let operations = store.operations();
    let telemetry = Telemetry::start(&options.telemetry.telemetry())?;
    let metrics = listen_for_metrics(options)?;
    let served = System::new().block_on(async {
        let board = Board::with_telemetry(
            options.executors(),
            options.reserve_executors(),
            telemetry.clone(),
        );
        let store: Arc<dyn JobStore> = Arc::new(store);
        let executors = start_executors(options, &proof, &board).await?;
        let recent = Arc::new(RecentExecutions::new(options.recent()));
        let dispatcher = Dispatcher::new(
            options.dispatcher(),
            executors,
            Arc::clone(&board),
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
                store.begin(Arc::new(Claims::new(dispatcher.clone())))?;
                let dispatcher = DispatcherHandle::new(Parts {
                    dispatcher,
                    store_health: StoreHealth::new(Arc::clone(&store)),
                    store,
                    recent,
                    board,
                    isolation_level: proof.level,
                    walls: proof.walls,
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
        let signals = StopSignals::hold()?;
        let (seat, started_there) = Seat::new(api);
        let server = http_server(options, seat, listener, connections_max)?;
        let server_handle = server.handle();
        let server = actix::spawn(server);
        let api = started_there.await.map_err(|_| ServeError::NoWorker)??;
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
        run_until_told(signals, &server_handle, &dispatcher, options).await;
        server.abort();
        Ok(())
    });
    telemetry.close(SPANS_SENT_WITHIN);
    served
}

struct Proof {
    program: SandboxProgram,
    level: IsolationLevel,
    walls: Vec<WallReport>,
}

/// Raises a sandbox once, as every executor will, before a port is bound.
fn prove_walls(options: &ServeOptions) -> Result<Proof, SandboxError> {
    let program = SandboxProgram::beside_this_program()?;
    let sandbox = Sandbox::start(options.isolation.sandbox(program.clone()))?;
    let (level, walls) = sandbox
        .isolation()
        .ok_or_else(|| SandboxError::Zygote("it ended before it was asked".to_owned()))?;
    info!(isolation = %level, "every wall was tried");
    for wall in walls.iter().filter(|wall| !wall.present) {
        warn!(wall = wall.wall, detail = wall.detail, "a wall is absent");
    }
    Ok(Proof {
        program,
        level,
        walls: walls.to_vec(),
    })
}

fn open_store(options: &ServeOptions, defaults: Limits) -> Result<Arc<dyn JobStore>, ServeError> {
    Ok(match &options.store {
        StoreChoice::Memory => Arc::new(MemoryStore::new(options.memory_store())),
        StoreChoice::Durable(address) => {
            let durable = options.durable_store(address.clone(), defaults);
            Arc::new(DurableStore::open(durable)?)
        }
    })
}

async fn start_executors(
    options: &ServeOptions,
    proof: &Proof,
    board: &Arc<Board>,
) -> Result<Executors, ServeError> {
    // No zygote that comes later may have less than was proved.
    let mut as_proved = options.isolation.sandbox(proof.program.clone());
    as_proved.min_isolation = proof.level;
    let factory = sandboxes(as_proved);
    let processors = options.processors()?;
    let executors = Executors::start(factory, Arc::clone(board), processors);
    wait_for_executors(board).await?;
    Ok(executors)
}

async fn wait_for_executors(board: &Board) -> Result<(), ServeError> {
    let deadline = Instant::now() + EXECUTORS_UP_WITHIN;
    loop {
        let (ready, total) = (board.executors_ready(), board.executors());
        if ready == total {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ServeError::Executors { ready, total });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn listen(options: &ServeOptions) -> Result<TcpListener, ServeError> {
    TcpListener::bind((options.host, options.port)).map_err(|cause| ServeError::Listen {
        address: format!("{}:{}", options.host, options.port),
        cause,
    })
}

/// Takes as many descriptors as the system allows, and keeps those that executors and the store need out of the reach of
/// connections: a service without descriptors could raise no zygote.
fn connections_within_descriptors(options: &ServeOptions) -> Result<usize, ServeError> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(io::Error::from)?;
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let wanted = usize::try_from(options.connections_max).unwrap_or(usize::MAX);
    let connections = connections_within(limit, descriptors_kept(options), 1, wanted)?;
    if connections < wanted {
        warn!(
            connections_max = connections,
            descriptors = most,
            "fewer connections than configured: the limit of open files (RLIMIT_NOFILE) is low"
        );
    }
    Ok(connections)
}

/// Returns how many descriptors are kept for all that is no connection of a client.
fn descriptors_kept(options: &ServeOptions) -> usize {
    // Log, signals, runtimes, the collector of spans, scripts that are read, and a zygote while it is being started.
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
    let metrics = (options.telemetry.metrics_address()).map_or(0, |_| METRICS.connections_max);
    ITSELF
        + OF_AN_EXECUTOR * (options.executors() + options.reserve_executors())
        + OF_AN_HTTP_WORKER * options.http_workers()
        + store
        + metrics
}

fn http_server(
    options: &ServeOptions,
    seat: Seat,
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
                if let Some(api) = seat.take() {
                    service.app_data(api);
                    http::configure(service);
                }
            })
    };
    let server = sandpiper_http_kit::serve(bounds, listener, |_, _| {}, application)?;
    Ok(server)
}

/// A port of its own for metrics, if it is to have one.
fn listen_for_metrics(options: &ServeOptions) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = options.telemetry.metrics_address() else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).map_err(|cause| ServeError::ListenForMetrics {
        address: address.to_string(),
        cause,
    })?;
    let address = listener.local_addr()?;
    info!(%address, "metrics on http://{address}/metrics");
    Ok(Some(listener))
}

/// One thread is enough for whoever looks every few seconds. It answers until the process ends.
fn metrics_server(api: Data<Api>, listener: TcpListener) -> io::Result<Server> {
    let app = move || {
        App::new()
            .app_data(api.clone())
            .configure(http::configure_metrics)
    };
    sandpiper_http_kit::serve(METRICS, listener, |_, _| {}, app)
}

/// The two signals that end the service. From the moment it holds them none of them kills it; so it holds them before it
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
async fn run_until_told(
    mut signals: StopSignals,
    server: &ServerHandle,
    dispatcher: &DispatcherHandle,
    options: &ServeOptions,
) {
    signals.told().await;
    info!("stopping: no new work, and time for what runs");
    let in_order = async {
        dispatcher
            .drain(Duration::from_millis(options.drain_ms))
            .await;
        server.stop(true).await;
    };
    tokio::select! {
        () = in_order => info!("stopped"),
        () = signals.told() => warn!("stopped at once, by a second signal"),
    }
}
