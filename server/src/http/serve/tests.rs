//! Connections over sockets of the loopback: answers, deadlines, the end.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<bool>>,
}

async fn start(app: Router, patience: Patience, shutdown_timeout: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let limits = ServeLimits { connections_max: 8, patience, shutdown_timeout };
    let served = tokio::spawn(serve(listener, app, limits, async move { drop(stopped.await) }));
    Server { address, stop, served }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other_on_one_connection() {
    let server = start(hello(), Patience::default(), Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let answers = read_to_end(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    server.stop.send(()).unwrap();
    assert!(server.served.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let patience = Patience { head: Duration::from_millis(40), ..Patience::default() };
    let server = start(hello(), patience, Duration::from_secs(5)).await;
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nX-Slow: "] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
    }
}

#[tokio::test]
async fn stopping_waits_for_open_requests_and_takes_no_new_ones() {
    let (release, released) = oneshot::channel::<()>();
    let (entered, has_entered) = oneshot::channel::<()>();
    let gate = Arc::new(parking_lot::Mutex::new(Some((entered, released))));
    let app = Router::new().route(
        "/",
        post(async move || {
            let taken = gate.lock().take();
            if let Some((entered, released)) = taken {
                entered.send(()).unwrap();
                released.await.unwrap();
            }
            "done"
        }),
    );
    let server = start(app, Patience::default(), Duration::from_mins(1)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    has_entered.await.unwrap();
    server.stop.send(()).unwrap();
    release.send(()).unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(server.served.await.unwrap().unwrap());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn stopping_gives_up_on_a_request_at_the_deadline() {
    let app = Router::new().route("/", get(std::future::pending::<&'static str>));
    let server = start(app, Patience::default(), Duration::from_millis(20)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // The request is certainly read once a second connection was answered.
    tokio::task::yield_now().await;
    let mut other = TcpStream::connect(server.address).await.unwrap();
    other.write_all(b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut other).await.starts_with("HTTP/1.1 404"));
    server.stop.send(()).unwrap();
    assert!(!server.served.await.unwrap().unwrap());
}
