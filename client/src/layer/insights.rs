//! The layer that records what users did.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, request, response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::act::{Act, Asked};
use super::identity::{Identify, Known, Told};
use super::route::{NameRoute, Names, action_type, path_template};
use super::{origin, panicking};
use crate::record::AuditRecord;
use crate::sink::Sink;

type IsImportant = Arc<dyn Fn(&Act<'_>) -> bool + Send + Sync>;
type NameAction = Arc<dyn Fn(&Act<'_>) -> String + Send + Sync>;
type Amend = Arc<dyn Fn(&Act<'_>, &mut AuditRecord) + Send + Sync>;
type FindAddress = Arc<dyn Fn(&request::Parts) -> Option<IpAddr> + Send + Sync>;

/// Records important user activities as audit records.
///
/// Important is by default what [`Act::is_important`] says: a change that succeeded, a refusal, a failure. A record has the
/// action type `method.words.of.the.route`, outcome and severity by the status, who, from where, request and trace id, and
/// `metadata` with `method`, `route`, `status` and `duration_ms`. Paths, queries and bodies are not recorded.
///
/// A request whose client went away before the answer is not recorded.
///
/// ```
/// use std::net::SocketAddr;
///
/// use axum::{Router, extract::ConnectInfo, routing::post};
/// use insights_client::{Client, Identity, InsightsLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("http://127.0.0.1:8686", "ins_1_secret").build()?;
/// let audit = InsightsLayer::new(client.clone())
///     // Who: headers of a trusted proxy here; or an `Identity` in the extensions of the response.
///     .identify(|parts: &axum::http::request::Parts| match parts.headers.get("x-user").map(|user| user.to_str()) {
///         Some(Ok(user)) => Identity::default().user_id(user),
///         _ => Identity::default(),
///     })
///     // The routes of axum, when the layer is added by `route_layer`; else the path without its parameters.
///     .route(|parts| match parts.extensions.get::<axum::extract::MatchedPath>() {
///         Some(path) => path.as_str().to_owned(),
///         None => insights_client::path_template(parts.uri.path()),
///     })
///     .client_address(|parts| Some(parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()))
///     .important(|act| act.is_important() || act.route() == "/export");
/// let app: Router = Router::new().route("/projects", post(|| async { "made" })).route_layer(audit);
/// # drop(app);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InsightsLayer {
    settings: Settings,
}

#[derive(Clone)]
struct Settings {
    sink: Arc<dyn Sink>,
    identify: Arc<dyn Identify>,
    route: NameRoute,
    routes: Arc<Names>,
    important: IsImportant,
    action: NameAction,
    amend: Option<Amend>,
    address: FindAddress,
}

impl InsightsLayer {
    /// A layer that writes to the sink, which a [`Client`](crate::Client) is.
    pub fn new(sink: impl Sink) -> Self {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method is one of a single lifetime"
        )]
        let important: IsImportant = Arc::new(|act| act.is_important());
        let settings = Settings {
            sink: Arc::new(sink),
            identify: Arc::new(Told),
            route: Arc::new(|parts| path_template(parts.uri.path())),
            routes: Arc::new(Names::new(200)),
            important,
            action: Arc::new(|act| action_type(act.method(), act.route())),
            amend: None,
            address: Arc::new(origin::address_of),
        };
        Self { settings }
    }

    /// Says how to find out who made a request.
    #[must_use]
    pub fn identify(mut self, identify: impl Identify) -> Self {
        self.settings.identify = Arc::new(identify);
        self
    }

    /// Names the route of a request. [`path_template`] of its path by default.
    #[must_use]
    pub fn route(mut self, name: impl Fn(&request::Parts) -> String + Send + Sync + 'static) -> Self {
        self.settings.route = Arc::new(name);
        self
    }

    /// Most distinct routes; further ones are called [`OTHER_ROUTE`](crate::OTHER_ROUTE). 200 by default.
    #[must_use]
    pub fn routes_max(mut self, routes: usize) -> Self {
        self.settings.routes = Arc::new(Names::new(routes));
        self
    }

    /// Decides what is recorded, instead of [`Act::is_important`].
    #[must_use]
    pub fn important(mut self, is_important: impl Fn(&Act<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.settings.important = Arc::new(is_important);
        self
    }

    /// Names the act, instead of method and route.
    #[must_use]
    pub fn action_type(mut self, name: impl Fn(&Act<'_>) -> String + Send + Sync + 'static) -> Self {
        self.settings.action = Arc::new(name);
        self
    }

    /// Changes a record before it is written: adds the object, say, or another severity.
    #[must_use]
    pub fn amend(mut self, amend: impl Fn(&Act<'_>, &mut AuditRecord) + Send + Sync + 'static) -> Self {
        self.settings.amend = Some(Arc::new(amend));
        self
    }

    /// Finds the client's address. By default a [`ClientAddress`](crate::ClientAddress), `IpAddr` or `SocketAddr` in the
    /// extensions; behind proxies see [`forwarded_for`](crate::forwarded_for). Headers are not believed by themselves.
    #[must_use]
    pub fn client_address(
        mut self,
        find: impl Fn(&request::Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings.address = Arc::new(find);
        self
    }
}

impl fmt::Debug for InsightsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsightsLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for InsightsLayer {
    type Service = InsightsService<S>;

    fn layer(&self, inner: S) -> InsightsService<S> {
        InsightsService { inner, settings: Arc::new(self.settings.clone()) }
    }
}

/// The service of an [`InsightsLayer`].
#[derive(Clone)]
pub struct InsightsService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S: fmt::Debug> fmt::Debug for InsightsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsightsService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for InsightsService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InsightsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let pending = Pending::of(&self.settings, &mut parts);
        let future = self.inner.call(Request::from_parts(parts, body));
        InsightsFuture { future, pending: Some(pending) }
    }
}

/// A request whose answer is awaited.
struct Pending {
    settings: Arc<Settings>,
    asked: Asked,
    route: Arc<str>,
    known: Known,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    start: Instant,
}

impl Pending {
    fn of(settings: &Arc<Settings>, parts: &mut request::Parts) -> Self {
        Self {
            known: Known::before(&*settings.identify, parts),
            asked: Asked::of(parts),
            route: settings.routes.bounded(&(settings.route)(parts)),
            address: (settings.address)(parts),
            user_agent: origin::user_agent_of(&parts.headers),
            request_id: origin::request_id(&parts.headers),
            trace_id: origin::trace_id(&parts.headers),
            settings: Arc::clone(settings),
            start: Instant::now(),
        }
    }

    /// Records the act when it is important; `answer` is none when the inner service failed.
    fn finish(self, answer: Option<&response::Parts>) {
        let Self { settings, asked, route, known, address, user_agent, request_id, trace_id, start } = self;
        let status = answer.map(|parts| parts.status);
        let act = Act { method: &asked.method, path: &asked.path, route: &route, status };
        if !(settings.important)(&act) {
            return;
        }
        let identity = known.after(&*settings.identify, answer);
        let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut record = AuditRecord::new((settings.action)(&act))
            .severity(act.severity())
            .outcome(act.outcome())
            .metadata("method", act.method().as_str())
            .metadata("route", act.route())
            .metadata("duration_ms", duration_ms);
        record.description = Some(match status {
            Some(status) => {
                record.metadata.insert("status".into(), status.as_u16().into());
                format!("{} {} answered {}", act.method(), act.route(), status.as_u16())
            }
            None => format!("{} {} failed without an answer", act.method(), act.route()),
        });
        record.user_id = identity.user_id;
        record.user_name = identity.user_name;
        record.organization_id = identity.organization_id;
        record.app_id = identity.app_id;
        record.ip_address = address;
        record.user_agent = user_agent;
        record.request_id = origin::request_id_of(request_id.as_deref(), answer);
        record.trace_id = trace_id;
        if let Some(amend) = &settings.amend {
            amend(&act, &mut record);
        }
        settings.sink.audit(record);
    }
}

pin_project! {
    /// The future of an [`InsightsService`].
    pub struct InsightsFuture<F> {
        #[pin]
        future: F,
        pending: Option<Pending>,
    }
}

impl<F> fmt::Debug for InsightsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InsightsFuture").finish_non_exhaustive()
    }
}

impl<F, ResponseBody, E> Future for InsightsFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let pending = this.pending;
        let result = ready!(panicking::poll(this.future, context, || {
            if let Some(pending) = pending.take() {
                pending.finish(None);
            }
        }));
        let Some(pending) = pending.take() else { return Poll::Ready(result) };
        Poll::Ready(match result {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                pending.finish(Some(&parts));
                Ok(Response::from_parts(parts, body))
            }
            Err(error) => {
                pending.finish(None);
                Err(error)
            }
        })
    }
}
