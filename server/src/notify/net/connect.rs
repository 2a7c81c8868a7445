//! A connection to a host whose address has passed the guard: what is checked is what is connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::guard::Guard;
use super::resolve::Resolve;

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a name may take to be found.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// No connection. The texts are shown to those whose channel it is, so they name no address.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None of the addresses may be connected to.
    #[error("the host leads to an address that is not allowed")]
    Refused,
    /// The URL has no host.
    #[error("the URL names no host")]
    NoHost,
    /// The name has no address.
    #[error("the host was not found")]
    NotFound,
    /// Nobody answers.
    #[error("the host cannot be connected to")]
    Unreachable(#[source] io::Error),
    /// Nobody answers in time.
    #[error("the host did not answer in time")]
    TimedOut,
}

/// Makes connections that the guard allows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    resolver: Arc<dyn Resolve>,
    guard: Arc<Guard>,
}

impl Connector {
    /// A connector that asks `resolver` for addresses and `guard` whether they may be connected to.
    pub fn new(resolver: Arc<dyn Resolve>, guard: Guard) -> Self {
        Self { resolver, guard: Arc::new(guard) }
    }

    /// The addresses of a host that may be connected to.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let found = if let Ok(address) = bare.parse() {
            vec![address]
        } else {
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, self.resolver.resolve(bare)).await;
            found.map_err(|_| ConnectError::TimedOut)?.map_err(|_| ConnectError::NotFound)?
        };
        if found.is_empty() {
            return Err(ConnectError::NotFound);
        }
        let is_allowed = |address: &IpAddr| match self.guard.check(*address) {
            Ok(()) => true,
            Err(refused) => {
                tracing::warn!(host, reason = %refused, "a notification was not sent to an address that is not allowed");
                false
            }
        };
        let allowed: Vec<IpAddr> = found.into_iter().take(ADDRESSES_MAX).filter(is_allowed).collect();
        if allowed.is_empty() { Err(ConnectError::Refused) } else { Ok(allowed) }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut last = ConnectError::NotFound;
        for address in self.addresses(host).await? {
            let connecting = TcpStream::connect(SocketAddr::new(address, port));
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => {
                    // A request is one write; waiting for more would only delay it.
                    drop(stream.set_nodelay(true));
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => last = ConnectError::Unreachable(error),
                Err(_) => last = ConnectError::TimedOut,
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::resolve::Resolving;
    use super::*;
    use crate::config::Network;

    /// Gives one answer after the other, and the last for ever.
    #[derive(Debug)]
    struct Changing {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
    }

    impl Resolve for Changing {
        fn resolve(&self, _: &str) -> Resolving {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
            let answer = self.answers[asked].clone();
            Box::pin(async move { Ok(answer) })
        }
    }

    fn connector(answers: &[&[&str]], allowed: &[&str]) -> (Connector, Arc<Changing>) {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let resolver =
            Arc::new(Changing { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) });
        let allowed = allowed.iter().map(|text| Network::parse(text).unwrap()).collect();
        (Connector::new(resolver.clone(), Guard::new(allowed)), resolver)
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_whatever_it_led_to_before() {
        let (connector, resolver) =
            connector(&[&["93.184.216.34"], &["127.0.0.1"], &["169.254.169.254"]], &[]);
        assert_eq!(connector.addresses("rebind.example").await.unwrap().len(), 1);
        for _ in 0..2 {
            // No second look-up between the check and the connection: one question, one answer, checked.
            let uri = "http://rebind.example/".parse().unwrap();
            assert!(matches!(connector.clone().connect(uri).await, Err(ConnectError::Refused)));
        }
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn only_the_allowed_addresses_of_a_name_are_tried() {
        let (connector, _) = connector(&[&["10.0.0.1", "93.184.216.34", "::1"], &[]], &[]);
        let found = connector.addresses("mixed.example").await.unwrap();
        assert_eq!(found, ["93.184.216.34".parse::<IpAddr>().unwrap()]);
        assert!(matches!(connector.addresses("none.example").await, Err(ConnectError::NotFound)));
    }

    #[tokio::test]
    async fn the_address_that_passed_is_the_one_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inside, _) = connector(&[&["127.0.0.1"]], &["127.0.0.1"]);
        let uri: Uri = format!("http://name.example:{}/", address.port()).parse().unwrap();
        let stream = inside.clone().connect(uri).await.unwrap().into_inner();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let (outside, resolver) = connector(&[&["127.0.0.1"]], &[]);
        for literal in ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:7f00:1]/", "https://10.0.0.1/"]
        {
            let refused = outside.clone().connect(literal.parse().unwrap()).await;
            assert!(matches!(refused, Err(ConnectError::Refused)), "{literal}");
        }
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 0, "an address is not looked up");
        // Spellings that are no address to the standard library are names: where they lead is judged.
        let refused = outside.connect("http://2130706433/".parse().unwrap()).await;
        assert!(matches!(refused, Err(ConnectError::Refused)));
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_an_error_without_the_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (connector, _) = connector(&[&["127.0.0.1"]], &["127.0.0.1"]);
        let error =
            connector.connect(format!("http://name.example:{port}/").parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)));
        assert!(!error.to_string().contains("127"), "{error}");
    }
}
