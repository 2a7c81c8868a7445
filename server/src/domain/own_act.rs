//! What the server records of its own acts: reads and exports of audit records, reads across organizations, changes of
//! keys, retention and channels, erasures, tasks that were asked for, changes of alert rules and of what silences them.

use std::collections::HashMap;
use std::sync::Arc;

use insights_engine::time::TimestampUs;

/// Acts of one kind within this time of each other leave one record.
const COALESCED_US: i64 = 60 * 1_000_000;
/// Most acts that are remembered; beyond it those that are over are forgotten, and then all.
const REMEMBERED_MAX: usize = 10_000;

/// A kind of act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnAct {
    /// A superuser's read that named no organization.
    ReadAcrossOrganizations,
    /// A read of audit records.
    AuditRead,
    /// Audit records taken out as NDJSON or CSV.
    AuditExported,
    /// A key was made.
    KeyCreated,
    /// A key was revoked.
    KeyRevoked,
    /// How long records are kept was changed.
    RetentionChanged,
    /// What an organization has set for itself was changed.
    SettingsChanged,
    /// An organization was erased.
    OrganizationErased,
    /// A user of an organization was erased; the record names the receipt, not the user.
    UserErased,
    /// A periodic task was run because somebody asked for it.
    TaskRun,
    /// An alert rule was made.
    AlertRuleCreated,
    /// An alert rule was changed.
    AlertRuleChanged,
    /// An alert rule was deleted.
    AlertRuleDeleted,
    /// Alerts were silenced.
    SilenceCreated,
    /// A silence was ended.
    SilenceDeleted,
    /// A maintenance window was planned.
    MaintenanceCreated,
    /// A maintenance window was deleted.
    MaintenanceDeleted,
    /// A channel of notifications was made.
    ChannelCreated,
    /// A channel of notifications was changed.
    ChannelChanged,
    /// A channel of notifications was removed.
    ChannelRemoved,
    /// A channel of notifications was tested.
    ChannelTested,
    /// A dead letter was sent again.
    DeliveryRepeated,
}

impl OwnAct {
    /// The action type of its record.
    pub const fn action_type(self) -> &'static str {
        match self {
            Self::ReadAcrossOrganizations => "insights.organizations.read",
            Self::AuditRead => "insights.audit.read",
            Self::AuditExported => "insights.audit.exported",
            Self::KeyCreated => "insights.key.created",
            Self::KeyRevoked => "insights.key.revoked",
            Self::RetentionChanged => "insights.retention.changed",
            Self::SettingsChanged => "insights.settings.changed",
            Self::OrganizationErased => "insights.organization.erased",
            Self::UserErased => "insights.user.erased",
            Self::TaskRun => "insights.task.run",
            Self::AlertRuleCreated => "insights.alert_rule.created",
            Self::AlertRuleChanged => "insights.alert_rule.changed",
            Self::AlertRuleDeleted => "insights.alert_rule.deleted",
            Self::SilenceCreated => "insights.silence.created",
            Self::SilenceDeleted => "insights.silence.deleted",
            Self::MaintenanceCreated => "insights.maintenance.created",
            Self::MaintenanceDeleted => "insights.maintenance.deleted",
            Self::ChannelCreated => "insights.channel.created",
            Self::ChannelChanged => "insights.channel.changed",
            Self::ChannelRemoved => "insights.channel.removed",
            Self::ChannelTested => "insights.channel.tested",
            Self::DeliveryRepeated => "insights.delivery.repeated",
        }
    }

    /// The act in words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::ReadAcrossOrganizations => "read across organizations",
            Self::AuditRead => "read audit records",
            Self::AuditExported => "exported audit records",
            Self::KeyCreated => "created an API key",
            Self::KeyRevoked => "revoked an API key",
            Self::RetentionChanged => "changed how long records are kept",
            Self::SettingsChanged => "changed settings of an organization",
            Self::OrganizationErased => "erased an organization",
            Self::UserErased => "erased a user",
            Self::TaskRun => "ran a periodic task",
            Self::AlertRuleCreated => "created an alert rule",
            Self::AlertRuleChanged => "changed an alert rule",
            Self::AlertRuleDeleted => "deleted an alert rule",
            Self::SilenceCreated => "silenced alerts",
            Self::SilenceDeleted => "ended a silence",
            Self::MaintenanceCreated => "planned a maintenance window",
            Self::MaintenanceDeleted => "deleted a maintenance window",
            Self::ChannelCreated => "created a channel of notifications",
            Self::ChannelChanged => "changed a channel of notifications",
            Self::ChannelRemoved => "removed a channel of notifications",
            Self::ChannelTested => "tested a channel of notifications",
            Self::DeliveryRepeated => "sent a notification again",
        }
    }
}

/// What makes two acts the same for a minute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occasion {
    /// The credential.
    pub credential: Arc<str>,
    /// The organization whose log keeps it.
    pub organization: Arc<str>,
    /// The kind.
    pub act: OwnAct,
    /// What it was about: a route, a key.
    pub object: Arc<str>,
}

/// Remembers which acts have left a record lately.
#[derive(Debug, Default)]
pub struct Recent {
    recorded: HashMap<Occasion, TimestampUs>,
}

impl Recent {
    /// Whether an act at `now` is to be recorded: not when the same one was, less than a minute ago.
    pub fn is_due(&mut self, occasion: Occasion, now: TimestampUs) -> bool {
        let is_recent = |at: TimestampUs| (0..COALESCED_US).contains(&(now.0 - at.0));
        if self.recorded.get(&occasion).is_some_and(|at| is_recent(*at)) {
            return false;
        }
        if self.recorded.len() >= REMEMBERED_MAX {
            self.recorded.retain(|_, at| is_recent(*at));
            if self.recorded.len() >= REMEMBERED_MAX {
                self.recorded.clear();
            }
        }
        self.recorded.insert(occasion, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion(credential: &str, act: OwnAct) -> Occasion {
        Occasion { credential: credential.into(), organization: "acme".into(), act, object: "audit".into() }
    }

    #[test]
    fn the_same_act_leaves_one_record_a_minute() {
        let mut recent = Recent::default();
        let mut due = |credential, act, second: i64| {
            recent.is_due(occasion(credential, act), TimestampUs(second * 1_000_000))
        };
        assert!(due("a", OwnAct::AuditRead, 0));
        assert!(!due("a", OwnAct::AuditRead, 59));
        assert!(due("b", OwnAct::AuditRead, 59));
        assert!(due("a", OwnAct::AuditExported, 59));
        assert!(due("a", OwnAct::AuditRead, 60));
        assert!(due("a", OwnAct::AuditRead, 30), "a clock that went back records rather than hides");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..=REMEMBERED_MAX {
            assert!(recent.is_due(occasion(&n.to_string(), OwnAct::AuditRead), TimestampUs(0)));
        }
        assert!(recent.recorded.len() <= REMEMBERED_MAX);
    }
}
