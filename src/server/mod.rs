//! Wires the proxy together: settings in, listeners and workers up, signals heard, all down again in order.

mod bind;
mod limits;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin;
use crate::config::{Settings, paths};
use crate::control::Control;
use crate::observe::{self, Output};
use crate::proxy::Shared;
use crate::router::Router;
use crate::service::flight::Flights;
use crate::state::{DataLock, LockError};
use workers::Workers;

/// Threads of the runtime on which control, admin API and handoffs run, apart from the workers.
const CONTROL_THREADS: usize = 2;

/// How long the answers of commands that a stop has ended may take on their way.
const ANSWERS: Duration = Duration::from_millis(200);

/// How long the last lines of the log may take.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, then stops gracefully; a second signal changes nothing.
///
/// # Errors
/// What kept it from starting, in the contract's words.
pub fn run(settings: Settings) -> Result<(), String> {
    let output = Output::stdout().map_err(|error| format!("starting threads: {error}"))?;
    observe::log::install(&output, settings.debug);
    limits::raise_open_files();
    paths::create_data_dir(&settings.data);
    let runtime = control_runtime()?;
    let settings = Arc::new(settings);
    let result = runtime.block_on(serve(settings, &output));
    runtime.shutdown_background();
    output.flush(FLUSH);
    result
}

fn control_runtime() -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(CONTROL_THREADS).thread_name("control").enable_all();
    builder.build().map_err(|error| format!("starting threads: {error}"))
}

async fn serve(settings: Arc<Settings>, output: &Output) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|error| format!("catching signals: {error}"))?;
    // Before anything else: a second proxy on the same port, data or socket must not touch what the first one leads.
    let listener = bind::listen(settings.bind, settings.http_port)?;
    let _data = lock(&settings.data)?;
    let socket = admin::bind(&settings.admin_socket)
        .map_err(|error| format!("listen unix {}: {error}", settings.admin_socket.display()))?;
    let (router, flights) = (Arc::new(Router::new()), Flights::new());
    let control = Control::new(Arc::clone(&settings), Arc::clone(&router), flights.clone());
    control.restore().await;
    if settings.metrics_port == 0 {
        tracing::debug!("Metrics server disabled");
    }
    let shared = Arc::new(Shared::new(router, flights, &settings, limits::client_unsent()));
    let port = listener.local_addr().map_or(settings.http_port, |address| address.port());
    let count = if settings.workers == 0 { workers::default_count() } else { settings.workers };
    let workers = Workers::start(count, &[listener], &shared, settings.access_log.then_some(output))
        .map_err(|error| format!("starting workers: {error}"))?;
    tracing::info!(http = port, https = 0, "Server started");
    notify(NotifyState::Ready);

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut admin = JoinSet::new();
    admin.spawn(admin::serve(socket, Arc::clone(&control), Arc::clone(&settings), stopped));
    signals.next().await;
    notify(NotifyState::Stopping);
    let until = Instant::now() + settings.stop_timeout;
    drop(stop);
    let stopped = tokio::task::spawn_blocking(move || workers.stop(until));
    control.shutdown(until).await;
    if stopped.await.is_ok_and(|left| left > 0) {
        tracing::warn!("Closing active connections");
    }
    // Commands that have ended send their answers; then the rest of the API is closed.
    let _ = timeout(ANSWERS, admin.join_next()).await;
    admin.shutdown().await;
    tracing::info!("Server stopped");
    Ok(())
}

/// None where the directory cannot be locked: then the state cannot be saved there either, which is said when it is tried.
fn lock(data: &Path) -> Result<Option<DataLock>, String> {
    match DataLock::take(data) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ LockError::Taken { .. }) => Err(error.to_string()),
        Err(error @ LockError::Io { .. }) => {
            tracing::warn!(%error, "Unable to lock the data directory");
            Ok(None)
        }
    }
}

/// The two that ask for a graceful stop. Caught from the start to the end, so that none of them kills.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells systemd, where it listens; elsewhere nothing happens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "Unable to notify systemd");
    }
}
