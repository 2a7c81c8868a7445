//! Bodies of ingest records from files to rows, by the server's own parser and rules, without a server.

use std::path::PathBuf;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use insights_engine::append::Append;
use insights_engine::time::TimestampUs;
use insights_server::auth::keyring::Keyring;
use insights_server::auth::{Authenticator, Principal};
use insights_server::config::Secret;
use insights_server::domain::instant;
use insights_server::http::middleware::context::RequestContext;
use insights_server::ingest::audit::AuditSink;
use insights_server::ingest::document::Scratch;
use insights_server::ingest::event::EventSink;
use insights_server::ingest::grammar::read_lines;
use insights_server::ingest::intake::{Collected, Request};
use insights_server::ingest::metric_kinds::MetricKinds;
use insights_server::ingest::point::PointSink;
use insights_server::ingest::session::SessionNamer;

use crate::args::Stream;
use crate::error::BenchError;

/// Most records of a body, as over HTTP.
const RECORDS_MAX: usize = 10_000;
/// The credential of the only principal there is here; nothing outside of this process ever asks for it.
const CREDENTIAL: &str = "the-principal-of-a-process-without-a-door";

/// Reads bodies for one process: session names and metric kinds go on from body to body.
#[derive(Debug)]
pub(super) struct Intake {
    principal: Option<Principal>,
    namer: SessionNamer,
    kinds: Arc<MetricKinds>,
}

impl Intake {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        let auth = Authenticator::new(&Secret::new(CREDENTIAL.to_owned()), Keyring::default(), None);
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Bearer the-principal-of-a-process-without-a-door"),
        );
        let principal = auth.principal(&headers, now()).ok();
        Self { principal, namer: SessionNamer::new(&[7; 32]), kinds: Arc::new(MetricKinds::new(|_| None)) }
    }

    /// The rows of bodies of one stream: for each list of files one append a file, in their order. Each list is read
    /// by a thread of its own.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or one of its records is rejected.
    pub(super) fn read(
        &self,
        stream: Stream,
        files: &[Vec<PathBuf>],
    ) -> Result<Vec<Vec<Append>>, BenchError> {
        std::thread::scope(|scope| {
            let list = |files: &'_ Vec<PathBuf>| files.iter().map(|file| self.file(stream, file)).collect();
            let threads: Vec<_> = files.iter().map(|files| scope.spawn(move || list(files))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }

    fn file(&self, stream: Stream, path: &PathBuf) -> Result<Append, BenchError> {
        let wrong = |reason: String| BenchError::NothingToAsk(format!("{}: {reason}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let principal = self.principal.as_ref().ok_or_else(|| wrong("no principal".to_owned()))?;
        let context = RequestContext::default();
        let request = Request {
            principal,
            context: &context,
            now: now(),
            newest: instant::MAX,
            oldest: instant::MIN,
            store: None,
            own_acts: false,
        };
        let collected = self.collect(stream, &request, &bytes).map_err(wrong)?;
        if let Some(index) = collected.rejected.first() {
            return Err(wrong(format!("record {index} was rejected: {:?}", collected.faults.first())));
        }
        Ok(Append { batches: collected.batches, ..Append::default() })
    }

    fn collect(&self, stream: Stream, request: &Request<'_>, bytes: &[u8]) -> Result<Collected, String> {
        let scratch = &mut Scratch::default();
        let said = |error: insights_server::ingest::grammar::BodyError| error.to_string();
        match stream {
            Stream::Events => {
                let mut sink = EventSink::new(request, &self.namer);
                read_lines(bytes, RECORDS_MAX, &mut sink, scratch).map_err(said)?;
                Ok(sink.finish())
            }
            Stream::Audit => {
                let mut sink = AuditSink::new(request);
                read_lines(bytes, RECORDS_MAX, &mut sink, scratch).map_err(said)?;
                Ok(sink.finish())
            }
            Stream::Metrics => {
                let mut sink = PointSink::new(request, &self.kinds);
                read_lines(bytes, RECORDS_MAX, &mut sink, scratch).map_err(said)?;
                // The harness's metrics are known beforehand: there is nothing to declare in the catalog.
                Ok(sink.finish().0)
            }
        }
    }
}

fn now() -> TimestampUs {
    TimestampUs(jiff::Timestamp::now().as_microsecond())
}
