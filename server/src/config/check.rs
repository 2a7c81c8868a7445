//! From text to checked settings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use insights_engine::catalog::RetentionDocument;
use insights_engine::config::{Config as EngineConfig, Durability};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::error::ConfigError;
use super::jobs::JobsConfig;
use super::notify::{self, Authorities, NotifyConfig, SmtpConfig, SmtpUrl};
use super::raw::{Origin, RawConfig};
use super::security::{Actions, Patterns, Rule, SecuritySettings, Thresholds};
use super::units::{Network, parse_bytes, parse_duration};
use super::{ClaimNames, Config, JwtConfig, JwtKeys, Limits, LogFormat, Secret, with_rollups};
use crate::job::schedule::Schedule;
use crate::job::task::TASKS;
use crate::job::zone::Zone;
use crate::report::stored::ReportType;
use crate::store::QueryLimits;

/// Fewest characters of a secret: 128 bits even when it is hexadecimal.
const SECRET_CHARS_MIN: usize = 32;

impl TryFrom<&RawConfig> for Config {
    type Error = ConfigError;

    /// Checks every setting; the error names the setting and who said it.
    fn try_from(raw: &RawConfig) -> Result<Self, ConfigError> {
        let fields = Fields(raw);
        let durability = fields.parse("durability", |text| match text {
            "synced" => Ok(Durability::Synced),
            "buffered" => Ok(Durability::Buffered),
            _ => Err("is not synced or buffered"),
        })?;
        let page_view_event_types = fields.list("page_view_event_types");
        let engine = with_rollups(fields.engine(durability)?, &page_view_event_types);
        Ok(Self {
            data_dir: fields.parse("data_dir", |text| match text {
                "" => Err("is empty"),
                _ => Ok(PathBuf::from(text)),
            })?,
            listen: fields.parsed("listen", "is no address with a port, such as 127.0.0.1:8686")?,
            superuser_key: fields.secret("superuser_key")?,
            jwt: fields.jwt()?,
            durability,
            late_window_days: fields.parsed("late_window_days", "is no number of days")?,
            page_view_event_types,
            share_system_metrics: fields.parsed("share_system_metrics", "is not true or false")?,
            security: fields.security()?,
            trusted_proxies: fields.networks("trusted_proxies")?,
            log: fields.parse("log", |text| match tracing_subscriber::EnvFilter::try_new(text) {
                Ok(_) => Ok(text.to_owned()),
                Err(_) => Err("is no level or list of directives"),
            })?,
            log_format: fields.parse("log_format", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("is not text or json"),
            })?,
            shutdown_timeout: fields.units("shutdown_timeout", parse_duration)?,
            jobs: fields.jobs()?,
            notify: fields.notify()?,
            limits: fields.limits()?,
            engine,
        })
    }
}

/// The settings as text, with the errors that go with them.
struct Fields<'a>(&'a RawConfig);

impl Fields<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.items.first().map(String::as_str)
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.0.get(name).map(|value| value.items.clone()).unwrap_or_default()
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty()).map(String::from)
    }

    fn error(&self, name: &str, text: &str, reason: &str) -> ConfigError {
        let origin = self.0.get(name).map_or(&Origin::Default, |value| &value.origin);
        ConfigError::value(name, text, reason, origin)
    }

    fn parse<T, E: Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let text = self.text(name).unwrap_or_default();
        parse(text).map_err(|reason| self.error(name, text, &reason.to_string()))
    }

    fn parsed<T: FromStr>(&self, name: &str, reason: &str) -> Result<T, ConfigError> {
        self.parse(name, |text| text.trim().parse().map_err(|_| reason))
    }

    /// A value whose parser says itself what is wrong.
    fn units<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        parse(self.text(name).unwrap_or_default()).map_err(|reason| self.error(name, "", &reason))
    }

    fn count(&self, name: &str) -> Result<usize, ConfigError> {
        self.parse(name, |text| match text.trim().parse() {
            Ok(0) | Err(_) => Err("is no number above 0"),
            Ok(number) => Ok(number),
        })
    }

    fn secret(&self, name: &str) -> Result<Option<Secret>, ConfigError> {
        match self.text(name) {
            None | Some("") => Ok(None),
            Some(text) if text.chars().count() < SECRET_CHARS_MIN => {
                Err(self.error(name, "", &format!("a secret has {SECRET_CHARS_MIN} characters at least")))
            }
            Some(text) => Ok(Some(Secret::new(text))),
        }
    }

    fn networks(&self, name: &str) -> Result<Vec<Network>, ConfigError> {
        let network = |text: &String| Network::parse(text).map_err(|reason| self.error(name, "", &reason));
        self.list(name).iter().map(network).collect()
    }

    /// What is in the file that a setting names.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(path) = self.optional(name) else { return Ok(None) };
        std::fs::read(&path)
            .map(Some)
            .map_err(|error| self.error(name, &path, &format!("cannot be read: {error}")))
    }

    /// The authorities of the file that a setting names.
    fn authorities(&self, name: &str) -> Result<Authorities, ConfigError> {
        let Some(pem) = self.file(name)? else { return Ok(Authorities::default()) };
        let path = self.text(name).unwrap_or_default();
        Authorities::parse(&pem).map_err(|reason| self.error(name, path, &reason))
    }

    fn notify(&self) -> Result<NotifyConfig, ConfigError> {
        let from = self.optional("smtp_from").map(|text| {
            notify::check_address(&text).map_err(|reason| self.error("smtp_from", &text, reason))?;
            Ok(text)
        });
        let from = from.transpose()?;
        // The text may hold a password: no error shows it.
        let url = self
            .optional("smtp_url")
            .map(|text| SmtpUrl::parse(&text).map_err(|reason| self.error("smtp_url", "", reason)));
        let unsubscribe = self.optional("smtp_unsubscribe").map(|text| {
            notify::parse_unsubscribe(&text).map_err(|reason| self.error("smtp_unsubscribe", &text, reason))
        });
        let unsubscribe = unsubscribe.transpose()?;
        let smtp = match (url.transpose()?, from) {
            (Some(url), Some(from)) => Some(SmtpConfig { url, from, unsubscribe }),
            (Some(_), None) => {
                return Err(self.error("smtp_from", "", "is needed with smtp_url: who e-mails come from"));
            }
            (None, _) => None,
        };
        Ok(NotifyConfig {
            allowed_networks: self.networks("notify_allowed_networks")?,
            smtp,
            authorities: self.authorities("notify_ca_file")?,
        })
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        Ok(Limits {
            bodies_in_flight_bytes_max: self.units("bodies_in_flight_bytes", parse_bytes)?,
            queries: QueryLimits {
                queries_max: self.count("queries_max")?,
                deadline: self.units("query_deadline", parse_duration)?,
                memory_bytes_max: self.units("query_memory_bytes", parse_bytes)?,
                kept_bytes_max: self.units("report_cache_bytes", parse_bytes)?,
                standing_bytes_max: self.units("standing_report_bytes", parse_bytes)?,
            },
            connections_max: self.count("connections_max")?,
            future_max: self.units("future_limit", parse_duration)?,
            ..Limits::default()
        })
    }

    fn jobs(&self) -> Result<JobsConfig, ConfigError> {
        let mut jobs = JobsConfig {
            is_enabled: self.parsed("jobs_enabled", "is not true or false")?,
            zone: self.units("jobs_timezone", Zone::find)?,
            jitter: self.units("jobs_jitter", parse_duration)?,
            schedules: BTreeMap::new(),
            report_types: self.report_types()?,
        };
        for task in TASKS {
            jobs.schedules.insert(task.name, self.units(task.setting, Schedule::parse)?);
        }
        Ok(jobs)
    }

    fn report_types(&self) -> Result<Vec<ReportType>, ConfigError> {
        let known = ReportType::ALL.map(ReportType::name).join(", ");
        let one = |name: &String| {
            let wrong = || self.error("report_types", name, &format!("is none of {known}"));
            ReportType::from_name(name).ok_or_else(wrong)
        };
        self.list("report_types").iter().filter(|name| !name.is_empty()).map(one).collect()
    }

    /// Limits as `stream.limit=days`.
    fn retention(&self) -> Result<RetentionDocument, ConfigError> {
        let mut document = RetentionDocument::default();
        for text in self.list("retention") {
            let wrong = |reason: &str| self.error("retention", &text, reason);
            let (name, days) = text.split_once('=').ok_or_else(|| wrong("is not `stream.limit=days`"))?;
            let days: u32 = days.trim().parse().map_err(|_| wrong("has no number of days"))?;
            let place = match name.trim() {
                "events.raw_days" => &mut document.events.raw_days,
                "events.rollup_15m_days" => &mut document.events.rollup_15m_days,
                "events.rollup_1h_days" => &mut document.events.rollup_1h_days,
                "events.rollup_1d_days" => &mut document.events.rollup_1d_days,
                "metrics.raw_days" => &mut document.metrics.raw_days,
                "metrics.rollup_15m_days" => &mut document.metrics.rollup_15m_days,
                "metrics.rollup_1h_days" => &mut document.metrics.rollup_1h_days,
                "metrics.rollup_1d_days" => &mut document.metrics.rollup_1d_days,
                "audit.raw_days" => &mut document.audit.raw_days,
                _ => return Err(wrong("names no limit")),
            };
            *place = Some(days);
        }
        document.check().map_err(|error| self.error("retention", "", &error.to_string()))?;
        Ok(document)
    }

    /// What the security report looks for; thresholds as `rule.threshold=number`.
    fn security(&self) -> Result<SecuritySettings, ConfigError> {
        let patterns = |name: &str| {
            Patterns::parse(&self.list(name)).map_err(|(text, reason)| self.error(name, &text, reason))
        };
        let rule = |text: &String| {
            let unknown = || self.error("security_rules_off", text, "is no rule of the security report");
            Rule::from_name(text).ok_or_else(unknown)
        };
        let mut thresholds = Thresholds::default();
        for text in self.list("security_thresholds") {
            let wrong = |reason: String| self.error("security_thresholds", &text, &reason);
            thresholds.set(&text).map_err(wrong)?;
        }
        Ok(SecuritySettings {
            rules_off: self.list("security_rules_off").iter().map(rule).collect::<Result<_, _>>()?,
            actions: Actions {
                login: patterns("security_login_actions")?,
                login_failed: patterns("security_login_failed_actions")?,
                two_factor_disabled: patterns("security_two_factor_disabled_actions")?,
                deleted: patterns("security_delete_actions")?,
                exported: patterns("security_export_actions")?,
                privileged: patterns("security_privileged_actions")?,
            },
            thresholds,
        })
    }

    fn engine(&self, durability: Durability) -> Result<EngineConfig, ConfigError> {
        let defaults = EngineConfig::default();
        let memtable_bytes_max = self.units("memtable_bytes", parse_bytes)?;
        let wal_bytes_max = self.units("wal_bytes", parse_bytes)?;
        let engine = EngineConfig {
            durability,
            memtable_bytes_max,
            memtable_flush_bytes: (memtable_bytes_max / 2).max(1),
            wal_bytes_max,
            // Several files must fit, or none could be recycled before the log is full.
            wal_file_bytes: (wal_bytes_max / 4).clamp(1, defaults.wal_file_bytes),
            flush_interval: self.units("flush_interval", parse_duration)?,
            block_cache_bytes: self.units("block_cache_bytes", parse_bytes)?,
            disk_reserve_bytes: self.units("disk_reserve_bytes", parse_bytes)?,
            retention: self.retention()?,
            ..defaults
        };
        let name = if memtable_bytes_max == 0 { "memtable_bytes" } else { "wal_bytes" };
        engine.check().map_err(|error| self.error(name, "", &error.to_string()))?;
        Ok(engine)
    }

    fn jwt(&self) -> Result<Option<JwtConfig>, ConfigError> {
        let secret = self.secret("jwt_secret")?;
        let (pem, jwks) = (self.file("jwt_public_key_file")?, self.file("jwt_jwks_file")?);
        let keys = match (secret, pem, jwks) {
            (None, None, None) => return Ok(None),
            (Some(secret), None, None) => JwtKeys::Secret(secret),
            (None, Some(pem), None) => JwtKeys::Pem(pem),
            (None, None, Some(jwks)) => JwtKeys::Jwks(jwks),
            _ => {
                let reason = "set one of jwt_secret, jwt_public_key_file and jwt_jwks_file, not several";
                return Err(self.error("jwt_algorithm", "", reason));
            }
        };
        Ok(Some(JwtConfig {
            algorithm: self.algorithm(&keys)?,
            keys,
            audience: self.optional("jwt_audience"),
            issuer: self.optional("jwt_issuer"),
            claims: self.claims()?,
        }))
    }

    fn algorithm(&self, keys: &JwtKeys) -> Result<Algorithm, ConfigError> {
        let name = "jwt_algorithm";
        let Some(text) = self.optional(name) else {
            return match keys {
                JwtKeys::Secret(_) => Ok(Algorithm::HS256),
                JwtKeys::Pem(_) | JwtKeys::Jwks(_) => {
                    Err(self.error(name, "", "name the algorithm of the public keys, such as RS256"))
                }
            };
        };
        let algorithm: Algorithm = text
            .parse()
            .map_err(|_| self.error(name, &text, "is no algorithm such as HS256, RS256, ES256 or EdDSA"))?;
        let symmetric = algorithm.family() == AlgorithmFamily::Hmac;
        if symmetric != matches!(keys, JwtKeys::Secret(_)) {
            // A public key used as an HMAC secret would let anybody sign.
            return Err(self.error(name, &text, "does not go with this kind of key"));
        }
        Ok(algorithm)
    }

    fn claims(&self) -> Result<ClaimNames, ConfigError> {
        let claim = |name: &str| {
            self.parse(name, |text| match text {
                "" => Err("is no name of a claim"),
                _ => Ok(text.to_owned()),
            })
        };
        Ok(ClaimNames {
            users: self.list("jwt_user_claims"),
            organization: claim("jwt_organization_claim")?,
            organizations: claim("jwt_organizations_claim")?,
            role: claim("jwt_role_claim")?,
            roles: claim("jwt_roles_claim")?,
            superuser: claim("jwt_superuser_claim")?,
        })
    }
}
