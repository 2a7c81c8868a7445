//! Every setting there is: its name, its default, what it means.
//!
//! The name is the key in the file; the environment has it in upper case behind `INSIGHTS_`.

use super::security::defaults;

/// What kind of text a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    One,
    /// A list: an array in the file, separated by commas elsewhere.
    List,
    /// One value that is never shown; `<name>_file` names a file that holds it.
    Secret,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file.
    pub name: &'static str,
    /// What kind of text it is.
    pub kind: Kind,
    /// The value when nobody says one; `None` is unset.
    pub default: Option<&'static str>,
    /// What it means, in a sentence or two.
    pub help: &'static str,
}

impl Setting {
    /// The variable in the environment.
    pub fn variable(&self) -> String {
        format!("INSIGHTS_{}", self.name.to_ascii_uppercase())
    }

    /// The setting of a name, if there is one.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|s| s.name == name)
    }
}

const fn one(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting { name, kind: Kind::One, default, help }
}

const fn list(name: &'static str, default: Option<&'static str>, help: &'static str) -> Setting {
    Setting { name, kind: Kind::List, default, help }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting { name, kind: Kind::Secret, default: None, help }
}

/// Every setting, in the order of the example file.
pub const SETTINGS: &[Setting] = &[
    one("data_dir", Some("./insights-data"), "Where everything is kept; made with mode 0700."),
    one("listen", Some("127.0.0.1:8686"), "Address and port to listen on; port 0 takes a free one."),
    secret(
        "superuser_key",
        "The first superuser's key, 32 characters at least; made into <data_dir>/superuser.key when unset.",
    ),
    secret(
        "jwt_secret",
        "Shared secret of the platform's tokens (HS256, HS384, HS512), 32 bytes at least for HS256.",
    ),
    one(
        "jwt_public_key_file",
        None,
        "PEM file with the public key of the platform's tokens (RS*, PS*, ES*, EdDSA).",
    ),
    one("jwt_jwks_file", None, "JSON file with the public keys of the platform's tokens, chosen by `kid`."),
    one(
        "jwt_algorithm",
        None,
        "The one algorithm tokens may have; HS256 with a secret, to be named with public keys.",
    ),
    one("jwt_audience", None, "What `aud` of a token must contain; not looked at when unset."),
    one("jwt_issuer", None, "What `iss` of a token must be; not looked at when unset."),
    list(
        "jwt_user_claims",
        Some("sub,user_id"),
        "Claims that may name the user; the first that is there counts.",
    ),
    one("jwt_organization_claim", Some("organization_id"), "Claim that names one organization."),
    one("jwt_organizations_claim", Some("organizations"), "Claim that lists organizations."),
    one("jwt_role_claim", Some("role"), "Claim that names one role: viewer, auditor or admin."),
    one("jwt_roles_claim", Some("roles"), "Claim that lists roles."),
    one("jwt_superuser_claim", Some("is_superuser"), "Claim that is true for a superuser."),
    one(
        "durability",
        Some("synced"),
        "synced: an answer means the bytes are on disk. buffered: a power cut may lose the last second.",
    ),
    one("late_window_days", Some("30"), "Oldest record that ingest takes, in days; import takes any age."),
    list(
        "retention",
        Some(""),
        "Default retention, else for ever; in production perhaps events.raw_days=90, events.rollup_1h_days=400, metrics.raw_days=30, audit.raw_days=1095.",
    ),
    one("future_limit", Some("1h"), "How far in the future a record may lie."),
    list(
        "page_view_event_types",
        Some("page_view,page.viewed,pageview,$pageview"),
        "Event types that are page views.",
    ),
    one(
        "share_system_metrics",
        Some("true"),
        "Whether organizations without hosts of their own see the platform's.",
    ),
    list("security_rules_off", Some(""), "Rules of the security report that are off, such as new_agent."),
    list(
        "security_login_actions",
        Some(defaults::LOGIN),
        "Action types of logins, whose outcome says whether they failed; `*` may stand at the start or the end of a type.",
    ),
    list(
        "security_login_failed_actions",
        Some(defaults::LOGIN_FAILED),
        "Action types of logins that failed, whatever their outcome says.",
    ),
    list(
        "security_two_factor_disabled_actions",
        Some(defaults::TWO_FACTOR_DISABLED),
        "Action types that turn a second factor off.",
    ),
    list("security_delete_actions", Some(defaults::DELETED), "Action types that delete."),
    list("security_export_actions", Some(defaults::EXPORTED), "Action types that export."),
    list(
        "security_privileged_actions",
        Some(defaults::PRIVILEGED),
        "Action types of privileged actions; the server's own acts (insights.*) count only where a type here names them.",
    ),
    list(
        "security_thresholds",
        Some(defaults::THRESHOLDS),
        "From where on something is a finding of the security report; what is not named keeps its default.",
    ),
    list(
        "notify_allowed_networks",
        Some(""),
        "Networks that channels may lead to besides the public Internet, such as 10.1.0.0/16.",
    ),
    one(
        "notify_ca_file",
        None,
        "PEM file with the certificates of authorities that channels and the relay may have besides Mozilla's list.",
    ),
    secret(
        "smtp_url",
        "Relay for e-mail: smtps://user:password@host (TLS), smtp://user:password@host (STARTTLS; plain on loopback).",
    ),
    one("smtp_from", None, "Who e-mails come from, such as `Insights <insights@example.com>`."),
    one(
        "smtp_unsubscribe",
        None,
        "Where somebody asks for no more e-mails, for their `List-Unsubscribe`: an https URL or an address; left out when unset.",
    ),
    list("trusted_proxies", Some(""), "Addresses and networks whose X-Forwarded-For is believed."),
    one("log", Some("info"), "What is logged: a level, or directives such as `info,insights_server=debug`."),
    one("log_format", Some("text"), "text or json."),
    one("memtable_bytes", Some("48MiB"), "Bytes of rows in memory; half of it starts a flush."),
    one(
        "wal_bytes",
        Some("256MiB"),
        "Bytes of the write-ahead log that are not flushed; half of it starts a flush.",
    ),
    one("flush_interval", Some("5m"), "Age of the oldest row in memory that starts a flush."),
    one("block_cache_bytes", Some("32MiB"), "Bytes of decoded blocks that are kept."),
    one("disk_reserve_bytes", Some("64MiB"), "Bytes of free disk under which writes are refused."),
    one("query_memory_bytes", Some("256MiB"), "Bytes one question may use."),
    one("report_cache_bytes", Some("16MiB"), "Bytes of answers that are kept for the same question."),
    one(
        "standing_report_bytes",
        Some("64MiB"),
        "Bytes of reports that are kept up to date while they are asked again and again.",
    ),
    one("query_deadline", Some("30s"), "How long one question may take; a longer one gets 503."),
    one("queries_max", Some("8"), "Questions that run at once; further ones wait."),
    one("connections_max", Some("4096"), "Connections that are open at once; further ones wait."),
    one("bodies_in_flight_bytes", Some("64MiB"), "Bytes of request bodies in memory at once; more gets 503."),
    one("shutdown_timeout", Some("30s"), "How long open requests may take after SIGTERM."),
    one(
        "jobs_enabled",
        Some("true"),
        "Whether the periodic tasks run by themselves; asked for, they run in any case.",
    ),
    one(
        "jobs_timezone",
        Some("UTC"),
        "IANA time zone of their schedules, and of days of organizations that have none of their own.",
    ),
    one(
        "jobs_jitter",
        Some("0s"),
        "Each task is later by a time below this that is always the same for its name.",
    ),
    one(
        "schedule_collect_system_metrics",
        Some("every 300s"),
        "When the host is measured: `every` and a duration, or a cron expression of five fields.",
    ),
    one(
        "schedule_aggregate_daily_metrics",
        Some("0 0 * * *"),
        "When days are made final, in the time zone of each organization.",
    ),
    one("schedule_cleanup_old_metrics", Some("30 3 * * *"), "When what has expired is removed."),
    one(
        "schedule_generate_analytics_reports",
        Some("30 0 * * *"),
        "When the reports of the day that is over are made, in the time zone of each organization.",
    ),
    list(
        "report_types",
        Some("daily,organization,application,security"),
        "Reports that are made every day; empty for none.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_has_a_name_of_its_own_and_a_sentence() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(SETTINGS.iter().all(|s| s.help.ends_with('.') && !s.help.contains('\n')));
    }
}
