//! A server that answers every request with the same bytes: what HTTP and the two ends cost, without the work.

use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::args;
use crate::ask::{self, Asking};
use crate::client::{Request, Server};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::progress::Done;
use crate::question::Question;

/// How long one floor is measured.
const MEASURED: Duration = Duration::from_millis(500);

/// Serves until the process is ended, and says where.
///
/// # Errors
///
/// When the address cannot be listened on.
pub(crate) async fn run(args: &args::Floor) -> Result<(), BenchError> {
    let listener = TcpListener::bind(args.listen).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    serve(listener, args.bytes as usize).await;
    Ok(())
}

/// Latencies of a question's requests when nothing is done for them but to answer `bytes` bytes.
///
/// # Errors
///
/// When no local address can be listened on.
pub(crate) async fn measure(
    question: Question,
    requests: &[Request],
    asking: Asking,
    bytes: usize,
) -> Result<Histogram, BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = Server::new(&format!("http://{}", listener.local_addr()?), "none")?;
    let serving = tokio::spawn(serve(listener, bytes));
    let questions = [(question, requests.to_vec())];
    let asked = ask::run(&server, &questions, asking, MEASURED, &Done::default()).await;
    serving.abort();
    Ok(asked?.into_iter().next().map(|asked| asked.latencies).unwrap_or_default())
}

/// Accepts for ever; a connection that fails is its client's matter.
async fn serve(listener: TcpListener, bytes: usize) {
    let body = Bytes::from(vec![b' '; bytes]);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, body.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Reads a request whole, as a server must, and answers.
async fn answer(
    request: hyper::Request<Incoming>,
    body: Bytes,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut response = hyper::Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_floor_answers_so_many_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(&format!("http://{}", listener.local_addr().unwrap()), "k").unwrap();
        tokio::spawn(serve(listener, 1234));
        let mut client = crate::client::Client::new(server);
        for _ in 0..3 {
            let answer = client.send(&Request::post("/any/", "body").unwrap()).await.unwrap();
            assert_eq!(answer.len(), 1234);
        }
    }
}
