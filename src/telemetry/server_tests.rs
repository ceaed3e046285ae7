//! The server over real sockets on ports that the kernel chose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use super::super::test_sources::fed;
use super::*;

const ANY_PORT: &str = "127.0.0.1:0";

fn start(ready: &Arc<AtomicBool>) -> MetricsServer {
    let exporter = Arc::new(Exporter::new(Arc::new(fed(ready))));
    MetricsServer::start(ANY_PORT.parse().expect("an address"), exporter, || {}).expect("the server starts")
}

fn connect(server: &MetricsServer) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    stream
}

/// Sends one request and reads to the end of the connection: head and body.
fn exchange(server: &MetricsServer, method: &str, path: &str) -> (String, String) {
    let mut stream = connect(server);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

/// Sends a request on a connection that stays open and reads exactly its answer.
fn get_keep_alive(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
}

#[test]
fn pages_have_their_status_type_and_content() {
    let server = start(&Arc::new(AtomicBool::new(true)));
    let (head, body) = exchange(&server, "GET", "/metrics");
    assert_eq!(status(&head), "200");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert!(body.contains("voxlane_sessions 10000\n"), "{body}");
    let (head, body) = exchange(&server, "GET", "/metrics?name=x");
    assert_eq!(status(&head), "200", "a query changes nothing");
    assert!(body.contains("voxlane_sessions 10000\n"), "{body}");
    let (head, body) = exchange(&server, "GET", "/");
    assert_eq!(status(&head), "200");
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(body.contains("href=\"/metrics\""), "{body}");
    let (head, body) = exchange(&server, "GET", "/health");
    assert_eq!((status(&head), body.as_str()), ("200", "ok\n"));
    server.stop();
}

#[test]
fn ready_follows_the_gateway() {
    let ready = Arc::new(AtomicBool::new(false));
    let server = start(&ready);
    assert_eq!(status(&exchange(&server, "GET", "/ready").0), "503");
    assert!(exchange(&server, "GET", "/metrics").1.contains("voxlane_ready 0\n"));
    ready.store(true, Ordering::Relaxed);
    assert_eq!(status(&exchange(&server, "GET", "/ready").0), "200");
    assert!(exchange(&server, "GET", "/metrics").1.contains("voxlane_ready 1\n"));
    ready.store(false, Ordering::Relaxed);
    assert_eq!(status(&exchange(&server, "GET", "/ready").0), "503");
}

#[test]
fn head_has_no_body_and_other_methods_and_paths_are_refused() {
    let server = start(&Arc::default());
    let (head, body) = exchange(&server, "HEAD", "/metrics");
    assert_eq!((status(&head), body.as_str()), ("200", ""));
    assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (head, _) = exchange(&server, method, "/metrics");
        assert_eq!(status(&head), "405", "{method}");
        assert!(head.contains("allow: GET, HEAD"), "{head}");
    }
    for path in ["/metric", "/metrics/", "/..", "//"] {
        assert_eq!(status(&exchange(&server, "GET", path).0), "404", "{path}");
    }
}

#[test]
fn rubbish_and_an_endless_head_end_only_their_own_connection() {
    let server = start(&Arc::default());
    let mut stream = connect(&server);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");

    let mut stream = connect(&server);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ").expect("sent");
    // The server closes after 8 KiB, so that a later write or read fails; which one is the kernel's choice.
    let refused = (0..1024).any(|_| stream.write_all(&[b'a'; 1024]).is_err());
    let mut answer = Vec::new();
    let closed = stream.read_to_end(&mut answer).is_err() || answer.starts_with(b"HTTP/1.1 431");
    assert!(refused || closed, "{}", String::from_utf8_lossy(&answer));

    assert_eq!(status(&exchange(&server, "GET", "/health").0), "200");
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served_when_one_closes() {
    let server = start(&Arc::default());
    let mut open: Vec<TcpStream> = (0..MAX_CONNECTIONS).map(|_| connect(&server)).collect();
    open.iter_mut().for_each(|stream| get_keep_alive(stream, "/health"));
    let mut waiting = connect(&server);
    waiting.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    waiting.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out can be set");
    assert!(waiting.read(&mut [0; 1]).is_err(), "no answer while all connections are taken");
    drop(open.pop());
    waiting.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A page of more bytes than the socket buffers of both ends hold together (10 MB by Linux's defaults), so
/// that its answer stays under way until the client reads it.
fn start_with_a_huge_page(close_grace: Duration) -> MetricsServer {
    let mut telemetry = fed(&Arc::default());
    telemetry.build.version = "x".repeat(HUGE_BYTES);
    let exporter = Arc::new(Exporter::new(Arc::new(telemetry)));
    let any_port = ANY_PORT.parse().expect("an address");
    MetricsServer::start_with_grace(any_port, exporter, || {}, close_grace).expect("the server starts")
}

const HUGE_BYTES: usize = 16 << 20;

/// Asks for the page and reads only its first byte: the answer is under way, and stuck.
fn begin_huge_answer(server: &MetricsServer) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    stream.read_exact(&mut [0; 1]).expect("the answer begins");
    stream
}

#[test]
fn stop_is_quick_with_idle_half_sent_and_stuck_connections() {
    let server = start_with_a_huge_page(CLOSE_GRACE);
    let address = server.local_addr();
    let mut idle = connect(&server);
    get_keep_alive(&mut idle, "/health");
    let mut half_sent = connect(&server);
    half_sent.write_all(b"GET /met").expect("sent");
    let mut stuck = begin_huge_answer(&server);
    let begun = Instant::now();
    server.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert!(took >= CLOSE_GRACE, "the answer was not stuck: {took:?}");
    assert_eq!(idle.read(&mut [0; 1]).expect("closed in order"), 0);
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest);
    assert!(rest.len() < HUGE_BYTES, "cut off");
    TcpStream::connect(address).expect_err("nobody listens any more");
}

#[test]
fn stop_refuses_new_clients_and_lets_an_answer_under_way_finish() {
    let server = start_with_a_huge_page(Duration::from_secs(60));
    let mut stuck = begin_huge_answer(&server);
    server.stop.send_replace(true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(server.local_addr()).is_ok() {
        assert!(Instant::now() < deadline, "still listening while it stops");
    }
    let mut rest = Vec::new();
    stuck.read_to_end(&mut rest).expect("not cut off");
    assert!(rest.len() > HUGE_BYTES && rest.ends_with(b"\n"), "{} bytes", rest.len());
    server.stop();
}

/// Counted and not timed: a page takes the longer the more queues there are.
#[test]
fn waiting_and_pipelined_requests_do_not_hold_up_a_stop() {
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (pages, released) = (Arc::new(AtomicU64::new(0)), Mutex::new(released));
    let counted = Arc::clone(&pages);
    let mut telemetry = fed(&Arc::default());
    telemetry.sessions = Box::new(move || {
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            entered.send(()).expect("the test waits");
            released.lock().expect("not poisoned").recv().expect("the test releases");
        }
        1
    });
    let exporter = Arc::new(Exporter::new(Arc::new(telemetry)));
    let server =
        MetricsServer::start(ANY_PORT.parse().expect("an address"), exporter, || {}).expect("starts");
    let mut greedy = connect(&server);
    let mut others: Vec<TcpStream> = (0..8).map(|_| connect(&server)).collect();
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    greedy.write_all(requests.as_bytes()).expect("sent");
    has_entered.recv_timeout(Duration::from_secs(20)).expect("the first page is being made");
    for other in &mut others {
        other.write_all(requests.as_bytes()).expect("sent");
    }
    server.stop.send_replace(true);
    release.send(()).expect("the page waits");
    server.stop();
    assert_eq!(pages.load(Ordering::Relaxed), 1, "only the page that was being made");
}

#[test]
fn an_idle_client_is_closed_and_not_waited_for_and_the_address_is_free_at_once() {
    let exporter = || Arc::new(Exporter::new(Arc::new(fed(&Arc::default()))));
    let grace = Duration::from_secs(60);
    let any_port = ANY_PORT.parse().expect("an address");
    let server = MetricsServer::start_with_grace(any_port, exporter(), || {}, grace).expect("starts");
    let address = server.local_addr();
    let mut client = connect(&server);
    get_keep_alive(&mut client, "/health");
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < HEAD_TIMEOUT / 2, "{:?}", begun.elapsed());
    assert_eq!(client.read(&mut [0; 1]).expect("closed in order"), 0);
    let again = MetricsServer::start(address, exporter(), || {}).expect("the address is free");
    assert_eq!(again.local_addr(), address);
}

#[test]
fn on_start_runs_on_the_metrics_thread() {
    let (sender, receiver) = mpsc::channel();
    let exporter = Arc::new(Exporter::new(Arc::new(fed(&Arc::default()))));
    let server = MetricsServer::start(ANY_PORT.parse().expect("an address"), exporter, move || {
        let name = std::thread::current().name().map(str::to_owned);
        sender.send(name).expect("the test waits");
    })
    .expect("the server starts");
    let name = receiver.recv_timeout(Duration::from_secs(20)).expect("on_start ran");
    assert_eq!(name.as_deref(), Some("metrics"));
    drop(server);
}

#[test]
fn a_taken_a_foreign_and_a_bad_address_say_what_to_do() {
    let first = start(&Arc::default());
    let error = |listen: SocketAddr| {
        let exporter = Arc::new(Exporter::new(Arc::new(fed(&Arc::default()))));
        MetricsServer::start(listen, exporter, || {}).expect_err("cannot be listened on").to_string()
    };
    let taken = error(first.local_addr());
    assert!(taken.starts_with(&format!("cannot serve metrics on {}: ", first.local_addr())), "{taken}");
    assert!(taken.contains("another process listens there"), "{taken}");
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let foreign = error("192.0.2.1:9".parse().expect("an address"));
    assert!(
        foreign.contains("192.0.2.1:9") && foreign.contains("no interface has this address"),
        "{foreign}"
    );
    let denied = bind_remedy(&io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(denied.contains("higher port"), "{denied}");
}
