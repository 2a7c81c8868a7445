//! Flags that are settings, and the layers below them.

#![expect(clippy::doc_markdown, reason = "clap prints these comments as they stand")]

use std::path::PathBuf;

use clap::Args;

use super::ProgramError;
use crate::config::{Config, ConfigError, RawConfig};

/// Flags that are settings; they go before or after the command.
#[derive(Debug, Default, Args)]
pub(super) struct SettingsArgs {
    /// File of settings (TOML); `config show --example` prints one
    #[arg(long, global = true, env = "INSIGHTS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: ./insights-data] [env: INSIGHTS_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8686] [env: INSIGHTS_LISTEN]
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// Any other setting by its name in the file, such as `log=debug`; may be repeated
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// The settings in force: flags over the environment over the file over the defaults.
    pub(super) fn load(&self) -> Result<(Config, RawConfig), ProgramError> {
        let raw = self.raw(std::env::vars_os())?;
        Ok((Config::try_from(&raw)?, raw))
    }

    fn raw(
        &self,
        environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<RawConfig, ProgramError> {
        let mut raw = RawConfig::defaults();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::File { path: path.clone(), reason: error.to_string() })?;
            raw.file(path, &text)?;
        }
        // A variable that is no UTF-8 is none of ours.
        raw.environment(
            environment.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )?;
        if let Some(dir) = &self.data_dir {
            raw.flag("--data-dir", "data_dir", dir)?;
        }
        if let Some(address) = &self.listen {
            raw.flag("--listen", "listen", address)?;
        }
        for pair in &self.set {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| ProgramError::Refused(format!("--set {pair}: write it as NAME=VALUE")))?;
            raw.flag(&format!("--set {name}"), name, value)?;
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_last_word() {
        let args = SettingsArgs {
            data_dir: Some("/there".into()),
            set: vec!["log=debug".into(), "page_view_event_types=a,b".into()],
            ..SettingsArgs::default()
        };
        let environment =
            [("INSIGHTS_DATA_DIR", "/here"), ("INSIGHTS_LOG", "warn"), ("INSIGHTS_CONFIG", "x")];
        let raw = args.raw(environment.into_iter().map(|(k, v)| (k.into(), v.into()))).unwrap();
        let config = Config::try_from(&raw).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/there"));
        assert_eq!(config.log, "debug");
        assert_eq!(config.page_view_event_types, ["a", "b"]);
    }

    #[test]
    fn a_setting_without_a_value_is_refused() {
        let args = SettingsArgs { set: vec!["log".into()], ..SettingsArgs::default() };
        assert!(args.raw(std::iter::empty()).is_err());
    }
}
