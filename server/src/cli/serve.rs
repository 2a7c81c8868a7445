//! `serve`: opens the store, listens, and ends in order.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::open::Opened;
use super::{ProgramError, logging, print};
use crate::AppState;
use crate::auth::superuser::SuperuserKey;
use crate::config::Config;
use crate::http::connection::Patience;
use crate::http::serve::{ServeLimits, serve};

/// How often last uses of keys are written down.
const LAST_USES_INTERVAL: Duration = Duration::from_mins(1);

/// Serves until a signal.
pub(super) fn run(config: Config) -> Result<(), ProgramError> {
    run_with(config, async |_state, _superuser, _address| Ok(None))
}

/// Threads that serve requests, for each core. A body of a thousand records is read in one go, a millisecond or two; with
/// one thread a core small requests wait for it, with two the system shares the core out: at 100,000 events a second the
/// p99 of an acknowledgement falls from 40 to 140 ms to 11 (docs/benchmarks.md).
const WORKERS_PER_CORE: usize = 2;

/// Serves until a signal; `prepare` runs before requests are taken and gives a text to print when they are.
pub(super) fn run_with<F>(config: Config, prepare: F) -> Result<(), ProgramError>
where
    F: AsyncFnOnce(&AppState, &SuperuserKey, SocketAddr) -> Result<Option<String>, ProgramError>,
{
    logging::start(&config);
    // Before anything is written, so that a wrong address changes nothing.
    let listener = listen(config.listen)?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(cores * WORKERS_PER_CORE).enable_all().build()?;
    outlive_file_size_limits(&runtime)?;
    let opened = Opened::open(&config)?;
    let engine = Arc::clone(&opened.engine);
    let served = runtime.block_on(async {
        let (state, superuser) = opened.into_state(config)?;
        serve_state(listener, state, &superuser, prepare).await
    });
    // What handlers still do gets its answer from a closed engine.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let closed = engine.close();
    served?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

/// Takes the signal of a write beyond the file-size limit (`ulimit -f`), which by default ends the process:
/// with it taken the write fails with `EFBIG`, and is refused like one on a full disk.
fn outlive_file_size_limits(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    /// SIGXFSZ on Linux and the BSDs.
    const FILE_SIZE_EXCEEDED: i32 = 25;
    let _context = runtime.enter();
    // The handler stays when its listener is dropped.
    signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)).map(drop)
}

/// Connections that wait to be accepted. The standard library's 128 are fewer than come at once when a load
/// balancer or a dashboard's viewers connect again: a client whose SYN is dropped tries again after a second.
const BACKLOG: i32 = 4096;

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, ProgramError> {
    let listener = std::net::TcpListener::bind(address);
    let ready = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        // Listening again changes the length of the queue alone.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    ready.map_err(|source| ProgramError::Listen { address, source })
}

async fn serve_state<F>(
    listener: std::net::TcpListener,
    state: AppState,
    superuser: &SuperuserKey,
    prepare: F,
) -> Result<(), ProgramError>
where
    F: AsyncFnOnce(&AppState, &SuperuserKey, SocketAddr) -> Result<Option<String>, ProgramError>,
{
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let stop = stop_signal()?;
    let limits = ServeLimits {
        connections_max: state.config.limits.connections_max,
        patience: Patience::default(),
        shutdown_timeout: state.config.shutdown_timeout,
    };
    let hint = prepare(&state, superuser, address).await?;
    let last_uses = tokio::spawn(keep_last_uses(state.clone()));
    let standing = tokio::spawn(state.store.clone().keep_up());
    let jobs = tokio::spawn(crate::job::drive(state.clone()));
    let live = tokio::spawn(crate::live::drive(state.clone()));
    let own = tokio::spawn(crate::collect::own::drive(state.clone())).abort_handle();
    let stop = {
        let live = state.live.clone();
        async move {
            stop.await;
            live.close();
            // Once it stops it says nothing of itself: a store that nobody writes to stays as it is.
            own.abort();
        }
    };
    let notify = tokio::spawn(crate::notify::drive(state.notify.clone()));
    let alerts = tokio::spawn(crate::alert::drive(state.clone()));
    print(&format!("listening on http://{address}"))?;
    if let Some(hint) = hint {
        print(&hint)?;
    }
    let drained = serve(listener, crate::app(state.clone()), limits, stop).await?;
    if !drained {
        tracing::warn!("some requests did not end in time");
    }
    // What runs is told as interrupted at the next start, and repeated then.
    jobs.abort();
    live.abort();
    standing.abort();
    // What is being sent is sent again.
    notify.abort();
    alerts.abort();
    last_uses.abort();
    write_last_uses(&state).await;
    Ok(())
}

/// Ready at the first SIGTERM or SIGINT. The second one ends the process at once: what was
/// acknowledged is on disk.
fn stop_signal() -> Result<impl Future<Output = ()>, ProgramError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: open requests may end");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = writeln!(std::io::stderr(), "stopped at once");
            std::process::exit(130);
        });
    })
}

async fn keep_last_uses(state: AppState) {
    let mut tick = tokio::time::interval(LAST_USES_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        write_last_uses(&state).await;
    }
}

/// Writes down when keys were used. It is a courtesy: a failure is logged, nothing waits for it.
async fn write_last_uses(state: &AppState) {
    let puts = state.auth.keyring().last_uses();
    if !puts.is_empty()
        && let Err(error) = state.store.put(puts).await
    {
        tracing::warn!(%error, "last uses of keys were not written");
    }
}
