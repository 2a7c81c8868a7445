//! Writes audit records of the server's own acts, beside the answer and never in its way.

use std::fmt;
use std::sync::Arc;

use insights_engine::append::Append;
use insights_engine::clock::Clock;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{Batch, BatchBuilder, stream};
use insights_engine::time::TimestampUs;
use parking_lot::Mutex;

use super::middleware::context::RequestContext;
use crate::auth::{PLATFORM, Principal, ReadScope};
use crate::domain::own_act::{Occasion, OwnAct, Recent};
use crate::store::Store;

/// The type of the object that a record is about.
const OBJECT_TYPE: &str = "insights";

/// Records what principals did to the server itself. Cheap to clone.
#[derive(Clone)]
pub struct OwnActs {
    store: Store,
    clock: Arc<dyn Clock>,
    recent: Arc<Mutex<Recent>>,
}

impl OwnActs {
    /// Records into `store`.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, recent: Arc::default() }
    }

    /// A read through `scope`: recorded in the log of the platform when it is a superuser's over every organization.
    pub fn read(&self, principal: &Principal, context: &RequestContext, scope: &ReadScope, route: &str) {
        if scope.organization().is_none() {
            self.record(principal, context, OwnAct::ReadAcrossOrganizations, None, route);
        }
    }

    /// An act on `object`, recorded in the log of `organization`, or of the platform when there is none.
    ///
    /// Returns at once. The same act of the same principal leaves one record a minute; one that cannot be written is
    /// said in the log of the server.
    pub fn record(
        &self,
        principal: &Principal,
        context: &RequestContext,
        act: OwnAct,
        organization: Option<&TenantId>,
        object: &str,
    ) {
        let Some(organization) = organization.cloned().or_else(|| TenantId::new(PLATFORM).ok()) else {
            return;
        };
        // Looking for an organization that never was must not make it.
        if organization.as_str() != PLATFORM && !self.store.tenant_exists(&organization) {
            return;
        }
        let now = self.clock.now();
        let occasion = Occasion {
            credential: Arc::clone(principal.credential()),
            organization: organization.as_str().into(),
            act,
            object: object.into(),
        };
        if !self.recent.lock().is_due(occasion, now) {
            return;
        }
        let batch = row(principal, context, act, organization, object, now);
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.append(Append::batch(batch)).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    act = act.action_type(),
                    "an own act was not recorded"
                );
            }
        });
    }
}

impl fmt::Debug for OwnActs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnActs").finish_non_exhaustive()
    }
}

fn row(
    principal: &Principal,
    context: &RequestContext,
    act: OwnAct,
    organization: TenantId,
    object: &str,
    now: TimestampUs,
) -> Batch {
    let address = context.ip_address.map(|address| address.to_string());
    let mut batch = BatchBuilder::new(organization, Stream::Audit);
    batch
        .i64(&stream::TIME, now.0)
        .i64(&stream::RECEIVED, now.0)
        .str(&stream::WRITING_KEY, Some(principal.credential()))
        .str(&stream::REQUEST_ID, Some(&context.request_id))
        .str(&stream::TRACE_ID, context.trace_id.as_deref())
        .str(&stream::USER_ID, principal.user_id().map(|id| &**id))
        .str(&stream::IP_ADDRESS, address.as_deref())
        .str(&stream::USER_AGENT, context.user_agent.as_deref())
        .str(&stream::ACTION_TYPE, Some(act.action_type()))
        .str(&stream::DESCRIPTION, Some(act.description()))
        .str(&stream::OBJECT_TYPE, Some(OBJECT_TYPE))
        .str(&stream::OBJECT_ID, Some(object));
    batch.finish_row();
    batch.build()
}
