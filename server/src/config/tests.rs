//! Layers, provenance, secrets.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn raw(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<RawConfig, ConfigError> {
    let mut raw = RawConfig::defaults();
    raw.file(Path::new("insights.toml"), file)?;
    raw.environment(environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))?;
    for (name, text) in flags {
        raw.flag(&format!("--set {name}"), name, text)?;
    }
    Ok(raw)
}

fn config(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::try_from(&raw(file, environment, flags)?)
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_types() {
    let from_text = config("", &[], &[]).unwrap();
    assert_eq!(format!("{from_text:?}"), format!("{:?}", Config::default()));
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_the_default() {
    let file = "listen = '127.0.0.1:1'\nlate_window_days = 7\nlog = 'warn'";
    let environment = [("INSIGHTS_LISTEN", "127.0.0.1:2"), ("INSIGHTS_LATE_WINDOW_DAYS", "8"), ("HOME", "/")];
    let config = config(file, &environment, &[("listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.late_window_days, 8);
    assert_eq!(config.log, "warn");
    assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
}

#[test]
fn a_wrong_value_names_who_said_it() {
    let cases = vec![
        (
            config("", &[("INSIGHTS_LISTEN", "80:80")], &[]),
            "listen: \"80:80\" is no address",
            "(from INSIGHTS_LISTEN)",
        ),
        (
            config("durability = 'maybe'", &[], &[]),
            "durability: \"maybe\" is not synced",
            "(from insights.toml)",
        ),
        (
            config("", &[], &[("memtable_bytes", "lots")]),
            "memtable_bytes: \"lots\" is no size",
            "(from --set memtable_bytes)",
        ),
        (config("", &[("INSIGHTS_MEMTABLE_BYTES", "0")], &[]), "memtable_bytes", "positive"),
        (config("queries_max = 0", &[], &[]), "queries_max: \"0\"", "above 0"),
        (config("no_such_thing = 1", &[], &[]), "insights.toml", "\"no_such_thing\""),
        (config("listen = { a = 1 }", &[], &[]), "listen", "no text"),
        (config("listen = [", &[], &[]), "insights.toml", "line 1"),
        (config("trusted_proxies = ['10.0.0.0/99']", &[], &[]), "trusted_proxies", "10.0.0.0/99"),
        (
            config("schedule_cleanup_old_metrics = 'daily at noon'", &[], &[]),
            "schedule_cleanup_old_metrics",
            "no schedule",
        ),
        (config("jobs_timezone = 'Mars/Base'", &[], &[]), "jobs_timezone", "no time zone"),
    ];
    for (result, start, part) in cases {
        let message = message(result);
        assert!(message.starts_with(start) && message.contains(part), "{message}");
    }
}

#[test]
fn secrets_are_long_and_never_shown() {
    let short = message(config("", &[("INSIGHTS_SUPERUSER_KEY", "hunter2")], &[]));
    assert!(short.contains("32 characters") && !short.contains("hunter2"), "{short}");
    let secret = "a-secret-of-more-than-thirty-two-characters";
    let raw = raw("", &[("INSIGHTS_SUPERUSER_KEY", secret), ("INSIGHTS_JWT_SECRET", secret)], &[]).unwrap();
    let config = Config::try_from(&raw).unwrap();
    assert_eq!(config.superuser_key.as_ref().map(Secret::expose), Some(secret));
    let shown = format!("{raw:?}{config:?}{}{}", show::effective(&raw), show::effective_json(&raw));
    assert!(!shown.contains(secret), "{shown}");
}

#[test]
fn a_secret_may_lie_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "a-secret-of-more-than-thirty-two-characters\n").unwrap();
    let path = path.to_str().unwrap();
    let config = config("", &[("INSIGHTS_SUPERUSER_KEY_FILE", path)], &[]).unwrap();
    assert_eq!(config.superuser_key.unwrap().expose(), "a-secret-of-more-than-thirty-two-characters");
    let missing = message(self::config("jwt_secret_file = '/nowhere'", &[], &[]));
    assert!(missing.starts_with("/nowhere"), "{missing}");
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, "-----BEGIN PUBLIC KEY-----").unwrap();
    let file = format!("jwt_public_key_file = '{}'", path.display());
    assert!(message(config(&file, &[], &[])).contains("name the algorithm"));
    assert!(message(config(&file, &[], &[("jwt_algorithm", "HS256")])).contains("does not go with"));
    assert!(config(&file, &[], &[("jwt_algorithm", "RS256")]).unwrap().jwt.is_some());
}

#[cfg(any(feature = "mail", feature = "tls"))]
#[test]
fn authorities_are_read_at_the_start_and_what_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let file = format!("notify_ca_file = '{}'", path.display());
    assert!(message(config(&file, &[], &[])).contains("cannot be read"));
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let pem = crate::notify::testing::pem(&certificate);
    for (text, reason) in [
        ("", "holds no certificate"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read, number 1"),
        (&pem[..pem.len() / 2], "is no PEM at certificate 1"),
        (&"x".repeat(2 << 20), "more than 1048576 bytes"),
    ] {
        std::fs::write(&path, text).unwrap();
        let said = message(config(&file, &[], &[]));
        assert!(said.contains(reason) && said.starts_with("notify_ca_file: "), "{said}");
    }
    std::fs::write(&path, pem.repeat(2)).unwrap();
    assert_eq!(config(&file, &[], &[]).unwrap().notify.authorities.certificates().count(), 2);
    assert_eq!(config("", &[], &[]).unwrap().notify.authorities.certificates().count(), 0);
}

#[test]
fn the_engine_gets_limits_that_fit_each_other() {
    let config =
        config("", &[("INSIGHTS_MEMTABLE_BYTES", "256KiB"), ("INSIGHTS_WAL_BYTES", "1MiB")], &[]).unwrap();
    assert_eq!(config.engine.memtable_bytes_max, 256 << 10);
    assert_eq!(config.engine.memtable_flush_bytes, 128 << 10);
    assert_eq!(config.engine.wal_file_bytes, 256 << 10);
}

#[test]
fn the_example_is_the_default_when_uncommented() {
    let example = show::example();
    let uncommented: String = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = ") && !l.ends_with("= \"\"")))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(format!("{:?}", config(&uncommented, &[], &[]).unwrap()), format!("{:?}", Config::default()));
    assert!(
        show::effective(&raw("", &[("INSIGHTS_LOG", "debug")], &[]).unwrap())
            .contains("log = \"debug\"  # INSIGHTS_LOG")
    );
}

#[test]
fn the_example_file_of_the_repository_is_the_one_that_is_printed() {
    let file = include_str!("../../../insights.example.toml");
    assert_eq!(file, show::example().trim_end().to_owned() + "\n", "write `config show --example` into it");
}

#[test]
fn a_variable_that_is_no_setting_is_a_warning() {
    let raw = raw("", &[("INSIGHTS_LISTN", "x"), ("INSIGHTS_LOG", "")], &[]).unwrap();
    assert_eq!(raw.unknown_variables, ["INSIGHTS_LISTN"]);
}

proptest! {
    #[test]
    fn no_file_panics(text in "[a-z_]{0,20} = .{0,40}") {
        let _ = config(&text, &[], &[]);
    }

    #[test]
    fn no_value_panics(text in ".{0,40}", index in 0..setting::SETTINGS.len()) {
        let name = setting::SETTINGS[index].name;
        let _ = config("", &[], &[(name, &text)]);
    }
}
