//! The layers of settings: default, file, environment, flags; the last one that speaks wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::setting::{Kind, SETTINGS, Setting};

/// Who said a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody: it is built in.
    Default,
    /// A file, with its path.
    File(PathBuf),
    /// A variable of the environment, with its name.
    Environment(String),
    /// A flag, as written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// The text of one setting and who said it; its `Debug` is without the text, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RawValue {
    /// One text, or the items of a list.
    pub items: Vec<String>,
    /// Who said it.
    pub origin: Origin,
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawValue").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Every setting that somebody said, unchecked.
#[derive(Clone, Default)]
pub struct RawConfig {
    values: BTreeMap<&'static str, RawValue>,
    /// Variables of the environment that look like settings and are none.
    pub unknown_variables: Vec<String>,
}

impl RawConfig {
    /// The defaults.
    pub fn defaults() -> Self {
        let mut raw = Self::default();
        for setting in SETTINGS {
            if let Some(text) = setting.default {
                raw.values
                    .insert(setting.name, RawValue { items: split(setting, text), origin: Origin::Default });
            }
        }
        raw
    }

    /// Lays the settings of a TOML text over these.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is no TOML, names a setting that does not exist, or gives one a value
    /// that is no text, number, boolean or list of texts.
    pub fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::File(path.to_owned());
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::File {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        for (name, value) in table {
            let (setting, from_file) = find(&name)
                .ok_or_else(|| ConfigError::Unknown { name: name.clone(), origin: origin.clone() })?;
            let items = items_of(&value)
                .ok_or_else(|| ConfigError::value(&name, "", "this is no text, number or list", &origin))?;
            self.set(setting, items, from_file, origin.clone())?;
        }
        Ok(())
    }

    /// Lays variables of the environment over these; `INSIGHTS_*` alone are looked at.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the file that a `_FILE` variable names cannot be read.
    pub fn environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix("INSIGHTS_") else { continue };
            // The one that names the file of settings itself, and an empty one: not said.
            if name == "CONFIG" || text.is_empty() {
                continue;
            }
            match find(&name.to_ascii_lowercase()) {
                Some((setting, from_file)) => {
                    self.set(setting, split(setting, &text), from_file, Origin::Environment(variable))?;
                }
                None => self.unknown_variables.push(variable),
            }
        }
        Ok(())
    }

    /// Lays one flag over these.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unknown`] when there is no such setting.
    pub fn flag(&mut self, flag: &str, name: &str, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::Flag(flag.to_owned());
        let (setting, from_file) = find(name)
            .ok_or_else(|| ConfigError::Unknown { name: name.to_owned(), origin: origin.clone() })?;
        self.set(setting, split(setting, text), from_file, origin)
    }

    /// What was said of a setting.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.values.get(name)
    }

    fn set(
        &mut self,
        setting: &'static Setting,
        items: Vec<String>,
        from_file: bool,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let items = if from_file {
            let path = PathBuf::from(items.join(","));
            let text = std::fs::read_to_string(&path)
                .map_err(|error| ConfigError::File { path, reason: error.to_string() })?;
            vec![text.trim_end_matches(['\r', '\n']).to_owned()]
        } else {
            items
        };
        self.values.insert(setting.name, RawValue { items, origin });
        Ok(())
    }
}

/// Without values: some are secret.
impl fmt::Debug for RawConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.values.iter().map(|(name, value)| (name, value.origin.to_string())))
            .finish()
    }
}

/// The setting of a name, and whether the name is that of its `_file` twin.
fn find(name: &str) -> Option<(&'static Setting, bool)> {
    if let Some(setting) = Setting::by_name(name) {
        return Some((setting, false));
    }
    let twin = Setting::by_name(name.strip_suffix("_file")?)?;
    (twin.kind == Kind::Secret).then_some((twin, true))
}

fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.kind {
        Kind::One | Kind::Secret => vec![text.to_owned()],
        Kind::List => text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(String::from).collect(),
    }
}

fn items_of(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(items) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
