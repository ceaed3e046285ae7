//! The metrics thread: a small HTTP server for scrapers, load balancers and people.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the Prometheus page of the [`Exporter`] |
//! | `/ready` | 200 while the gateway forwards traffic, else 503 |
//! | `/health` | 200 while this thread lives |
//! | `/` | links to the above |
//!
//! One thread named `metrics` with a single-threaded runtime does all of it, so that it never needs more
//! than the control cores. It must not run on a worker's core: the caller pins it in `on_start`.
//! Clients are not trusted to be kind: connections, header sizes and times are bounded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::export::Exporter;

/// Connections served at the same time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;

/// Largest request head in bytes; hyper's smallest.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// A connection that sends no complete request head for this long, be it slow or idle, is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection older than this is closed after its current answer, so that a client that never reads
/// cannot hold one of [`MAX_CONNECTIONS`] for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// How long a connection may go on with its current answer once it was told to close.
const CLOSE_GRACE: Duration = Duration::from_millis(50);

/// The pause after an `accept` that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const INDEX: &str = "<!DOCTYPE html>\n<title>voxlane</title>\n<h1>voxlane</h1>\n<ul>\n\
    <li><a href=\"/metrics\">/metrics</a>: Prometheus metrics</li>\n\
    <li><a href=\"/ready\">/ready</a>: whether the gateway forwards traffic</li>\n\
    <li><a href=\"/health\">/health</a>: whether the process lives</li>\n</ul>\n";

/// The running metrics thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct MetricsServer {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Why the metrics thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot serve metrics on {listen}: {source}; {}", bind_remedy(.source))]
    Bind {
        /// The address asked for.
        listen: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("cannot start the metrics thread: {0}; check the limits on threads and open files (ulimit -a)")]
    Thread(#[source] io::Error),
}

impl MetricsServer {
    /// Listens on `listen` (port 0: any free one) and serves `exporter`'s page on a thread of its own.
    ///
    /// `on_start` runs first on that thread: it must move the thread off the workers' cores.
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`] if the address is taken, not local or not allowed; [`ServerError::Thread`] if the
    /// process is out of threads or file descriptors.
    pub fn start(
        listen: SocketAddr,
        exporter: Arc<Exporter>,
        on_start: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ServerError> {
        Self::start_with_grace(listen, exporter, on_start, CLOSE_GRACE)
    }

    fn start_with_grace(
        listen: SocketAddr,
        exporter: Arc<Exporter>,
        on_start: impl FnOnce() + Send + 'static,
        close_grace: Duration,
    ) -> Result<Self, ServerError> {
        // Bound here and not on the thread, so that the caller sees the error and connections are accepted
        // from the moment this returns.
        let bind = || {
            let listener = std::net::TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        };
        let (listener, local_addr) = bind().map_err(|source| ServerError::Bind { listen, source })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServerError::Thread)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(ServerError::Thread)?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                on_start();
                runtime.block_on(serve(listener, exporter, stopped, close_grace));
            })
            .map_err(ServerError::Thread)?;
        Ok(Self { local_addr, stop, thread: Some(thread) })
    }

    /// The address that is listened on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening, lets answers under way finish for at most 50 ms, closes every connection and waits
    /// for the thread to end. If a page is just being made (0.3 ms per queue), that is waited for, too.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It ends with a panic only if `on_start` panicked; that was printed when it happened, and
            // there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there (`ss -ltnp` shows which): stop it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address (`ip address` shows them): choose one of the machine's own"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need root: choose a higher port",
        _ => "choose another address",
    }
}

/// Accepts until told to stop, then waits for the connections to close.
async fn serve(
    listener: TcpListener,
    exporter: Arc<Exporter>,
    mut stopped: watch::Receiver<bool>,
    close_grace: Duration,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stopping = stopped.clone();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (exporter, stopped) = (Arc::clone(&exporter), stopped.clone());
                    tokio::spawn(async move {
                        serve_connection(stream, exporter, stopped, close_grace).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        // An error means that the sender is gone, which says the same.
        _ = stopping.wait_for(|&stop| stop) => {}
    }
    // First of all, so that a load balancer is refused at once and does not wait for an answer.
    drop(listener);
    let _ = stopped.wait_for(|&stop| stop).await;
    // All permits back means all connections closed; each sees to it itself within `close_grace`.
    let _ = permits.acquire_many(MAX_CONNECTIONS as u32).await;
}

/// Serves one connection until it closes, grows too old or the server stops.
async fn serve_connection(
    stream: TcpStream,
    exporter: Arc<Exporter>,
    mut stopped: watch::Receiver<bool>,
    close_grace: Duration,
) {
    let stopping = stopped.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        // Making a page holds the thread, and clients may have many requests waiting (hyper takes 16 of a
        // pipelining one in a single poll). None is begun once the server stops, so that a stop waits for
        // one page at most.
        let answer = if *stopping.borrow() {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n")
        } else {
            answer(&request, &exporter)
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A broken or impolite client ends its own connection and nothing else.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|&stop| stop) => {}
        () = sleep(CONNECTION_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(close_grace, connection).await;
}

fn answer(request: &Request<Incoming>, exporter: &Exporter) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !["/", "/metrics", "/ready", "/health"].contains(&path) {
        return response(StatusCode::NOT_FOUND, TEXT, "not found; see /\n");
    }
    // For HEAD hyper sends the head of the same answer without its body.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => response(StatusCode::OK, PROMETHEUS_TEXT, exporter.render()),
        "/ready" if (exporter.telemetry().ready)() => response(StatusCode::OK, TEXT, "ready\n"),
        "/ready" => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready: starting or draining\n"),
        "/health" => response(StatusCode::OK, TEXT, "ok\n"),
        _ => response(StatusCode::OK, HTML, INDEX),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
